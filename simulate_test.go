package throttle_test

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// A trial is what Simulate is asked about.
type trial struct {
	policy  throttle.Policy
	calls   []time.Duration
	within  []time.Duration // of each call
	results []result        // of the runs, in turn and again from the first
	horizon time.Duration   // later runs do not matter
}

// A result is how long a run takes, and what its callback returns.
type result struct {
	took time.Duration
	err  error
}

// mostRuns is how many runs of a trial are compared.
const mostRuns = 60

func (f trial) run(n int) (took time.Duration, err error) {
	r := f.results[n%len(f.results)]
	return r.took, r.err
}

// simulate returns what Simulate predicts.
func (f trial) simulate(t *testing.T) (runs []throttle.SimulatedRun, dropped int) {
	t.Helper()
	all, err := throttle.Simulate(f.policy, slices.Values(f.calls), f.run,
		throttle.WithBounds(func(n int) time.Duration { return f.within[n] }),
		throttle.WithDropped(func(n int, at time.Duration) {
			assert.Equal(t, f.calls[n], at)
			dropped++
		}))
	require.NoError(t, err)
	for run := range all {
		if run.Started > f.horizon {
			break
		}
		if runs = append(runs, run); len(runs) == mostRuns {
			break
		}
	}
	return runs, dropped
}

// observe returns what a Throttler does, in fake time. It lets everything happen that is due
// at the instant of a call, and then makes the call.
func (f trial) observe(t *testing.T) (runs []throttle.SimulatedRun, dropped int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var throttler *throttle.Throttler
		begun, n, first := time.Now(), 0, 0
		callback := func() error {
			took, err := f.run(n)
			n++
			if n == mostRuns {
				throttler.Pause()
			}
			time.Sleep(took)
			return err
		}
		throttler = throttle.Must(throttle.New(f.policy, callback, throttle.WithCallCount(), throttle.WithPaused(),
			throttle.WithErrorHandler(func(error) {}),
			throttle.WithObserver(func(r throttle.Run) {
				since := func(at time.Time) time.Duration { return at.Sub(begun) }
				run := throttle.SimulatedRun{
					Cause: r.Cause, Attempt: r.Attempt, Due: since(r.Due), Started: since(r.Started), Ended: since(r.Ended),
					Calls: int(r.Calls), Err: r.Err,
				}
				if !r.Retry.IsZero() {
					run.Retry = since(r.Retry)
				}
				if !r.Asked.IsZero() {
					run.Wait = r.Started.Sub(r.Asked)
					first += slices.Index(f.calls[first:], since(r.Asked)) // those between were dropped
					run.First = first
					first += run.Calls
				}
				runs = append(runs, run)
			})))
		throttler.Resume() // now the callback knows it
		for i, at := range f.calls {
			time.Sleep(at - time.Since(begun))
			synctest.Wait()
			throttler.CallWithin(f.within[i])
			synctest.Wait()
		}
		time.Sleep(f.horizon - time.Since(begun))
		synctest.Wait()
		throttler.Pause()
		dropped = int(throttler.Stats().Dropped)
		_ = throttler.Wait(t.Context()) // the run's error, which the observer has
		require.NoError(t, throttler.Close())
	})
	return runs, dropped
}

// newTrial turns bytes into a trial without Jitter.
func newTrial(data []byte) trial {
	d := reference.NewDecoder(data)
	f := trial{policy: d.Policy(throttle.Policy{}, d.Byte())}
	f.policy.Jitter, f.policy.Retry.Jitter = 0, 0
	f.policy = f.policy.Clamp()
	for range 1 + d.Pick(8) {
		script := d.Script()
		r := result{took: script.Length}
		switch {
		case script.Outcome.AsksRetry():
			r.err = throttle.RetryIn(script.RetryIn)
		case !script.Outcome.Succeeds():
			r.err = errFailed
		}
		f.results = append(f.results, r)
	}
	var at time.Duration
	for d.More() && len(f.calls) < 100 {
		if shape := d.Byte(); shape >= 64 {
			at += d.Short()
		}
		within := time.Duration(math.MaxInt64)
		if shape := d.Byte(); shape < 64 {
			within = d.Duration() - 1 // -1 is negative
		}
		f.calls, f.within = append(f.calls, at), append(f.within, within)
	}
	f.horizon = at + 10*time.Second
	return f
}

// playSimulation plays a trial, and returns how often each thing happened that a test of
// Simulate must not miss.
func playSimulation(t *testing.T, data []byte) map[string]int {
	t.Helper()
	f := newTrial(data)
	predicted, dropped := f.simulate(t)
	runs, droppedThen := f.observe(t)
	if !assert.Equal(t, runs, predicted, "%v\ncalls %v within %v\nresults %v", f.policy, f.calls, f.within, f.results) {
		t.Fatalf("bytes: %q", data)
	}
	if len(runs) < mostRuns {
		require.Equal(t, droppedThen, dropped, "%v\nbytes: %q", f.policy, data)
	}
	reached := map[string]int{"dropped calls": dropped}
	for _, run := range predicted {
		reached["cause "+string(run.Cause)]++
		if run.Retry > 0 {
			reached["a repetition"]++
		}
		if run.Due < run.Started {
			reached["a late start"]++
		}
		if run.Calls > 1 {
			reached["several calls"]++
		}
	}
	return reached
}

func FuzzSimulate(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { playSimulation(t, data) })
}

// TestSimulate_throttler compares Simulate with a Throttler, to the nanosecond.
func TestSimulate_throttler(t *testing.T) {
	counts := playRandomly(t, 2000, 10000, playSimulation)
	requireCounts(t, counts, []string{
		"dropped calls", "cause call", "cause retry", "cause interval", "a repetition", "a late start", "several calls",
	}, 100)
}

func TestSimulate(t *testing.T) {
	simulate := func(t *testing.T, p throttle.Policy, calls []time.Duration, took time.Duration, opts ...throttle.SimulateOption) []throttle.SimulatedRun {
		t.Helper()
		run := func(int) (time.Duration, error) { return took, nil }
		runs, err := throttle.Simulate(p, slices.Values(calls), run, opts...)
		require.NoError(t, err)
		return slices.Collect(runs)
	}

	t.Run("covers calls by number", func(t *testing.T) {
		assert.Equal(t, []throttle.SimulatedRun{
			{Cause: throttle.CauseCall, Attempt: 1, Ended: 20, Calls: 1},
			{Cause: throttle.CauseCall, Attempt: 1, Due: 100, Started: 100, Ended: 120, First: 1, Calls: 2, Wait: 70},
		}, simulate(t, throttle.Every(100), []time.Duration{0, 30, 60}, 20))
	})
	t.Run("calls out of order count as simultaneous", func(t *testing.T) {
		assert.Equal(t,
			simulate(t, throttle.Debounce(10, 0), []time.Duration{0, 50, 50, 70}, 0),
			simulate(t, throttle.Debounce(10, 0), []time.Duration{-5, 50, 20, 70}, 0))
	})
	t.Run("what is due at the instant of a call happens first", func(t *testing.T) {
		runs := simulate(t, throttle.Policy{Interval: 100, Edges: throttle.Leading}, []time.Duration{0, 100}, 100)
		assert.Len(t, runs, 2)
	})
	t.Run("dropped calls", func(t *testing.T) {
		var dropped []int
		runs := simulate(t, throttle.Policy{Interval: 100, Edges: throttle.Leading}, []time.Duration{0, 30, 60, 130}, 0,
			throttle.WithDropped(func(n int, _ time.Duration) { dropped = append(dropped, n) }))
		assert.Equal(t, []int{1, 2}, dropped)
		assert.Equal(t, 3, runs[1].First)
	})
	t.Run("no calls, no run, no options", func(t *testing.T) {
		runs, err := throttle.Simulate(throttle.Policy{MaxInterval: 10}, nil, nil, nil, throttle.WithBounds(nil), throttle.WithDropped(nil))
		require.NoError(t, err)
		var started []time.Duration
		for run := range runs {
			if started = append(started, run.Started); len(started) == 3 {
				break
			}
		}
		assert.Equal(t, []time.Duration{10, 20, 30}, started)
	})
	t.Run("a run cannot take less than no time", func(t *testing.T) {
		assert.Equal(t, simulate(t, throttle.Every(10), []time.Duration{0, 5}, 0), simulate(t, throttle.Every(10), []time.Duration{0, 5}, -20))
	})
	t.Run("reads calls as they are needed", func(t *testing.T) {
		read := 0
		endless := func(yield func(time.Duration) bool) {
			for yield(time.Duration(read + 1)) {
				read++
			}
		}
		runs, err := throttle.Simulate(throttle.Every(10), endless, nil)
		require.NoError(t, err)
		for run := range runs {
			if run.Started >= 50 {
				break
			}
		}
		assert.Equal(t, 50, read)
	})
	t.Run("invalid policy", func(t *testing.T) {
		runs, err := throttle.Simulate(throttle.Policy{Interval: -1, MaxWait: 1}, nil, nil)
		assert.Nil(t, runs)
		problem := new(throttle.PolicyError)
		require.ErrorAs(t, err, &problem)
		assert.Equal(t, throttle.Policy{Interval: -1, MaxWait: 1}.Validate().Error(), err.Error())
	})
	t.Run("the ends of time", func(t *testing.T) {
		assert.Empty(t, simulate(t, throttle.Policy{}, []time.Duration{1}, math.MaxInt64), "a run that never ends")
		assert.Empty(t, simulate(t, throttle.Debounce(math.MaxInt64, 0), []time.Duration{1, 2}, 0), "a run that never starts")
		assert.Len(t, simulate(t, throttle.Policy{}, []time.Duration{1, math.MaxInt64}, 0), 1, "a call that is never made")
	})
}

// TestSimulate_jitter checks that Jitter shortens each MaxInterval and each delay in its range,
// by different shares, and by the same ones in each loop.
func TestSimulate_jitter(t *testing.T) {
	p := throttle.Policy{MaxInterval: time.Second, Jitter: 0.5, Retry: throttle.Backoff{Initial: 100 * time.Millisecond, Jitter: 0.5}}
	fails := func(n int) (time.Duration, error) {
		if n%2 == 0 {
			return 0, errFailed
		}
		return 0, nil
	}
	runs, err := throttle.Simulate(p, nil, fails)
	require.NoError(t, err)
	loop := func() (distances []time.Duration) {
		var last time.Duration
		for run := range runs {
			distances = append(distances, run.Started-last)
			if last = run.Started; len(distances) == 40 {
				return distances
			}
		}
		return nil
	}
	distances := loop()
	for i, distance := range distances {
		most := p.MaxInterval
		if i%2 == 1 {
			most = p.Retry.Initial
		}
		assert.Less(t, distance, most) // the chance that nothing is drawn is slight, and always the same
		assert.Greater(t, distance, most/2-1)
	}
	slices.Sort(distances)
	assert.Len(t, slices.Compact(distances), 40)
	assert.ElementsMatch(t, distances, loop())
}
