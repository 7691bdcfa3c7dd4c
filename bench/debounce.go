package main

import (
	"sync/atomic"
	"time"

	"github.com/bep/debounce"

	"github.com/throttle-go/throttle"
)

// debouncedCalls measures calls that postpone a debounced run.
func debouncedCalls() subject {
	s := subject{name: "debounce", title: "A call that postpones a debounced run"}
	for _, peer := range []repeater{{"clock reading, store", storedTime}, {debounceName, restartedTimer}} {
		s.experiments = append(s.experiments, besideOurs(repeater{ownName, postponed}, peer)...)
	}
	return s
}

func postponed() (repeat func(n int), stop func(), err error) {
	t, err := throttle.New(throttle.Debounce(time.Hour, 0), nothing)
	if err != nil {
		return nil, nil, err
	}
	t.Call()
	return func(n int) {
		for range n {
			t.Call()
		}
	}, func() { _ = t.Close() }, nil
}

func storedTime() (repeat func(n int), stop func(), err error) {
	base := time.Now()
	last := new(atomic.Int64)
	return func(n int) {
		for range n {
			last.Store(int64(time.Since(base)))
		}
	}, nothing, nil
}

func restartedTimer() (repeat func(n int), stop func(), err error) {
	debounced := debounce.New(time.Hour)
	return func(n int) {
		for range n {
			debounced(nothing)
		}
	}, func() { debounced(nothing) }, nil
}
