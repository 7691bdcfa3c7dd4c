package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// poisson returns n gaps between calls of a Poisson process.
func poisson(random *rand.Rand, n int, perSecond float64) []time.Duration {
	gaps := make([]time.Duration, n)
	for i := range gaps {
		gaps[i] = time.Duration(random.ExpFloat64() / perSecond * float64(time.Second))
	}
	return gaps
}

// callsAfter returns the instants of calls with these gaps, of which the first is dropped.
func callsAfter(gaps []time.Duration) []time.Duration {
	calls := make([]time.Duration, len(gaps))
	for i, gap := range gaps[1:] {
		calls[i+1] = calls[i] + gap
	}
	return calls
}

// traffics returns realistic traffic of a few hundred calls each.
func traffics() map[string][]time.Duration {
	random := rand.New(rand.NewPCG(1, 2))
	// Bursts of 20 calls, some of them simultaneous, half a minute apart.
	var bursts []time.Duration
	for range 15 {
		bursts = append(bursts, poisson(random, 1, 1.0/30)...)
		for _, gap := range poisson(random, 19, 100) {
			bursts = append(bursts, gap.Truncate(10*ms))
		}
	}
	// A day: the rate follows the sun.
	var day []time.Duration
	for at := time.Duration(0); at < 24*time.Hour; {
		rate := 0.005 * (1.1 - math.Cos(2*math.Pi*at.Hours()/24))
		gap := poisson(random, 1, rate)[0]
		day = append(day, gap)
		at += gap
	}
	// An incident: quiet traffic, then everyone calls at once, every 50 ms sharp.
	incident := poisson(random, 100, 0.5)
	for range 300 {
		incident = append(incident, 50*ms)
	}
	incident = append(incident, poisson(random, 100, 0.5)...)
	return map[string][]time.Duration{
		"poisson":  callsAfter(poisson(random, 400, 3)),
		"bursts":   callsAfter(bursts),
		"day":      callsAfter(day),
		"incident": callsAfter(incident),
	}
}

// The prediction is what a real Throttler does, run by run.
func TestMeasure_Throttler(t *testing.T) {
	retry := throttle.Backoff{Initial: 150 * ms, Max: 2 * time.Second}
	policies := append(policiesOf(t),
		throttle.Policy{Interval: time.Second, Edges: throttle.Leading},
		throttle.Policy{Interval: time.Second, Edges: throttle.Trailing},
		throttle.Policy{Quiet: 200 * ms, Edges: throttle.Leading | throttle.Trailing},
		throttle.Policy{Quiet: 100 * ms, Edges: throttle.Leading},
		throttle.Policy{Interval: time.Second, Burst: 5},
		throttle.Policy{Interval: 400 * ms, From: throttle.FromEnd, MaxLoad: 0.1},
		throttle.Policy{Quiet: 500 * ms, MaxCalls: 10},
		throttle.Policy{Interval: time.Second, MaxInterval: 7 * time.Minute},
		throttle.Policy{Retry: retry},
		throttle.Policy{Interval: 500 * ms, Retry: retry},
		throttle.Policy{Interval: time.Second, Edges: throttle.Leading, Retry: retry},
	)
	shares := []float64{0.3, 0, 0.9} // of failed runs
	if testing.Short() {
		shares = shares[:1]
	}
	for name, calls := range traffics() {
		require.Greater(t, len(calls), 200)
		for _, fail := range shares {
			s := newScenario(calls, config{took: 30 * ms, fail: fail, policies: policies})
			for _, p := range policies {
				want, _ := s.measure(p, nil)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						got, starts := s.play(t, p)
						assert.Equal(t, want.runs, got.runs, p)
						assert.Equal(t, want.failed, got.failed, p)
						assert.Equal(t, want.dropped, got.dropped, p)
						assert.Equal(t, want.running, got.running, p)
						assert.True(t, slices.Equal(s.starts(p), starts), p)
					})
				})
			}
		}
	}
}

// starts returns when the runs under p start, as predicted.
func (s scenario) starts(p throttle.Policy) (starts []time.Duration) {
	for run := range s.simulate(p, func(time.Duration) {}) {
		starts = append(starts, run.Started)
	}
	return starts
}

// play plays s with a real Throttler. It returns what it counts, and when the runs start. It
// runs in a bubble.
func (s scenario) play(t *testing.T, p throttle.Policy) (r result, starts []time.Duration) {
	t.Helper()
	start := time.Now()
	started := 0
	throttler := throttle.Must(throttle.New(p, func() error {
		took, err := s.run(started)
		started++
		time.Sleep(took)
		return err
	}, throttle.WithErrorHandler(func(error) {}), throttle.WithObserver(func(run throttle.Run) {
		if run.Started.Sub(start) > s.end {
			return
		}
		r.runs++
		starts = append(starts, run.Started.Sub(start))
		r.running += min(run.Ended.Sub(start), s.end) - run.Started.Sub(start)
		if run.Err != nil {
			r.failed++
		}
	})))
	// What is due at the instant of a call happens before the call.
	waitUntil := func(at time.Duration) {
		time.Sleep(at - time.Since(start))
		synctest.Wait()
	}
	for _, call := range s.calls {
		waitUntil(call)
		throttler.Call()
	}
	waitUntil(s.end)
	r.dropped = int(throttler.Stats().Dropped)
	throttler.Pause() // what has started ends, and is counted
	time.Sleep(s.took)
	synctest.Wait()
	require.NoError(t, throttler.Close())
	return r, starts
}

// Whatever the order of the workers, the results are the same.
func TestTryAll(t *testing.T) {
	policies := policiesOf(t)
	s := newScenario(traffics()["incident"], config{took: 30 * ms, fail: 0.1, policies: policies})
	results := s.tryAll(policies)
	assert.True(t, slices.IsSortedFunc(results, func(a, b result) int { return b.runs - a.runs }))
	for range 5 {
		assert.Equal(t, results, s.tryAll(policies))
	}
	for i, r := range results {
		alone := measured(s, r.policy)
		alone.front = r.front
		assert.Equal(t, alone, r)
		if i > 0 && results[i-1].runs == r.runs {
			assert.Less(t, slices.Index(policies, results[i-1].policy), slices.Index(policies, r.policy), "in the order of the grid")
		}
	}
}
