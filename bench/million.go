package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/samber/lo"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/bench/internal/measure"
)

func manyKeys() subject {
	return subject{
		name:  "million",
		title: "A million keys, each called once",
		notes: []string{
			"call: including the key's run; the calling goroutine is never more than 4 096 runs ahead. A Limiter runs nothing.",
			"in its window, afterwards: heap and stacks per key.",
		},
		experiments: []experiment{
			{"each", limiterMapName, func(e effort) ([]result, error) { return compareHeld(e, holdLimiters) }},
			{"each", throttleByName, func(e effort) ([]result, error) { return compareHeld(e, holdThrottleBy) }},
		},
	}
}

// A keyCost is the cost of holding keys.
type keyCost struct {
	took       float64 // nanoseconds of a call
	inside     float64 // bytes per key in its window
	afterwards float64 // and when all windows are over
}

// compareHeld compares a Group with a peer.
func compareHeld(e effort, peer func(keys int) keyCost) ([]result, error) {
	var ours, theirs []keyCost
	var failed error
	e.alternate(
		func() {
			c, err := holdGroup(e.keys)
			if err != nil {
				failed = err
			}
			ours = append(ours, c)
		},
		func() { theirs = append(theirs, peer(e.keys)) },
	)
	of := func(metric string, u measure.Unit, value func(keyCost) float64) result {
		const noise = 1 // byte, or nanosecond
		return newResult(metric, u, noise, each(ours, value), each(theirs, value))
	}
	return []result{
		of("call", measure.Nanosecond, func(c keyCost) float64 { return c.took }),
		of("in its window", measure.Byte, func(c keyCost) float64 { return c.inside }),
		of("afterwards", measure.Byte, func(c keyCost) float64 { return c.afterwards }),
	}, failed
}

func holdGroup(keys int) (keyCost, error) {
	g, err := throttle.NewGroup(throttle.Every(time.Hour), func(context.Context, int) error { return nil })
	if err != nil {
		return keyCost{}, err
	}
	defer g.Close()
	c, running := callEach(keys, func(key int) { _ = g.Call(key) }, func() {
		err = g.SetPolicy(throttle.Policy{})
		for err == nil && g.Len() > 0 {
			time.Sleep(time.Millisecond)
		}
	})
	if running > 0 {
		return c, fmt.Errorf("%d goroutines are left", running)
	}
	return c, err
}

func holdLimiters(keys int) keyCost {
	l := newLimiters[int](time.Hour)
	c, _ := callEach(keys, func(key int) { l.allow(key) }, nothing)
	runtime.KeepAlive(l)
	return c
}

func holdThrottleBy(keys int) keyCost {
	call, endWindow := lo.NewThrottleBy(time.Hour, func(int) {})
	c, _ := callEach(keys, call, endWindow)
	runtime.KeepAlive(call)
	return c
}

// callEach makes a call for each key and waits up to a minute until the goroutines
// that this started have ended; running is the number that have not. Then it calls
// endWindows to end all windows.
func callEach(keys int, call func(key int), endWindows func()) (c keyCost, running int) {
	const ahead = 1 << 12
	makeDescriptors(2 * ahead)
	before, others, start := memory(), runtime.NumGoroutine(), time.Now()
	for key := range keys {
		call(key)
		for key%64 == 0 && runtime.NumGoroutine() > others+ahead {
			runtime.Gosched()
		}
	}
	for runtime.NumGoroutine() > others && time.Since(start) < time.Minute {
		runtime.Gosched()
	}
	c.took = float64(time.Since(start)) / float64(keys)
	running = runtime.NumGoroutine() - others
	perKey := func() float64 { return max(0, memory()-before) / float64(keys) }
	c.inside = perKey()
	endWindows()
	c.afterwards = perKey()
	return c, running
}
