package throttle_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// This file tests Policy.MaxLoad.

func TestThrottler_MaxLoad(t *testing.T) { playAll(t, loadTimelines) }

// loaded returns p with a MaxLoad of a quarter: a run is followed by a rest of three times
// its length.
func loaded(p throttle.Policy) throttle.Policy {
	p.MaxLoad = 0.25
	return p
}

// takesEach scripts runs that take so many milliseconds each.
func takesEach(lengths ...int) (script []scripted) {
	for _, length := range lengths {
		script = append(script, takes(time.Duration(length)*ms, nil))
	}
	return script
}

var loadTimelines = []timeline{
	{name: "runs that take longer spread out",
		policy: loaded(throttle.Every(100 * ms)), script: takesEach(10, 20, 40, 80), moments: steadyCalls(0, 1000, 5),
		want: []int{0, 100, 200, 360, 680, 780, 880, 980, 1080}},
	{name: "runs that take no time keep the interval",
		policy: loaded(throttle.Every(100 * ms)), moments: calls(0, 10, 110), want: []int{0, 100, 200}},
	{name: "without an interval a run rests as well",
		policy: loaded(throttle.Policy{}), script: takesEach(10, 20), moments: calls(0, 5, 40, 41, 150), want: []int{0, 40, 120, 150}},
	{name: "a call at the very end of the rest runs at once",
		policy: loaded(throttle.Policy{}), script: takesEach(10), moments: calls(0, 40), want: []int{0, 40}},
	{name: "a burst does not pass the rest",
		policy: loaded(throttle.Policy{Interval: 100 * ms, Burst: 3}), script: takesEach(10, 10, 10), moments: calls(0, 5, 50),
		want: []int{0, 40, 80}},
	{name: "a burst waits for a token as well",
		policy: loaded(throttle.Policy{Interval: 100 * ms, Burst: 2}), script: takesEach(10, 10, 10), moments: calls(0, 5, 50),
		want: []int{0, 40, 100}},
	{name: "the pause of an interval from the end is not added to the rest",
		policy: loaded(throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd}), script: takesEach(10, 50), moments: calls(0, 5, 120),
		want: []int{0, 110, 310}},
	{name: "a leading edge alone drops what comes during the rest",
		policy: loaded(throttle.Policy{Edges: throttle.Leading}), script: takesEach(50), moments: calls(0, 60, 199, 200), want: []int{0, 200}},
	{name: "a trailing edge alone waits for the end of the rest only",
		policy: loaded(throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing}), script: takesEach(50), moments: calls(0, 250),
		want: []int{100, 300}},
	{name: "quiet may pass during the rest",
		policy: loaded(throttle.Debounce(30*ms, 0)), script: takesEach(50), moments: calls(0, 90), want: []int{30, 230}},
	{name: "an urgent call waits for the rest",
		policy: loaded(throttle.Debounce(30*ms, 0)), script: takesEach(50), moments: slices.Concat(calls(0), at(90, callWithin(0))),
		want: []int{30, 230}},
	{name: "a full batch waits for the rest",
		policy: loaded(throttle.Policy{Quiet: 30 * ms, MaxCalls: 2}), script: takesEach(50), moments: calls(0, 90, 91, 92), want: []int{30, 230}},
	{name: "a retry waits for the rest",
		policy: loaded(retrying(throttle.Policy{}, 20*ms)), script: []scripted{takes(50*ms, errFailed)}, moments: calls(0), want: []int{0, 200}},
	{name: "a retry whose delay is longer than the rest waits for the delay",
		policy: loaded(retrying(throttle.Policy{}, 200*ms)), script: []scripted{takes(50*ms, errFailed)}, moments: calls(0), want: []int{0, 250}},
	{name: "an eager call waits for the rest",
		policy: loaded(eager(throttle.Policy{}, time.Second)), script: []scripted{takes(50*ms, errFailed)}, moments: calls(0, 60),
		want: []int{0, 200}},
	{name: "RetryIn waits for the rest",
		policy: loaded(throttle.Policy{}), script: []scripted{takes(50*ms, throttle.RetryIn(20*ms))}, moments: calls(0), want: []int{0, 200}},
	{name: "RetryIn that is longer than the rest",
		policy: loaded(throttle.Policy{}), script: []scripted{takes(50*ms, throttle.RetryIn(200*ms))}, moments: calls(0), want: []int{0, 250}},
	{name: "a periodic run waits for the rest",
		policy: loaded(throttle.Policy{MaxInterval: 100 * ms}), script: takesEach(50), until: 450, want: []int{100, 300, 400}},
	{name: "a flush passes the rest",
		policy: loaded(throttle.Policy{}), script: takesEach(50), moments: slices.Concat(calls(0, 60), at(70, flush)), want: []int{0, 70}},
	{name: "a flushed run needs a rest of its own, and ends the last",
		policy: loaded(throttle.Policy{}), script: takesEach(50, 10), moments: slices.Concat(calls(0, 60, 90), at(70, flush)),
		want: []int{0, 70, 110}},
	{name: "a shutdown passes the rest",
		policy: loaded(throttle.Policy{}), script: takesEach(50), moments: slices.Concat(calls(0, 60), at(70, shutdown)), want: []int{0, 70}},
	{name: "Cancel leaves the rest",
		policy: loaded(throttle.Policy{}), script: takesEach(50), moments: slices.Concat(calls(0, 60, 90), at(70, cancel)), want: []int{0, 200}},
	{name: "SetPolicy computes the rest anew",
		policy: loaded(throttle.Policy{}), script: takesEach(50),
		moments: slices.Concat(calls(0, 60), at(70, setPolicy(throttle.Policy{MaxLoad: 0.1})), at(250, setPolicy(throttle.Policy{MaxLoad: 0.125}))),
		want:    []int{0, 400}},
	{name: "SetPolicy without MaxLoad ends the rest",
		policy: loaded(throttle.Policy{}), script: takesEach(50), moments: slices.Concat(calls(0, 60), at(70, setPolicy(throttle.Policy{}))),
		want: []int{0, 70}},
	{name: "a new MaxLoad demands a rest after the last run",
		script: takesEach(50), moments: slices.Concat(calls(0, 80), at(70, setPolicy(loaded(throttle.Policy{})))), want: []int{0, 200}},
	{name: "a new MaxLoad demands none before the first run",
		moments: slices.Concat(calls(80), at(70, setPolicy(loaded(throttle.Policy{})))), want: []int{80}},
}

// TestThrottler_MaxLoad_hooks checks that the time of hooks does not count, except that
// the next run waits for them.
func TestThrottler_MaxLoad_hooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takesEach(20, 20, 20)...)
		slow := true
		throttler := r.throttler(t, loaded(throttle.Policy{}), throttle.WithObserver(func(throttle.Run) {
			if slow {
				slow = false
				time.Sleep(30 * ms)
			}
		}))
		throttler.Call()
		r.until(55)
		throttler.Call()
		r.until(1000)
		require.Equal(t, []int{0, 80}, r.started())
	})
}

var loadLifespans = []lifespan{
	{name: "rest after a run", policy: loaded(throttle.Policy{}), script: takesEach(20), moments: keyCalls(0), ends: 80},
	{name: "rest longer than the window", policy: loaded(throttle.Every(50 * ms)), script: takesEach(20), moments: keyCalls(0), ends: 80},
	{name: "rest shorter than the window", policy: loaded(throttle.Every(100 * ms)), script: takesEach(20), moments: keyCalls(0), ends: 100},
	{name: "rest longer than the bucket takes to fill", policy: loaded(throttle.Policy{Interval: 10 * ms, Burst: 3}), script: takesEach(20),
		moments: keyCalls(0), ends: 80},
	{name: "rest of a run that was deferred", policy: loaded(throttle.Policy{}), script: takesEach(20, 30), moments: keyCalls(0, 30), ends: 200},
	{name: "rest of a failure, eager", policy: loaded(throttle.Policy{Retry: throttle.Backoff{Initial: 10 * ms, MaxAttempts: 1, Eager: true}}),
		script: []scripted{takes(20*ms, errFailed)}, moments: keyCalls(0), ends: 80},
	{name: "rest that never ends", policy: throttle.Policy{MaxLoad: 1e-300}, script: takesEach(20), moments: keyCalls(0), ends: notAtAll},
	{name: "rest shortened, over already", policy: loaded(throttle.Policy{}), script: takesEach(20),
		moments: append(keyCalls(0), keyAt(50, setGroupPolicy(throttle.Policy{MaxLoad: 0.5}))...), ends: 50},
	{name: "rest prolonged", policy: throttle.Policy{MaxLoad: 0.5}, script: takesEach(20),
		moments: append(keyCalls(0), keyAt(30, setGroupPolicy(loaded(throttle.Policy{})))...), ends: 80},
}
