package throttle_test

// This file holds when runs start under each policy, and what all scenario
// tests stand on: a callback that records its runs, and timelines of what
// happens to a throttler at which millisecond, played in fake time.

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/throttle-go/throttle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// errFailed is the error of a scripted run that fails.
var errFailed = errors.New("scripted failure")

// A scripted run is what one run of a recorder does.
type scripted = func(ctx context.Context) error

// takes scripts a run that lasts for d and ends with err.
func takes(d time.Duration, err error) scripted {
	return func(context.Context) error {
		time.Sleep(d)
		return err
	}
}

// fails scripts n runs that fail at once.
func fails(n int) []scripted { return slices.Repeat([]scripted{takes(0, errFailed)}, n) }

// A recorder is a callback that follows a script, one entry per run, and then
// succeeds at once. It writes down what happens.
type recorder struct {
	begin  time.Time
	script []scripted
	active atomic.Int32
	most   atomic.Int32 // of runs active at once

	mu     sync.Mutex     // guards the fields below
	starts []int          // of runs, in milliseconds since begin
	heard  []error        // what the error handler was told
	seen   []throttle.Run // what the observer was told
}

func newRecorder(script ...scripted) *recorder {
	return &recorder{begin: time.Now(), script: script, starts: []int{}}
}

func (r *recorder) run(ctx context.Context) error {
	r.most.Store(max(r.most.Load(), r.active.Add(1)))
	defer r.active.Add(-1)
	r.mu.Lock()
	n := len(r.starts)
	r.starts = append(r.starts, r.elapsed())
	r.mu.Unlock()
	if n >= len(r.script) {
		return nil
	}
	return r.script[n](ctx)
}

func (r *recorder) hear(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, err)
}

func (r *recorder) observe(run throttle.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, run)
}

// elapsed returns the milliseconds since begin.
func (r *recorder) elapsed() int { return int(time.Since(r.begin) / ms) }

// started returns when runs have started, once all goroutines have settled.
func (r *recorder) started() []int {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.starts)
}

// errors returns what the error handler was told.
func (r *recorder) errors() []error {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heard)
}

// runs returns what the observer was told.
func (r *recorder) runs() []throttle.Run {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// until lets time pass until at, in milliseconds since begin.
func (r *recorder) until(at int) {
	time.Sleep(time.Until(r.begin.Add(time.Duration(at) * ms)))
	synctest.Wait()
}

// throttler returns a throttler of r's. The test's end closes it, and waits for
// the run that may be active.
func (r *recorder) throttler(t *testing.T, p throttle.Policy, opts ...throttle.Option) *throttle.Throttler {
	t.Helper()
	hooks := []throttle.Option{throttle.WithErrorHandler(r.hear), throttle.WithObserver(r.observe)}
	throttler, err := throttle.New(p, r.run, append(hooks, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = throttler.Close()
		_ = throttler.Shutdown(context.Background())
	})
	return throttler
}

// A waiter is a waiting method at work in a goroutine of its own.
type waiter struct {
	done chan struct{}
	err  error
}

func await(method func() error) *waiter {
	w := &waiter{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = method()
	}()
	return w
}

func awaitDo(throttler *throttle.Throttler) *waiter {
	return await(func() error { return throttler.Do(context.Background()) })
}

func awaitFlush(throttler *throttle.Throttler) *waiter {
	return await(func() error { return throttler.Flush(context.Background()) })
}

func awaitShutdown(throttler *throttle.Throttler) *waiter {
	return await(func() error { return throttler.Shutdown(context.Background()) })
}

// returned reports whether the method has returned, once all goroutines have
// settled.
func (w *waiter) returned() bool {
	synctest.Wait()
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// result returns what the method has returned by now.
func (w *waiter) result(t *testing.T) error {
	t.Helper()
	require.True(t, w.returned(), "still waits")
	return w.err
}

// A moment is what happens to a throttler at one time.
type moment struct {
	at int // milliseconds
	do func(*throttle.Throttler)
}

func at(at int, do func(*throttle.Throttler)) []moment { return []moment{{at, do}} }

func calls(at ...int) []moment {
	var moments []moment
	for _, at := range at {
		moments = append(moments, moment{at, (*throttle.Throttler).Call})
	}
	return moments
}

// steadyCalls calls each step milliseconds from the first to the last.
func steadyCalls(first, last, step int) []moment {
	var moments []moment
	for at := first; at <= last; at += step {
		moments = append(moments, calls(at)...)
	}
	return moments
}

func callWithin(d time.Duration) func(*throttle.Throttler) {
	return func(throttler *throttle.Throttler) { throttler.CallWithin(d) }
}

func setPolicy(p throttle.Policy) func(*throttle.Throttler) {
	return func(throttler *throttle.Throttler) { _ = throttler.SetPolicy(p) }
}

func flush(throttler *throttle.Throttler)    { awaitFlush(throttler) }
func shutdown(throttler *throttle.Throttler) { awaitShutdown(throttler) }
func stop(throttler *throttle.Throttler)     { _ = throttler.Close() }
func cancel(throttler *throttle.Throttler)   { throttler.Cancel() }

// A timeline is what happens to a throttler, and when its runs must start.
type timeline struct {
	name    string
	policy  throttle.Policy
	script  []scripted
	moments []moment // in any order
	until   int      // milliseconds to watch, if not long enough for all to come to rest
	want    []int    // starts, in milliseconds
}

// play plays the timeline. After each moment, and at every time that is due,
// it lets disturb do something that must not change the starts.
func (tl timeline) play(t *testing.T, disturb func(*throttle.Throttler), opts ...throttle.Option) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(tl.script...)
		throttler := r.throttler(t, tl.policy, opts...)
		for _, m := range slices.SortedStableFunc(slices.Values(tl.moments), func(a, b moment) int { return cmp.Compare(a.at, b.at) }) {
			r.until(m.at)
			m.do(throttler)
			disturb(throttler)
		}
		r.until(cmp.Or(tl.until, 60_000))
		require.Equal(t, tl.want, r.started())
		require.LessOrEqual(t, r.most.Load(), int32(1), "runs overlap")
	})
}

func playAll(t *testing.T, timelines []timeline) {
	for _, tl := range timelines {
		t.Run(tl.name, func(t *testing.T) { tl.play(t, func(*throttle.Throttler) {}) })
	}
}

func TestRunsStartWhenThePolicySays(t *testing.T) { playAll(t, policyTimelines) }

// policyTimelines are the ones that consist of calls alone.
var policyTimelines = []timeline{
	{name: "first call runs at once and later ones at the window's end",
		policy: throttle.Every(100 * ms), moments: calls(0, 10, 111), want: []int{0, 100, 200}},
	{name: "calls in the window are covered once and never again",
		policy: throttle.Every(500 * ms), moments: calls(0, 20, 40, 60, 80), want: []int{0, 500}},
	{name: "call at the very end of the window runs at once",
		policy: throttle.Every(100 * ms), moments: calls(0, 100, 200), want: []int{0, 100, 200}},
	{name: "call after the window runs at once",
		policy: throttle.Every(100 * ms), moments: calls(0, 150, 260), want: []int{0, 150, 260}},
	{name: "steady calls never postpone a run",
		policy: throttle.Every(5 * time.Second), moments: steadyCalls(0, 19_500, 500), want: []int{0, 5000, 10_000, 15_000, 20_000}},
	{name: "without limits every call runs at once",
		moments: calls(0, 1, 2), want: []int{0, 1, 2}},
	{name: "without limits a call during a run follows it",
		script: []scripted{takes(100*ms, nil)}, moments: calls(0, 10, 20), want: []int{0, 100}},

	{name: "leading edge alone drops what comes in the window",
		policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading}, moments: calls(0, 10, 99, 111, 211), want: []int{0, 111, 211}},
	{name: "leading edge alone drops what comes during a run",
		policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading}, script: []scripted{takes(250*ms, nil)},
		moments: calls(0, 150, 260), want: []int{0, 260}},
	{name: "trailing edge alone waits for the end of the window that a call opens",
		policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing}, moments: calls(0, 10, 111, 1000), want: []int{100, 200, 1100}},
	{name: "trailing edge alone opens another window at the end of the last",
		policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing}, moments: calls(0, 200), want: []int{100, 300}},
	{name: "trailing edge alone without interval runs at once",
		policy: throttle.Policy{Edges: throttle.Trailing}, moments: calls(0, 10), want: []int{0, 10}},

	{name: "call during a run waits for the interval and not for the run's end",
		policy: throttle.Every(100 * ms), script: []scripted{takes(30*ms, nil)}, moments: calls(0, 10), want: []int{0, 100}},
	{name: "call during a run longer than the interval waits for the run's end",
		policy: throttle.Every(100 * ms), script: []scripted{takes(250*ms, nil)}, moments: calls(0, 10), want: []int{0, 250}},
	{name: "from the end the pause follows the run",
		policy: throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd}, script: []scripted{takes(250*ms, nil), takes(50*ms, nil)},
		moments: calls(0, 10, 360, 499, 601), want: []int{0, 350, 500, 601}},

	{name: "bucket of two",
		policy: throttle.Policy{Interval: time.Second, Burst: 2}, moments: calls(4000, 4001, 4002), want: []int{4000, 4001, 5000}},
	{name: "bucket fills up to its size and no further",
		policy:  throttle.Policy{Interval: time.Second, Burst: 2},
		moments: calls(0, 1, 2, 20_000, 20_001, 20_002), want: []int{0, 1, 1000, 20_000, 20_001, 21_000}},
	{name: "bucket gains tokens from when it was full and not from the last run",
		policy:  throttle.Policy{Interval: 100 * ms, Burst: 3},
		moments: calls(0, 20, 40, 150, 160, 170), want: []int{0, 20, 40, 150, 200}},
	{name: "bucket that has filled up gains no token for the time it was full",
		policy:  throttle.Policy{Interval: 100 * ms, Burst: 2},
		moments: calls(0, 190, 191, 192), want: []int{0, 190, 191, 290}},

	{name: "periodic runs need no call, and a call's run counts for them",
		policy: throttle.Policy{MaxInterval: time.Second}, moments: calls(1500), until: 3999, want: []int{1000, 1500, 2500, 3500}},
	{name: "periodic run counts for spacing",
		policy:  throttle.Policy{Interval: 300 * ms, MaxInterval: time.Second},
		moments: calls(1100), until: 2999, want: []int{1000, 1300, 2300}},
	{name: "periodic runs from the end follow the run",
		policy: throttle.Policy{MaxInterval: 100 * ms, From: throttle.FromEnd}, script: []scripted{takes(50*ms, nil), takes(50*ms, nil)},
		until: 499, want: []int{100, 250, 400}},
	{name: "periodic run covers the calls that wait",
		policy:  throttle.Policy{Quiet: 100 * ms, MaxInterval: time.Second},
		moments: calls(950), until: 1999, want: []int{1000}},
	{name: "periodic runs go on with a leading edge alone",
		policy:  throttle.Policy{Interval: 50 * ms, Edges: throttle.Leading, MaxInterval: 100 * ms},
		moments: calls(110, 160), until: 299, want: []int{100, 160, 260}},

	{name: "full batch does not wait for quiet",
		policy: throttle.Policy{Quiet: 100 * ms, MaxCalls: 3}, moments: calls(0, 10, 20, 500), want: []int{20, 600}},
	{name: "full batch does not wait for the trailing edge",
		policy:  throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing, MaxCalls: 3},
		moments: calls(0, 10, 20, 1000, 1010), want: []int{20, 1100}},
	{name: "full batch keeps the interval",
		policy:  throttle.Policy{Interval: time.Second, Quiet: 100 * ms, MaxCalls: 2},
		moments: calls(0, 10, 20, 30, 40), want: []int{10, 1010}},
	{name: "batch of one",
		policy: throttle.Policy{Quiet: 100 * ms, MaxCalls: 1}, moments: calls(0, 10), want: []int{0, 10}},

	{name: "urgent call does not wait for the trailing edge",
		policy:  throttle.Policy{Interval: time.Second, Edges: throttle.Trailing},
		moments: slices.Concat(calls(0), at(100, callWithin(50*ms)), at(120, callWithin(time.Minute))), want: []int{150}},
	{name: "urgent call keeps the interval",
		policy: throttle.Every(time.Second), moments: slices.Concat(calls(0), at(100, callWithin(10*ms))), want: []int{0, 1000}},
	{name: "urgency below zero is at once",
		policy: throttle.Policy{Interval: time.Second, Edges: throttle.Trailing}, moments: at(100, callWithin(-1)), want: []int{100}},
	{name: "urgency ends with the run it was for",
		policy:  throttle.Policy{Interval: time.Second, Edges: throttle.Trailing},
		moments: slices.Concat(at(0, callWithin(0)), calls(1500)), want: []int{0, 2500}},
}
