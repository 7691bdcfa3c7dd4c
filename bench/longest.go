package main

import (
	"context"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/bench/internal/measure"
)

func longestCalls() subject {
	return subject{
		name:  "longest",
		title: "The longest call while another goroutine goes over a million keys",
		notes: []string{
			"nothing: the other goroutine computes for 50 ms, so the longest call shows the pauses of the machine.",
			"a million new keys: the other goroutine adds them, and the call is for a key that is there.",
			"Limiter map: rate.Limiters in a map under a mutex, which is held for each of these: all Tokens, a list of the keys," +
				" SetLimit for all, clear. New keys take it one by one.",
			"Each call of ours takes its shard's lock. The garbage collector is off, since it shares the two cores with both" +
				" goroutines. The operating system's own pauses count on both sides.",
		},
		experiments: []experiment{{"beside", limiterMapName, compareLongest}},
	}
}

// walks returns what the other goroutine does, in the order of longestOfGroup and
// longestOfLimiters.
func walks() []string {
	return []string{"nothing", "a million new keys", "Stats", "Keys", "SetPolicy", "Close", "Shutdown"}
}

// compareLongest compares the longest calls beside each of the walks.
func compareLongest(e effort) ([]result, error) {
	walks := walks()
	ours, theirs := make([][]float64, len(walks)), make([][]float64, len(walks))
	var failed error
	e.alternate(
		func() {
			longest, err := longestOfGroup(e.keys)
			if err != nil {
				failed = err
				return
			}
			for i, took := range longest {
				ours[i] = append(ours[i], float64(took))
			}
		},
		func() {
			for i, took := range longestOfLimiters(e.keys) {
				theirs[i] = append(theirs[i], float64(took))
			}
		},
	)
	if failed != nil {
		return nil, failed
	}
	var results []result
	for i, walk := range walks {
		results = append(results, newResult(walk, measure.Nanosecond, 0, ours[i], theirs[i]))
	}
	return results, nil
}

func longestOfGroup(keys int) ([]time.Duration, error) {
	every := throttle.Every(time.Hour)
	growing, err := throttle.NewGroup(every, func(context.Context, int) error { return nil }, throttle.WithPaused())
	if err != nil {
		return nil, err
	}
	defer growing.Close()
	all := make([]int, keys)
	for key := range all {
		all[key] = key
	}
	closing, err := newGroup(all)
	if err != nil {
		return nil, err
	}
	defer closing.Close()
	shutting, err := newGroup(all)
	if err != nil {
		return nil, err
	}
	defer shutting.Close()

	call := func(g *throttle.Group[int]) func(key int) {
		return func(key int) { _ = g.CallWithin(key, time.Hour) } // an error says that it is closed
	}
	longest := []time.Duration{
		longestCall(keys, call(closing), compute),
		longestCall(1, call(growing), func() {
			for _, key := range all {
				_ = growing.Call(key)
			}
		}),
		longestCall(keys, call(closing), func() { closing.Stats() }),
		longestCall(keys, call(closing), func() { _ = slices.Collect(closing.Keys()) }),
		longestCall(keys, call(closing), func() { err = closing.SetPolicy(throttle.Every(2 * time.Hour)) }),
		longestCall(keys, call(closing), func() { _ = closing.Close() }),
		longestCall(keys, call(shutting), func() { _ = shutting.Shutdown(context.Background()) }),
	}
	return longest, err
}

func longestOfLimiters(keys int) []time.Duration {
	l := newLimiters[int](time.Hour)
	call := func(key int) { l.allow(key) }
	each := func(do func(*rate.Limiter)) func() {
		return func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, limiter := range l.limiters {
				do(limiter)
			}
		}
	}
	drop := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		clear(l.limiters)
	}
	fill := func() {
		for key := range keys {
			l.allow(key)
		}
	}
	longest := []time.Duration{
		longestCall(1, call, compute),
		longestCall(1, call, fill),
		longestCall(keys, call, each(func(limiter *rate.Limiter) { limiter.Tokens() })),
		longestCall(keys, call, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			_ = slices.Collect(maps.Keys(l.limiters))
		}),
		longestCall(keys, call, each(func(limiter *rate.Limiter) { limiter.SetLimit(1) })),
		longestCall(keys, call, drop),
	}
	fill()
	return append(longest, longestCall(keys, call, drop))
}

// compute takes a while and needs no lock.
func compute() {
	start := time.Now()
	for took := time.Duration(0); took < 50*time.Millisecond; {
		took = time.Since(start)
	}
}

// longestCall calls one of the keys after the other until walk returns, and returns how
// long the longest of these calls took. The garbage collector is off meanwhile.
func longestCall(keys int, call func(key int), walk func()) (longest time.Duration) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	over := make(chan struct{})
	go func() {
		defer close(over)
		walk()
	}()
	for key := 0; ; key = (key + 1) % keys {
		start := time.Now()
		call(key)
		longest = max(longest, time.Since(start))
		select {
		case <-over:
			return longest
		default:
		}
	}
}
