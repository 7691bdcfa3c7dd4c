package main

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle"
)

func valuePromises() subject {
	return subject{
		name:  "carried",
		title: "What each peer keeps of values",
		notes: []string{
			"The first seven: by the same checks as above, with calls that carry a value.",
			"no delay: half an interval after the beginning, the first call's run starts within a quarter of it.",
			"failed run: its value is in a later run, which succeeds. Ours has a Retry.",
		},
		check: func(e effort) (*matrix, error) { return check(checkedOfValues(), valueContestants(), e.interval) },
	}
}

func checkedOfValues() []promise {
	return append(checked(),
		promise{name: "no delay", kept: runsWithoutDelay},
		promise{name: "failed run", kept: repeatsFailedRun})
}

// valueContestants returns the contestants that run a callback at most once per
// interval, with the values of all calls that the run covers.
func valueContestants() []contestant {
	return []contestant{ofValues(coalescerName, withCoalescer), ofValues(binName, withBin)}
}

// A valueWrap is a contestant's wrap for calls that carry values.
type valueWrap func(interval time.Duration, callback func(values []int) error) (call func(value int), stop func())

// ofValues returns a contestant; most checks ignore its values.
func ofValues(name string, wrap valueWrap) contestant {
	return contestant{
		name: name,
		wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			callWith, stop := wrap(interval, func([]int) error {
				callback()
				return nil
			})
			return func() { callWith(0) }, stop
		},
		wrapValues: wrap,
	}
}

func withCoalescer(interval time.Duration, callback func(values []int) error) (call func(value int), stop func()) {
	p := throttle.Every(interval)
	p.Retry = throttle.Backoff{Initial: interval}
	c := throttle.Must(throttle.NewCoalescer(p, throttle.Batch[int](),
		func(_ context.Context, values []int) error { return callback(values) },
		throttle.WithErrorHandler(func(error) {}))) // do not log the failures made on purpose
	return func(value int) { _ = c.Call(value) }, func() { _ = c.Close() }
}

func withBin(interval time.Duration, callback func(values []int) error) (call func(value int), stop func()) {
	b := newBin(interval, func(values []int) {
		if len(values) > 0 {
			_ = callback(values)
		}
	})
	return func(value int) {
		b.mu.Lock()
		b.value = append(b.value, value)
		b.mu.Unlock()
	}, b.stop
}

func runsWithoutDelay(c contestant, interval time.Duration) (bool, error) {
	r := new(recorder)
	call, stop := c.wrap(interval, r.run)
	defer stop()
	time.Sleep(interval / 2)
	asked := time.Now()
	call()
	time.Sleep(2 * interval)
	return r.delay(asked) < interval/4, nil
}

// errOnPurpose is the error of a run that the check makes fail.
var errOnPurpose = errors.New("on purpose")

func repeatsFailedRun(c contestant, interval time.Duration) (bool, error) {
	const value, another = 1, 2
	var runs atomic.Int64
	var delivered atomic.Bool
	call, stop := c.wrapValues(interval, func(values []int) error {
		if runs.Add(1) == 1 {
			return errOnPurpose
		}
		if slices.Contains(values, value) {
			delivered.Store(true)
		}
		return nil
	})
	defer stop()
	call(value)
	time.Sleep(2 * interval)
	call(another) // there must be a later run
	time.Sleep(3 * interval)
	return delivered.Load(), nil
}
