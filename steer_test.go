package throttle_test

// This file holds what changes when a pending run is due: SetPolicy, Flush and
// Cancel; and what must not change it: the same policy again, a look at the
// state, a stale timer.

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestSetPolicyMovesWhatIsPending(t *testing.T) { playAll(t, setPolicyTimelines) }

var setPolicyTimelines = []timeline{
	{name: "shorter interval",
		policy: throttle.Every(time.Second), moments: slices.Concat(calls(0, 100), at(200, setPolicy(throttle.Every(500*ms)))), want: []int{0, 500}},
	{name: "longer interval",
		policy: throttle.Every(500 * ms), moments: slices.Concat(calls(0, 100), at(200, setPolicy(throttle.Every(time.Second)))), want: []int{0, 1000}},
	{name: "interval that is over already",
		policy: throttle.Every(time.Second), moments: slices.Concat(calls(0, 100), at(400, setPolicy(throttle.Every(300*ms)))), want: []int{0, 400}},
	{name: "interval where there was none",
		moments: slices.Concat(calls(0), at(400, setPolicy(throttle.Every(time.Second))), calls(500)), want: []int{0, 1000}},
	{name: "interval measured from the end",
		policy: throttle.Every(100 * ms), script: []scripted{takes(50*ms, nil)},
		moments: slices.Concat(calls(0, 10), at(20, setPolicy(throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd}))), want: []int{0, 150}},
	{name: "interval to quiet waits for the quiet after the call that made the run pending",
		policy: throttle.Every(time.Second), moments: slices.Concat(calls(0, 100, 150), at(200, setPolicy(throttle.Debounce(500*ms, 0)))), want: []int{0, 600}},
	{name: "interval to quiet is moved by calls since",
		policy: throttle.Every(time.Second), moments: slices.Concat(calls(0, 100, 400), at(200, setPolicy(throttle.Debounce(500*ms, 0)))), want: []int{0, 900}},
	{name: "interval to quiet with a leading edge, without regard to calls that found a run pending",
		policy:  throttle.Every(100 * ms),
		moments: slices.Concat(calls(0, 10, 50, 115), at(60, callWithin(time.Hour)), at(101, setPolicy(throttle.Policy{Quiet: 100 * ms, Edges: throttle.Leading | throttle.Trailing}))), want: []int{0, 100, 115}},
	{name: "quiet to interval",
		policy: throttle.Debounce(500*ms, 0), moments: slices.Concat(calls(0), at(200, setPolicy(throttle.Every(time.Second)))), want: []int{200}},
	{name: "shorter quiet knows all calls",
		policy: throttle.Debounce(500*ms, 0), moments: slices.Concat(calls(0, 300), at(400, setPolicy(throttle.Debounce(200*ms, 0)))), want: []int{500}},
	{name: "bound on quiet",
		policy: throttle.Debounce(500*ms, 0), moments: slices.Concat(steadyCalls(0, 1000, 100), at(650, setPolicy(throttle.Debounce(500*ms, 750*ms)))), want: []int{750, 1500}},
	{name: "trailing edge turned off leaves what is pending",
		policy: throttle.Every(100 * ms), moments: slices.Concat(calls(0, 10), at(20, setPolicy(throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading})), calls(30, 110)),
		want: []int{0, 100}},
	{name: "leading edge turned off",
		policy: throttle.Every(100 * ms), moments: slices.Concat(at(0, setPolicy(throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing})), calls(10)), want: []int{110}},
	{name: "smaller bucket makes the next run wait from the last start",
		policy:  throttle.Policy{Interval: time.Second, Burst: 3},
		moments: slices.Concat(calls(0, 400, 600), at(500, setPolicy(throttle.Every(time.Second)))), want: []int{0, 400, 1400}},
	{name: "smaller bucket that holds all that is left gains the next when the larger one would have",
		policy:  throttle.Policy{Interval: 100 * ms, Burst: 5},
		moments: slices.Concat(calls(0, 20, 40, 60, 61, 62), at(50, setPolicy(throttle.Policy{Interval: 100 * ms, Burst: 3}))), want: []int{0, 20, 40, 60, 61, 100}},
	{name: "larger bucket gives nothing at once",
		policy:  throttle.Every(time.Second),
		moments: slices.Concat(calls(0, 600, 5000, 5001, 5002, 5003), at(500, setPolicy(throttle.Policy{Interval: time.Second, Burst: 3}))), want: []int{0, 1000, 5000, 5001, 5002, 6000}},
	{name: "periodic runs turned on count from the last run",
		policy: throttle.Every(100 * ms), moments: slices.Concat(calls(0), at(200, setPolicy(throttle.Policy{MaxInterval: 300 * ms}))), until: 700, want: []int{0, 300, 600}},
	{name: "periodic runs turned off",
		policy: throttle.Policy{MaxInterval: 300 * ms}, moments: at(400, setPolicy(throttle.Every(100*ms))), want: []int{300}},
	{name: "smaller batch that is full already",
		policy:  throttle.Policy{Quiet: time.Second, MaxCalls: 5},
		moments: slices.Concat(calls(0, 10), at(20, setPolicy(throttle.Policy{Quiet: time.Second, MaxCalls: 2}))), want: []int{20}},
	{name: "batch where there was none knows the call that made the run pending",
		policy:  throttle.Policy{Interval: time.Second, Edges: throttle.Trailing},
		moments: slices.Concat(calls(0, 10, 20, 40), at(30, setPolicy(throttle.Policy{Interval: time.Second, Edges: throttle.Trailing, MaxCalls: 2}))), want: []int{40}},
	{name: "invalid policy changes nothing",
		policy: throttle.Every(time.Second), moments: slices.Concat(calls(0, 100), at(200, setPolicy(throttle.Policy{Interval: 500 * ms, Burst: -1}))), want: []int{0, 1000}},
}

func TestFlushRunsWhatIsPending(t *testing.T) { playAll(t, flushTimelines) }

var flushTimelines = []timeline{
	{name: "restarts the window without debt",
		policy: throttle.Every(100 * ms), moments: slices.Concat(calls(0, 10, 60), at(50, flush)), want: []int{0, 50, 150}},
	{name: "does not wait for quiet",
		policy: throttle.Debounce(time.Second, 0), moments: slices.Concat(calls(0), at(50, flush)), want: []int{50}},
	{name: "does not wait for a trailing edge",
		policy: throttle.Policy{Interval: time.Second, Edges: throttle.Trailing}, moments: slices.Concat(calls(0), at(50, flush)), want: []int{50}},
	{name: "runs nothing if nothing is pending",
		policy: throttle.Every(100 * ms), moments: slices.Concat(at(0, flush), calls(10), at(20, flush)), want: []int{10}},
	{name: "waits for the active run to end",
		policy: throttle.Every(time.Second), script: []scripted{takes(200*ms, nil)}, moments: slices.Concat(calls(0, 10), at(50, flush)), want: []int{0, 200}},
	{name: "covers the calls that come before the run it waits for",
		policy: throttle.Every(time.Second), script: []scripted{takes(200*ms, nil)}, moments: slices.Concat(calls(0, 10, 60), at(50, flush)), want: []int{0, 200}},
	{name: "flushed twice is run once",
		policy: throttle.Every(time.Second), script: []scripted{takes(200*ms, nil)}, moments: slices.Concat(calls(0, 10), at(50, flush), at(60, flush)), want: []int{0, 200}},
	{name: "takes a token if one is left",
		policy:  throttle.Policy{Interval: time.Second, Burst: 2, Quiet: 50 * ms},
		moments: slices.Concat(calls(0, 20, 80), at(10, flush)), want: []int{10, 70, 1010}},
	{name: "on an empty bucket restarts it",
		policy:  throttle.Policy{Interval: time.Second, Burst: 2},
		moments: slices.Concat(calls(0, 1, 2, 600), at(500, flush)), want: []int{0, 1, 500, 1500}},
	{name: "leaves the bucket no debt",
		policy:  throttle.Policy{Interval: time.Second, Burst: 2},
		moments: slices.Concat(calls(0, 1, 2, 2600, 2601, 2602), at(500, flush)), want: []int{0, 1, 500, 2600, 2601, 3600}},
	{name: "keeps to the policy afterwards",
		policy: throttle.Debounce(100*ms, 0), moments: slices.Concat(calls(0, 60), at(50, flush)), want: []int{50, 160}},
	{name: "counts for periodic runs",
		policy: throttle.Policy{MaxInterval: time.Second, Quiet: time.Minute}, moments: slices.Concat(calls(0), at(500, flush)), until: 2000, want: []int{500, 1500}},
}

func TestCancelDropsWhatIsPending(t *testing.T) { playAll(t, cancelTimelines) }

var cancelTimelines = []timeline{
	{name: "and keeps the window",
		policy: throttle.Every(100 * ms), moments: slices.Concat(calls(0, 10, 60), at(50, cancel)), want: []int{0, 100}},
	{name: "and no run follows",
		policy: throttle.Every(100 * ms), moments: slices.Concat(calls(0, 10), at(50, cancel)), want: []int{0}},
	{name: "and leaves the active run alone",
		policy: throttle.Every(100 * ms), script: []scripted{takes(200*ms, nil)}, moments: slices.Concat(calls(0, 10), at(50, cancel)), want: []int{0}},
	{name: "and keeps the time of past calls",
		policy:  throttle.Policy{Quiet: 100 * ms, Edges: throttle.Leading | throttle.Trailing},
		moments: slices.Concat(calls(0, 50, 120), at(60, cancel)), want: []int{0, 220}},
	{name: "and the next call's wait counts from that call",
		policy: throttle.Debounce(100*ms, 150*ms), moments: slices.Concat(calls(0, 80, 160, 220), at(50, cancel)), want: []int{230}},
	{name: "and what a flush hurried",
		policy: throttle.Every(time.Second), script: []scripted{takes(200*ms, nil)},
		moments: slices.Concat(calls(0, 10, 70), at(50, flush), at(60, cancel)), want: []int{0, 1000}},
	{name: "and its urgency",
		policy:  throttle.Policy{Interval: time.Second, Edges: throttle.Trailing},
		moments: slices.Concat(at(0, callWithin(100*ms)), at(50, cancel), calls(60)), want: []int{1060}},
	{name: "and its count",
		policy: throttle.Policy{Quiet: time.Second, MaxCalls: 3}, moments: slices.Concat(calls(0, 10, 60, 70), at(50, cancel)), want: []int{1070}},
	{name: "and periodic runs go on",
		policy: throttle.Policy{MaxInterval: 100 * ms, Quiet: 30 * ms}, moments: slices.Concat(calls(110), at(120, cancel)), until: 310, want: []int{100, 200, 300}},
}

func TestCancelReportsWhetherAnythingWasPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(50*ms, nil), takes(0, errFailed))
		throttler := r.throttler(t, throttle.Policy{Interval: 100 * ms, Retry: throttle.Backoff{Initial: time.Second}})
		require.False(t, throttler.Cancel(), "idle")
		throttler.Call()
		r.until(10)
		require.False(t, throttler.Cancel(), "running, its call is covered")
		throttler.Call()
		require.True(t, throttler.Cancel(), "running and pending")
		r.until(80)
		throttler.Call()
		require.True(t, throttler.Cancel(), "armed")
		require.False(t, throttler.Cancel(), "canceled already")
		r.until(150)
		throttler.Call()
		r.until(200)
		require.True(t, throttler.Cancel(), "retry waiting")
		require.Equal(t, []int{0, 150}, r.started())
		throttler.Call()
		require.NoError(t, throttler.Close())
		require.False(t, throttler.Cancel(), "closed")
	})
}

// TestNothingElseMovesARun disturbs every timeline after each of its moments
// by something that must not change when runs start.
func TestNothingElseMovesARun(t *testing.T) {
	disturbances := []struct {
		name string
		do   func(*throttle.Throttler)
		opts []throttle.Option
	}{
		{name: "setting the policy it has", do: func(throttler *throttle.Throttler) { _ = throttler.SetPolicy(throttler.Policy()) }},
		{name: "setting an invalid policy", do: setPolicy(throttle.Policy{Interval: -1})},
		{name: "looking", do: func(throttler *throttle.Throttler) { throttler.Stats() }},
		{name: "waiting in vain", do: func(throttler *throttle.Throttler) {
			ended, end := context.WithCancel(context.Background())
			end()
			_ = throttler.Do(ended)
			_ = throttler.Flush(ended)
		}},
		{name: "counting calls", do: func(*throttle.Throttler) {}, opts: []throttle.Option{throttle.WithCallCount()}},
		// As does one that was stopped too late, by whatever the moment was.
		{name: "a stale timer", do: (*throttle.Throttler).Wake},
		{name: "stale timers all the time", do: func(throttler *throttle.Throttler) {
			for wait := range 50 {
				time.AfterFunc(time.Duration(wait)*7*ms+ms/2, throttler.Wake)
			}
		}},
	}
	for _, disturbance := range disturbances {
		t.Run(disturbance.name, func(t *testing.T) {
			for _, tl := range allTimelines() {
				t.Run(tl.name, func(t *testing.T) { tl.play(t, disturbance.do, disturbance.opts...) })
			}
		})
	}
}

func allTimelines() []timeline {
	return slices.Concat(policyTimelines, debounceTimelines, retryTimelines, setPolicyTimelines, flushTimelines, cancelTimelines)
}

// TestTimerThatFiresAsItIsStoppedStartsNothing lets what makes a timer stale
// happen at the very time at which the timer fires, which of the two comes
// first being anybody's guess.
func TestTimerThatFiresAsItIsStoppedStartsNothing(t *testing.T) {
	changes := []struct {
		name string
		do   func(*throttle.Throttler)
	}{
		{"Cancel", cancel},
		{"Close", stop},
		{"Flush", flush},
		{"Shutdown", shutdown},
		{"SetPolicy", setPolicy(throttle.Every(time.Hour))},
	}
	for _, change := range changes {
		t.Run(change.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for range 200 {
					r := newRecorder()
					throttler := r.throttler(t, throttle.Every(100*ms))
					throttler.Call()
					r.until(50)
					do := awaitDo(throttler)
					synctest.Wait()
					time.Sleep(50 * ms) // and no Wait: the timer fires now
					change.do(throttler)
					r.until(1000)
					want := 1
					if do.returned() && do.err == nil {
						want = 2
					}
					require.Len(t, r.started(), want)
					_ = throttler.Close()
				}
			})
		})
	}
}
