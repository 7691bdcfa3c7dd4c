package main

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle"
)

// watch returns a scenario that ends at end.
func watch(end, took time.Duration, calls ...time.Duration) scenario {
	return scenario{calls: calls, took: took, end: end}
}

// measured returns what p makes of s.
func measured(s scenario, p throttle.Policy) result {
	r, _ := s.measure(p, nil)
	return r
}

// All results here are worked out by hand.
func TestMeasure(t *testing.T) {
	const second = time.Second
	leading := throttle.Policy{Interval: second, Edges: throttle.Leading}
	for name, test := range map[string]struct {
		scenario scenario
		policy   throttle.Policy
		want     result
	}{
		"one call": {
			watch(second, 10*ms, 0), throttle.Policy{},
			result{runs: 1, running: 10 * ms, stale: 10 * ms, settled: 10 * ms},
		},
		"runs that take no time leave nothing stale": {
			watch(second, 0, 0, 500*ms), throttle.Policy{},
			result{runs: 2, settled: 500 * ms},
		},
		// Runs at 0 and 10 ms. The call at 4 ms waits for the end of the first.
		"a call during a run": {
			watch(second, 10*ms, 0, 4*ms), throttle.Policy{},
			result{runs: 2, running: 20 * ms, p99: 6 * ms, longest: 6 * ms, stale: 20 * ms, settled: 20 * ms},
		},
		// Runs at 0 and 100 ms. The last call is reflected 110 ms after the first; nothing is
		// stale from 10 to 30 ms.
		"a call in the window": {
			watch(second, 10*ms, 0, 30*ms), throttle.Every(100 * ms),
			result{runs: 2, running: 20 * ms, p99: 70 * ms, longest: 70 * ms, stale: 90 * ms, settled: 110 * ms},
		},
		// The first run starts before the second call, so it does not reflect it.
		"simultaneous calls": {
			watch(second, 10*ms, 0, 0, 0), throttle.Every(100 * ms),
			result{runs: 2, running: 20 * ms, p50: 100 * ms, p99: 100 * ms, longest: 100 * ms, stale: 110 * ms, settled: 110 * ms},
		},
		// Runs at 30 ms, for two calls, and at 120 ms. The waits are 30, 20 and 20 ms.
		"quiet": {
			watch(second, 10*ms, 0, 10*ms, 100*ms), throttle.Debounce(20*ms, 120*ms),
			result{runs: 2, running: 20 * ms, p50: 20 * ms, p99: 30 * ms, longest: 30 * ms, stale: 70 * ms, settled: 130 * ms},
		},
		// The run at 0 drops the calls at 300 and 400 ms; the next one, for the call at 2 s,
		// comes 1.7 and 1.6 s after them.
		"a dropped call waits for the next run": {
			watch(3*second, 10*ms, 0, 300*ms, 400*ms, 2*second), leading,
			result{
				runs: 2, dropped: 2, running: 20 * ms, p50: 0, p99: 1700 * ms, longest: 1700 * ms,
				stale: 10*ms + 1710*ms, settled: 2010 * ms,
			},
		},
		"a dropped call without a next run waits until the end": {
			watch(3*second, 10*ms, 0, 300*ms), leading,
			result{runs: 1, dropped: 1, running: 10 * ms, p99: 2700 * ms, longest: 2700 * ms, stale: 2710 * ms, settled: 10 * ms},
		},
		// The call at 5 ms is dropped during the first run. MaxInterval gives a run at 2 s
		// without a call, which makes up for it.
		"a periodic run reflects a dropped call": {
			watch(3*second, 10*ms, 0, 5*ms), throttle.Policy{Interval: second, MaxInterval: 2 * second, Edges: throttle.Leading},
			result{runs: 2, dropped: 1, running: 20 * ms, p99: 1995 * ms, longest: 1995 * ms, stale: 2010 * ms, settled: 10 * ms},
		},
		"a run at the end of the watch counts": {
			watch(second, 10*ms, 0, 500*ms), throttle.Every(second),
			result{runs: 2, running: 10 * ms, p99: 500 * ms, longest: 500 * ms, stale: 510 * ms, settled: second},
		},
		"a run after the end of the watch does not count": {
			watch(999*ms, 10*ms, 0, 500*ms), throttle.Every(second),
			result{runs: 1, running: 10 * ms, p99: 499 * ms, longest: 499 * ms, stale: 509 * ms, settled: 10 * ms},
		},
		"a run is cut at the end of the watch": {
			watch(6*ms, 10*ms, 0), throttle.Policy{},
			result{runs: 1, running: 6 * ms, stale: 6 * ms, settled: 6 * ms},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.policy = test.policy
			assert.Equal(t, test.want, measured(test.scenario, test.policy))
		})
	}
}

// With a share of 0.3, run 0 fails, and runs 1 and 2 succeed.
func TestMeasure_Fail(t *testing.T) {
	s := watch(time.Second, 10*ms, 0, 300*ms)
	s.fail = 0.3
	t.Run("without a retry", func(t *testing.T) {
		want := result{runs: 2, failed: 1, running: 20 * ms, stale: 310 * ms, settled: 310 * ms}
		assert.Equal(t, want, measured(s, throttle.Policy{}))
	})
	// Runs from 0 to 10 ms, from 110 to 120 ms, and from 300 to 310 ms.
	t.Run("with a retry", func(t *testing.T) {
		p := throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms}}
		want := result{policy: p, runs: 3, failed: 1, running: 30 * ms, stale: 130 * ms, settled: 310 * ms}
		assert.Equal(t, want, measured(s, p))
	})
	t.Run("the last run is a retry", func(t *testing.T) {
		s := s
		s.calls = s.calls[:1]
		p := throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms}}
		want := result{policy: p, runs: 2, failed: 1, running: 20 * ms, stale: 120 * ms, settled: 120 * ms}
		assert.Equal(t, want, measured(s, p))
	})
	t.Run("always", func(t *testing.T) {
		s.fail = 1
		r := measured(s, throttle.Policy{Retry: throttle.Backoff{Initial: 90 * ms}})
		assert.Equal(t, 11, r.runs, "every 100 ms, the one at the end included; the second call waits for one of them")
		assert.Equal(t, r.runs, r.failed)
		assert.Equal(t, time.Second, r.stale)
	})
}

func TestScenario_Run(t *testing.T) {
	failed := map[float64][]int{}
	for _, share := range []float64{0, 0.1, 0.3, 1} {
		s := scenario{took: 7 * ms, fail: share}
		for n := range 10_000 {
			took, err := s.run(n)
			assert.Equal(t, 7*ms, took)
			if err != nil {
				failed[share] = append(failed[share], n)
			}
		}
		assert.InDelta(t, 10_000*share, len(failed[share]), 150)
	}
	for _, n := range failed[0.1] {
		assert.True(t, slices.Contains(failed[0.3], n), "what fails with a small share fails with a greater one")
	}
	inARow := 0
	for i, n := range failed[0.3][1:] {
		if failed[0.3][i] == n-1 {
			inARow++
		}
	}
	assert.InDelta(t, 0.3, float64(inARow)/float64(len(failed[0.3])), 0.03, "whether a run fails does not depend on the one before")
}

// The watch is long enough for every policy to cover all calls.
func TestNewScenario(t *testing.T) {
	calls := []time.Duration{0, time.Second}
	for name, test := range map[string]struct {
		policies []throttle.Policy
		want     time.Duration
	}{
		"no limit":       {[]throttle.Policy{{}}, 1020 * ms},
		"interval":       {[]throttle.Policy{{}, throttle.Every(3 * time.Second), throttle.Every(time.Second)}, 4020 * ms},
		"quiet":          {[]throttle.Policy{throttle.Debounce(4*time.Second, time.Hour)}, 5020 * ms},
		"retry":          {[]throttle.Policy{{Retry: throttle.Backoff{Initial: 5 * time.Second}}}, 6020 * ms},
		"longer retries": {[]throttle.Policy{{Retry: throttle.Backoff{Initial: 5, Max: 6 * time.Second}}}, 7020 * ms},
		"load":           {[]throttle.Policy{{MaxLoad: 0.01}}, 1020*ms + 990*ms},
		"least load":     {[]throttle.Policy{{MaxLoad: 1e-300}}, math.MaxInt64},
		"for ever":       {[]throttle.Policy{throttle.Every(math.MaxInt64)}, math.MaxInt64},
		"no call waits":  {[]throttle.Policy{{MaxInterval: time.Hour}}, 1020 * ms},
	} {
		s := newScenario(calls, config{took: 10 * ms, policies: test.policies})
		assert.Equal(t, test.want, s.end, name)
	}
}

func TestPercentile(t *testing.T) {
	upTo := func(n int) (all []time.Duration) {
		for i := range n {
			all = append(all, time.Duration(i+1))
		}
		return all
	}
	for _, test := range []struct {
		n              int
		p50, p99, p100 time.Duration
	}{
		{1, 1, 1, 1}, {2, 1, 2, 2}, {3, 2, 3, 3}, {4, 2, 4, 4}, {99, 50, 99, 99}, {100, 50, 99, 100}, {101, 51, 100, 101}, {200, 100, 198, 200}, {1000, 500, 990, 1000},
	} {
		all := upTo(test.n)
		assert.Equal(t, test.p50, percentile(all, 50), test.n)
		assert.Equal(t, test.p99, percentile(all, 99), test.n)
		assert.Equal(t, test.p100, percentile(all, 100), test.n)
	}
}
