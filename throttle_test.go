package throttle_test

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

// takes scripts a run that takes d and returns err.
func takes(d time.Duration, err error) scripted {
	return func(context.Context) error {
		time.Sleep(d)
		return err
	}
}

// fails scripts n runs that fail at once.
func fails(n int) []scripted { return slices.Repeat([]scripted{takes(0, errFailed)}, n) }

// A recorder is a callback that follows a script, one entry per run, and then
// succeeds at once. It records what happens.
type recorder struct {
	begin  time.Time
	script []scripted
	active atomic.Int32
	most   atomic.Int32 // of runs active at once

	mu     sync.Mutex     // guards the fields below
	starts []int          // of runs, in milliseconds since begin
	heard  []error        // what the error handler got
	seen   []throttle.Run // what the observer got
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

// errors returns what the error handler got.
func (r *recorder) errors() []error {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heard)
}

// runs returns what the observer got.
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

// throttler returns a throttler that runs r. At the test's end it is closed, and its
// active run is awaited.
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

// A waiter calls a method that waits, in a goroutine of its own.
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

// meet does to throttler what happens at each of the moments, in their order.
func (r *recorder) meet(throttler *throttle.Throttler, moments []moment) {
	for _, m := range moments {
		r.until(m.at)
		m.do(throttler)
	}
}

// A timeline is what happens to a throttler, and when its runs must start.
type timeline struct {
	name    string
	policy  throttle.Policy
	script  []scripted
	moments []moment // in any order
	until   int      // milliseconds to watch; 0 means until all is at rest
	want    []int    // starts, in milliseconds
}

// play plays the timeline. After each moment it calls disturb, which must not change
// when runs start.
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

func TestThrottler_Call(t *testing.T) { playAll(t, policyTimelines) }

// policyTimelines consist of calls alone.
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

func TestThrottler_debounce(t *testing.T) { playAll(t, debounceTimelines) }

const bothEdges = throttle.Leading | throttle.Trailing

var debounceTimelines = []timeline{
	{name: "a run follows the last call by the quiet",
		policy: throttle.Debounce(100*ms, 0), moments: calls(0, 50, 149, 400), want: []int{249, 500}},
	{name: "steady calls postpone an unbounded run until they stop",
		policy: throttle.Debounce(100*ms, 0), moments: steadyCalls(0, 10_000, 50), want: []int{10_100}},
	{name: "steady calls postpone a run no longer than the bound from the first uncovered call",
		policy: throttle.Debounce(100*ms, 320*ms), moments: steadyCalls(0, 1000, 50), want: []int{320, 670, 1020}},
	{name: "bound reached before the quiet",
		policy: throttle.Debounce(800*ms, time.Second), moments: calls(0, 600), want: []int{1000}},
	{name: "quiet reached before the bound",
		policy: throttle.Debounce(800*ms, time.Second), moments: calls(0, 100), want: []int{900}},
	{name: "bound equal to the quiet is a fixed batch window",
		policy: throttle.Debounce(100*ms, 100*ms), moments: calls(0, 50, 90, 110, 200), want: []int{100, 210}},
	{name: "a call during a run starts a quiet of its own",
		policy: throttle.Debounce(100*ms, 0), script: []scripted{takes(300*ms, nil)}, moments: calls(0, 150, 350), want: []int{100, 450}},
	{name: "quiet that passes during a run ends with it",
		policy: throttle.Debounce(100*ms, 0), script: []scripted{takes(300*ms, nil)}, moments: calls(0, 150), want: []int{100, 400}},

	{name: "leading edge runs the first call of a flurry, trailing edge the rest",
		policy: throttle.Policy{Quiet: 100 * ms, Edges: bothEdges}, moments: calls(0, 50, 200, 700), want: []int{0, 150, 200, 700}},
	{name: "leading edge opens exactly a quiet after the last call",
		policy: throttle.Policy{Quiet: 100 * ms, Edges: bothEdges}, moments: calls(0, 100, 200), want: []int{0, 100, 200}},
	{name: "leading edge stays closed less than a quiet after the last call",
		policy: throttle.Policy{Quiet: 100 * ms, Edges: bothEdges}, moments: calls(0, 99), want: []int{0, 199}},
	{name: "leading edge alone drops the rest, and what is dropped counts for the quiet",
		policy: throttle.Policy{Quiet: 100 * ms, Edges: throttle.Leading}, moments: calls(0, 50, 140, 240, 300), want: []int{0, 240}},
	{name: "leading edge needs the interval as well as the quiet",
		policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms, Edges: bothEdges}, moments: calls(0, 200, 700, 1100, 1250), want: []int{0, 500, 1000, 1500}},

	{name: "urgent call cuts the quiet short for all that wait",
		policy: throttle.Debounce(time.Second, 0), moments: slices.Concat(calls(0, 200), at(100, callWithin(50*ms))), want: []int{150, 1200}},
	{name: "less urgent call takes nothing back",
		policy: throttle.Debounce(time.Second, 0), moments: slices.Concat(at(100, callWithin(50*ms)), at(120, callWithin(500*ms))), want: []int{150}},
	{name: "call that can wait longer than the quiet does not",
		policy: throttle.Debounce(100*ms, 0), moments: slices.Concat(calls(0), at(50, callWithin(time.Second))), want: []int{150}},
	{name: "urgent call at once",
		policy: throttle.Debounce(time.Second, 0), moments: slices.Concat(calls(0), at(100, callWithin(0))), want: []int{100}},

	{name: "interval holds when the quiet is over",
		policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms}, moments: calls(0, 150), want: []int{100, 600}},
	{name: "quiet holds when the interval is over",
		policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms}, moments: calls(0, 150, 550), want: []int{100, 650}},
	{name: "interval holds beyond the bound on quiet",
		policy: throttle.Policy{Interval: time.Second, Quiet: 100 * ms, MaxWait: 200 * ms}, moments: calls(0, 150), want: []int{100, 1100}},
	{name: "bucket of debounced runs",
		policy: throttle.Policy{Interval: time.Second, Burst: 2, Quiet: 10 * ms}, moments: calls(0, 20, 40), want: []int{10, 30, 1010}},
}

func TestThrottler_Do_throttled(t *testing.T) {
	leading := func(p throttle.Policy) throttle.Policy {
		p.Edges = throttle.Leading
		return p
	}
	backoff := throttle.Backoff{Initial: time.Second}
	tests := []struct {
		name   string
		policy throttle.Policy
		script scripted // of the run at 0
		calls  []moment // before at
		at     int
		want   time.Duration
	}{
		{name: "rest of the interval", policy: throttle.Every(100 * ms), at: 30, want: 70 * ms},
		{name: "quiet counts from the dropped call", policy: throttle.Debounce(100*ms, 0), calls: calls(20), at: 30, want: 100 * ms},
		{name: "interval beyond the quiet", policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms}, at: 30, want: 470 * ms},
		{name: "quiet beyond the interval", policy: throttle.Policy{Interval: 500 * ms, Quiet: 100 * ms}, at: 450, want: 100 * ms},
		{name: "active run", policy: throttle.Every(100 * ms), script: takes(300*ms, nil), at: 150, want: 0},
		{name: "active run in the interval", policy: throttle.Every(100 * ms), script: takes(300*ms, nil), at: 30, want: 70 * ms},
		{name: "pause after the active run", policy: throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd}, script: takes(300*ms, nil), at: 150, want: 100 * ms},
		{name: "pause", policy: throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd}, script: takes(300*ms, nil), at: 350, want: 50 * ms},
		{name: "backoff", policy: throttle.Policy{Interval: 10 * ms, Retry: backoff}, script: takes(0, errFailed), at: 100, want: 900 * ms},
		{name: "retry that the callback asked for", script: takes(0, throttle.RetryIn(700*ms)), at: 100, want: 600 * ms},
		{name: "bucket", policy: throttle.Policy{Interval: 100 * ms, Burst: 2}, calls: calls(20), at: 30, want: 70 * ms},
		{name: "rest after a long run", policy: throttle.Policy{Interval: 100 * ms, MaxLoad: 0.5}, script: takes(80*ms, nil), at: 90, want: 70 * ms},
		{name: "rest after the active run", policy: throttle.Policy{MaxLoad: 0.25}, script: takes(80*ms, nil), at: 30, want: 90 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder()
				if tt.script != nil {
					r.script = []scripted{tt.script}
				}
				throttler := r.throttler(t, leading(tt.policy), throttle.WithName("reload"))
				for _, m := range slices.Concat(calls(0), tt.calls) {
					r.until(m.at)
					m.do(throttler)
				}
				r.until(tt.at)
				before := len(r.started())
				err := throttler.Do(context.Background())
				var throttled *throttle.ThrottledError
				require.ErrorAs(t, err, &throttled)
				require.Equal(t, throttle.ThrottledError{Name: "reload", RetryAfter: tt.want}, *throttled)
				require.ErrorIs(t, err, throttle.ErrThrottled)
				require.Len(t, r.started(), before)
			})
		})
	}
}

func TestThrottler_SetPolicy(t *testing.T) { playAll(t, setPolicyTimelines) }

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
	{name: "leading edge to quiet, without regard to calls that were dropped, with or without the lock",
		policy:  throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading},
		moments: slices.Concat(calls(0, 10, 80), at(90, callWithin(0)), at(95, setPolicy(throttle.Policy{Quiet: 50 * ms, Edges: throttle.Leading})), calls(101)), want: []int{0, 101}},
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

func TestThrottler_Flush_starts(t *testing.T) { playAll(t, flushTimelines) }

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

func TestThrottler_Cancel_starts(t *testing.T) { playAll(t, cancelTimelines) }

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

func TestThrottler_Cancel(t *testing.T) {
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

// TestThrottler_undisturbed plays every timeline and does something after each moment
// that must not change when runs start.
func TestThrottler_undisturbed(t *testing.T) {
	disturbances := []struct {
		name string
		do   func(*throttle.Throttler)
		opts []throttle.Option
	}{
		{name: "setting the policy it has", do: func(throttler *throttle.Throttler) { _ = throttler.SetPolicy(throttler.Policy()) }},
		{name: "setting an invalid policy", do: setPolicy(throttle.Policy{Interval: -1})},
		{name: "looking", do: func(throttler *throttle.Throttler) { throttler.Stats() }},
		{name: "waiting with an ended context", do: func(throttler *throttle.Throttler) {
			ended, end := context.WithCancel(context.Background())
			end()
			_ = throttler.Do(ended)
			_ = throttler.Flush(ended)
		}},
		{name: "counting calls", do: func(*throttle.Throttler) {}, opts: []throttle.Option{throttle.WithCallCount()}},
		// A timer that was stopped too late fires right after the moment.
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
	return slices.Concat(policyTimelines, debounceTimelines, retryTimelines, setPolicyTimelines, flushTimelines, cancelTimelines, loadTimelines)
}

// TestThrottler_staleTimer makes a timer stale at the very instant at which it fires.
// Either of the two may come first.
func TestThrottler_staleTimer(t *testing.T) {
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
					time.Sleep(50 * ms) // without Wait: the timer fires now
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
