package bench_test

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/samber/lo"
	"golang.org/x/time/rate"

	"github.com/throttle-go/throttle"
)

// This file measures the keyed form: calls for keys that are held, and what it
// costs to hold very many for a while.

// held is how many keys there are beside the hot one: more than a small map
// takes, few enough for the cache.
const held = 1 << 10

func number(i int) int  { return i }
func name(i int) string { return "tenant-" + strconv.Itoa(i) }

// keysOf returns the keys that are held.
func keysOf[K comparable](key func(int) K) []K {
	keys := make([]K, held)
	for i := range keys {
		keys[i] = key(i)
	}
	return keys
}

// pendingGroup returns a Group with a run pending for each of keys, due in an
// hour.
func pendingGroup[K comparable](b *testing.B, keys []K) *throttle.Group[K] {
	b.Helper()
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(context.Context, K) error { return nil }))
	b.Cleanup(func() { _ = g.Close() })
	for _, key := range keys {
		if err := g.Do(b.Context(), key); err != nil {
			b.Fatal(err)
		}
		if err := g.Call(key); err != nil {
			b.Fatal(err)
		}
	}
	return g
}

// BenchmarkGroupCoalescedCall compares a call for one key, for which a run is
// pending, with the look-up of a Throttler in a map and its Call: in a map that
// nobody may write to, and in one that may be written under a lock. The first is
// the limit; the second is what one would write by hand, but for forgetting.
func BenchmarkGroupCoalescedCall(b *testing.B) {
	b.Run("int", func(b *testing.B) { coalescedCall(b, number) })
	b.Run("string", func(b *testing.B) { coalescedCall(b, name) })
}

func coalescedCall[K comparable](b *testing.B, key func(int) K) {
	b.Helper()
	keys := keysOf(key)
	g := pendingGroup(b, keys)
	var mu sync.RWMutex
	throttlers := make(map[K]*throttle.Throttler)
	hot, one := key(held/2), pending(b, throttle.Every(time.Hour))
	for _, key := range keys {
		throttlers[key] = one // only the hot key's is called
	}

	ours := func(n int) {
		for range n {
			_ = g.Call(hot)
		}
	}
	plain := func(n int) {
		for range n {
			throttlers[hot].Call()
		}
	}
	locked := func(n int) {
		for range n {
			mu.RLock()
			t := throttlers[hot]
			mu.RUnlock()
			t.Call()
		}
	}
	b.Run("map/one core", func(b *testing.B) { compare(b, chunk/16, ours, plain) })
	b.Run("map/all cores", func(b *testing.B) { compare(b, chunk/16, onAllCores(ours), onAllCores(plain)) })
	b.Run("RWMutex/one core", func(b *testing.B) { compare(b, chunk/16, ours, locked) })
	b.Run("RWMutex/all cores", func(b *testing.B) { compare(b, chunk/16, onAllCores(ours), onAllCores(locked)) })
}

// A limiters is the usual way to limit what happens per key: a map of rate
// limiters under a lock, which never forgets a key.
type limiters[K comparable] struct {
	every time.Duration

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	limiters map[K]*rate.Limiter
}

func newLimiters[K comparable](every time.Duration) *limiters[K] {
	return &limiters[K]{every: every, limiters: make(map[K]*rate.Limiter)}
}

func (l *limiters[K]) allow(key K) bool { return l.of(key).Allow() }

func (l *limiters[K]) of(key K) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.limiters[key]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Every(l.every), 1)
		l.limiters[key] = limiter
	}
	return limiter
}

// BenchmarkGroupManyKeys compares calls for many keys, on every core at the same
// time and all inside their windows, with a map of rate limiters: calls that
// coalesce, and calls that are dropped as there they are.
func BenchmarkGroupManyKeys(b *testing.B) {
	b.Run("coalesced/int", func(b *testing.B) { manyKeys(b, throttle.Every(time.Hour), number) })
	b.Run("coalesced/string", func(b *testing.B) { manyKeys(b, throttle.Every(time.Hour), name) })
	dropping := throttle.Policy{Interval: time.Hour, Edges: throttle.Leading}
	b.Run("dropped/int", func(b *testing.B) { manyKeys(b, dropping, number) })
}

func manyKeys[K comparable](b *testing.B, p throttle.Policy, key func(int) K) {
	b.Helper()
	keys := keysOf(key)
	g := pendingGroup(b, keys)
	if err := g.SetPolicy(p); err != nil {
		b.Fatal(err)
	}
	if p.Edges == throttle.Leading {
		for _, key := range keys {
			g.Cancel(key) // what a pending run covers is not dropped
		}
	}
	l := newLimiters[K](time.Hour)
	ours := func(n int) {
		for i := range n {
			_ = g.Call(keys[i%held])
		}
	}
	bare := func(n int) {
		for i := range n {
			l.allow(keys[i%held])
		}
	}
	compare(b, chunk/64, onAllCores(ours), onAllCores(bare))
}

// BenchmarkMillionKeys calls once for each of a million keys, waits until all
// windows are over, and reports
//
//   - what a call takes, its run included, with one goroutine that calls;
//   - what a key weighs inside its window, all included;
//   - how many goroutines there are once all runs are over, beyond those that
//     were there before;
//   - what is left per key after the windows.
//
// The two peers do less: a Limiter runs nothing, and lo runs the function in its
// caller, with its lock held; it opens one window for all keys, whenever each was
// called, and makes no run at its end.
//
// The runtime keeps the descriptor of a goroutine that has ended, for the next
// one: memory that belongs to no key, and is in proportion to how many goroutines
// there were at a time. So that it is not taken for a leak, as many are made
// before anything is measured, and then the caller never is more runs ahead.
func BenchmarkMillionKeys(b *testing.B) {
	b.Run("Group", func(b *testing.B) {
		for b.Loop() {
			g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(context.Context, int) error { return nil }))
			start := time.Now()
			m := callMillion(func(key int) { _ = g.Call(key) })
			if g.Len() != million || m.goroutines > 0 {
				b.Fatalf("%d keys, %d goroutines", g.Len(), m.goroutines)
			}
			// From now on the windows end, in the order and at the distances of
			// the calls: however slow the machine is, no sooner.
			if err := g.SetPolicy(throttle.Every(time.Since(start))); err != nil {
				b.Fatal(err)
			}
			for g.Len() > 0 {
				time.Sleep(time.Millisecond)
			}
			m.report(b)
			runtime.KeepAlive(g)
		}
	})
	b.Run("rate.Limiter", func(b *testing.B) {
		for b.Loop() {
			l := newLimiters[int](time.Hour)
			callMillion(func(key int) { l.allow(key) }).report(b) // it would hold them for ever
			runtime.KeepAlive(l)
		}
	})
	b.Run("lo.NewThrottleBy", func(b *testing.B) {
		const window = 5 * time.Second // of all keys, from the first call on
		for b.Loop() {
			call, _ := lo.NewThrottleBy(window, func(int) {})
			m := callMillion(call)
			time.Sleep(window)
			m.report(b)
			runtime.KeepAlive(call)
		}
	})
}

const million = 1_000_000

// A footprint is what a million calls have cost.
type footprint struct {
	took       time.Duration
	before     int64 // bytes in use before the first call
	inside     int64 // and after the last run
	goroutines int   // that are left after the last run
}

// callMillion calls for each of a million keys.
func callMillion(call func(key int)) footprint {
	const ahead = 1 << 12
	makeDescriptors(2 * ahead)
	f := footprint{before: heap()}
	running, start := runtime.NumGoroutine(), time.Now()
	for key := range million {
		call(key)
		for key%64 == 0 && runtime.NumGoroutine() > running+ahead {
			runtime.Gosched()
		}
	}
	for deadline := start.Add(time.Minute); runtime.NumGoroutine() > running && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	f.took = time.Since(start)
	f.goroutines = runtime.NumGoroutine() - running
	f.inside = heap()
	return f
}

// makeDescriptors has n goroutines at the same time, and returns when all have
// ended.
func makeDescriptors(n int) {
	var all sync.WaitGroup
	end := make(chan struct{})
	for range n {
		all.Go(func() { <-end })
	}
	close(end)
	all.Wait()
}

// report reports f, with what is in use now as what is left.
func (f footprint) report(b *testing.B) {
	b.Helper()
	b.ReportMetric(0, "ns/op") // mostly of waiting
	b.ReportMetric(float64(f.took)/million, "ns/key")
	b.ReportMetric(float64(f.inside-f.before)/million, "B/key")
	b.ReportMetric(float64(heap()-f.before)/million, "B/key-left")
	b.ReportMetric(float64(f.goroutines), "goroutines")
}
