package main

import (
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/throttle-go/throttle"
)

// A scenario is what every policy is tried on.
type scenario struct {
	calls []time.Duration // since the first one, in order; at least one
	took  time.Duration   // how long a run takes
	fail  float64         // share of the runs that fail
	end   time.Duration   // of the watch: later runs do not count
}

// newScenario returns the scenario in which each of the policies is watched until it is sure
// to have covered all calls.
func newScenario(calls []time.Duration, c config) scenario {
	s := scenario{calls: calls, took: c.took, fail: c.fail, end: calls[len(calls)-1]}
	var longest time.Duration
	for _, p := range c.policies {
		longest = max(longest, longestWindow(p, c.took))
	}
	// The last call may wait for an active run, for a window, and for its own run to end.
	for _, d := range []time.Duration{c.took, longest, c.took} {
		s.end = later(s.end, d)
	}
	return s
}

// longestWindow returns the longest time for which p makes a call wait while no run is active.
// MaxWait is never longer than Quiet after the last call. MaxInterval does not make calls wait.
func longestWindow(p throttle.Policy, took time.Duration) time.Duration {
	longest := max(p.Interval, p.Quiet, p.Retry.Initial, p.Retry.Max)
	if p.MaxLoad > 0 {
		// Compare before the conversion: a duration cannot hold every float64.
		rest := float64(took) * (1/p.MaxLoad - 1)
		if rest >= math.MaxInt64 {
			return math.MaxInt64
		}
		longest = max(longest, time.Duration(rest))
	}
	return longest
}

// later returns the instant d after at. Both are not negative.
func later(at, d time.Duration) time.Duration {
	if d > math.MaxInt64-at {
		return math.MaxInt64
	}
	return at + d
}

// errFailed is the error of runs that fail.
var errFailed = errors.New("failed")

// run returns how long run number n takes and how it ends, the same under every policy.
func (s scenario) run(n int) (took time.Duration, err error) {
	if s.fail > 0 {
		random := rand.New(rand.NewPCG(1, uint64(n))) //nolint:gosec // n is not negative
		if random.Float64() < s.fail {
			return s.took, errFailed
		}
	}
	return s.took, nil
}

// simulate returns the runs under p, which is valid, until the end of the watch. It gives
// dropped the instants of the calls that p drops.
func (s scenario) simulate(p throttle.Policy, dropped func(at time.Duration)) iter.Seq[throttle.SimulatedRun] {
	runs, err := throttle.Simulate(p, slices.Values(s.calls), s.run,
		throttle.WithDropped(func(_ int, at time.Duration) { dropped(at) }))
	return func(yield func(throttle.SimulatedRun) bool) {
		if err != nil {
			return
		}
		for run := range runs {
			if run.Started > s.end || !yield(run) {
				return
			}
		}
	}
}
