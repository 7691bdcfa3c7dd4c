package main

import (
	"context"
	"time"

	"github.com/samber/lo"

	"github.com/throttle-go/throttle"
)

func keyedPromises() subject {
	return subject{
		name:  "keyed",
		title: "What each peer keeps per key",
		notes: []string{
			"The first seven: by the same checks as above, with calls for one key.",
			"own window: a call runs at once in the window of another key; its next run waits for three quarters of its own window.",
		},
		check: func(e effort) (*matrix, error) { return check(checkedOfKeys(), keyedContestants(), e.interval) },
	}
}

func checkedOfKeys() []promise {
	return append(checked(), promise{name: "own window", kept: givesOwnWindow})
}

// keyedContestants returns the contestants that run a callback at most once per
// interval and key.
func keyedContestants() []contestant {
	locking := ofKeys(throttleByName, withThrottleBy)
	locking.locks = true
	return []contestant{ofKeys(groupName, withGroup), ofKeys(limiterMapName, withLimiters), locking}
}

// A keyWrap is a contestant's wrap for many keys.
type keyWrap func(interval time.Duration, callback func(key int)) (call func(key int), stop func())

// ofKeys returns a contestant that most checks call for a single key.
func ofKeys(name string, wrap keyWrap) contestant {
	return contestant{
		name: name,
		wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			callFor, stop := wrap(interval, func(int) { callback() })
			return func() { callFor(0) }, stop
		},
		wrapKeys: wrap,
	}
}

func withGroup(interval time.Duration, callback func(key int)) (call func(key int), stop func()) {
	g := throttle.Must(throttle.NewGroup(throttle.Every(interval), func(_ context.Context, key int) error {
		callback(key)
		return nil
	}))
	return func(key int) { _ = g.Call(key) }, func() { _ = g.Close() }
}

func withLimiters(interval time.Duration, callback func(key int)) (call func(key int), stop func()) {
	l := newLimiters[int](interval)
	return func(key int) {
		if l.allow(key) {
			callback(key)
		}
	}, nothing
}

func withThrottleBy(interval time.Duration, callback func(key int)) (call func(key int), stop func()) {
	call, _ = lo.NewThrottleBy(interval, callback)
	return call, nothing
}

func givesOwnWindow(c contestant, interval time.Duration) (bool, error) {
	const other, key = 1, 2
	r := new(recorder)
	call, stop := c.wrapKeys(interval, func(called int) {
		if called == key {
			r.run()
		}
	})
	defer stop()
	call(other)
	time.Sleep(interval * 3 / 4)
	asked := time.Now()
	call(key)
	time.Sleep(interval / 2) // the other key's window ends
	call(key)
	time.Sleep(2 * interval)
	return r.delay(asked) < interval/4 && r.least() >= interval*3/4, nil
}
