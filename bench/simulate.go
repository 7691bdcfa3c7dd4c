package main

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/throttle-go/throttle"
)

// Calls are 10 ms apart, and one in a hundred may run at once.
const (
	simulatedPace     = 10 * time.Millisecond
	simulatedInterval = time.Second
)

// simulatedCalls measures calls whose instants are given.
func simulatedCalls() subject {
	s := subject{
		name:  "simulate",
		title: "A call that Simulate plays",
		notes: []string{
			"Calls are 10 ms apart, the interval is 1 s. The Limiter, which says yes or no to a call at a given" +
				" instant, does the work of the leading edge alone.",
		},
	}
	for _, policy := range []struct {
		setting string
		policy  throttle.Policy
	}{
		{"leading edge", throttle.Policy{Interval: simulatedInterval, Edges: throttle.Leading}},
		{"both edges", throttle.Every(simulatedInterval)},
		{"debounce", throttle.Debounce(2*simulatedPace, simulatedInterval)},
	} {
		s.experiments = append(s.experiments, experiment{policy.setting, givenName, func(e effort) ([]result, error) {
			ours := repeater{ownName, func() (repeat func(n int), stop func(), err error) { return simulated(policy.policy) }}
			return compareCalls(e, 1, ours, repeater{givenName, limitedCalls})
		}})
	}
	return s
}

const givenName = "rate.Limiter.AllowN"

func simulated(p throttle.Policy) (repeat func(n int), stop func(), err error) {
	made := 0 // calls of the next repetition
	calls := func(yield func(time.Duration) bool) {
		at := time.Duration(0)
		for range made {
			if !yield(at) {
				return
			}
			at += simulatedPace
		}
	}
	runs, err := throttle.Simulate(p, calls, nil)
	if err != nil {
		return nil, nil, err
	}
	return func(n int) {
		made = n
		for range runs {
		}
	}, nothing, nil
}

func limitedCalls() (repeat func(n int), stop func(), err error) {
	begun := time.Now()
	return func(n int) {
		limiter, at := rate.NewLimiter(rate.Every(simulatedInterval), 1), begun
		for range n {
			limiter.AllowN(at, 1)
			at = at.Add(simulatedPace)
		}
	}, nothing, nil
}
