package throttle_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// A batcher is the Coalescer of most tests. In most of them, a value is the
// millisecond at which it is handed over.
type batcher = throttle.Coalescer[[]int, []int]

// lists merges lists.
func lists() throttle.Merger[[]int, []int] {
	return throttle.Merge(func(older, newer []int) []int { return append(older, newer...) })
}

// A valueRecorder is a recorder whose runs take values. It records these too.
type valueRecorder struct {
	*recorder

	mu    sync.Mutex // guards the field below
	takes []string   // of each run: its start, in milliseconds, and its value
}

func newValueRecorder(script ...scripted) *valueRecorder {
	return &valueRecorder{recorder: newRecorder(script...)}
}

func (l *valueRecorder) take(ctx context.Context, value []int) error {
	l.mu.Lock()
	l.takes = append(l.takes, fmt.Sprint(l.elapsed(), value))
	l.mu.Unlock()
	return l.run(ctx)
}

// taken returns what runs have taken, as "start [values]", once all goroutines
// have settled.
func (l *valueRecorder) taken() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.takes...)
}

// coalescer returns a Coalescer of l's, which the test's end closes. Its Merger has a
// Join.
func (l *valueRecorder) coalescer(t *testing.T, p throttle.Policy, opts ...throttle.Option) *batcher {
	t.Helper()
	return l.merging(t, lists(), p, opts...)
}

// apart returns one whose Merger has no Join.
func (l *valueRecorder) apart(t *testing.T, p throttle.Policy, opts ...throttle.Option) *batcher {
	t.Helper()
	m := lists()
	m.Join = nil
	return l.merging(t, m, p, opts...)
}

func (l *valueRecorder) merging(t *testing.T, m throttle.Merger[[]int, []int], p throttle.Policy, opts ...throttle.Option) *batcher {
	t.Helper()
	hooks := []throttle.Option{throttle.WithErrorHandler(l.hear), throttle.WithObserver(l.observe)}
	c, err := throttle.NewCoalescer(p, m, l.take, append(hooks, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { finish(c) })
	return c
}

// finish closes c and waits for its last run.
func finish[V, A any](c *throttle.Coalescer[V, A]) {
	_ = c.Close()
	_ = c.Shutdown(context.Background())
}

// A coalescerMoment is what happens to a Coalescer at one time.
type coalescerMoment struct {
	at int // milliseconds
	do func(*testing.T, *batcher)
}

func then(at int, do func(*testing.T, *batcher)) []coalescerMoment {
	return []coalescerMoment{{at, do}}
}

// hands returns moments at which a value is handed over: the millisecond itself.
func hands(at ...int) []coalescerMoment { return handsWithin(1<<63-1, at...) }

// handsWithin does so with CallWithin.
func handsWithin(d time.Duration, at ...int) []coalescerMoment {
	var moments []coalescerMoment
	for _, at := range at {
		moments = append(moments, then(at, func(t *testing.T, c *batcher) { require.NoError(t, c.CallWithin([]int{at}, d)) })...)
	}
	return moments
}

// refused hands over a value that is not accepted.
func refused(at int, want error) []coalescerMoment {
	return then(at, func(t *testing.T, c *batcher) { require.ErrorIs(t, c.Call([]int{at}), want) })
}

// cancels calls Cancel at that millisecond, which must return want.
func cancels(at int, want ...int) []coalescerMoment {
	return then(at, func(t *testing.T, c *batcher) {
		require.Equal(t, want, slices.Concat(c.Cancel()...))
	})
}

func flushes(at int) []coalescerMoment {
	return then(at, func(_ *testing.T, c *batcher) { _ = await(func() error { return c.Flush(context.Background()) }) })
}

func shutsDown(at int) []coalescerMoment {
	return then(at, func(_ *testing.T, c *batcher) { _ = await(func() error { return c.Shutdown(context.Background()) }) })
}

func adopts(at int, p throttle.Policy) []coalescerMoment {
	return then(at, func(t *testing.T, c *batcher) { require.NoError(t, c.SetPolicy(p)) })
}

// A coalescerTimeline is what happens to a Coalescer, and what its runs must take.
type coalescerTimeline struct {
	name    string
	policy  throttle.Policy
	apart   bool // the Merger has no Join
	options []throttle.Option
	script  []scripted
	moments []coalescerMoment // in any order
	want    []string          // what runs take
	lost    []string          // the lost values that the error handler gets
}

func (tl coalescerTimeline) play(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(tl.script...)
		build := l.coalescer
		if tl.apart {
			build = l.apart
		}
		c := build(t, tl.policy, tl.options...)
		for _, m := range slices.SortedStableFunc(slices.Values(tl.moments), func(a, b coalescerMoment) int { return cmp.Compare(a.at, b.at) }) {
			l.until(m.at)
			m.do(t, c)
		}
		l.until(60_000)
		require.Equal(t, tl.want, l.taken())
		require.Equal(t, tl.lost, lostBy(l.errors()...))
		require.LessOrEqual(t, l.most.Load(), int32(1), "runs overlap")
		require.False(t, c.Stats().Pending)
		require.Empty(t, c.Cancel(), "a value is left")
	})
}

func TestCoalescer_Call(t *testing.T) {
	for _, tl := range coalescerTimelines {
		t.Run(tl.name, tl.play)
	}
}

var coalescerTimelines = []coalescerTimeline{
	{name: "the first value at once and later ones, in order, at the window's end",
		policy: throttle.Every(100 * ms), moments: hands(0, 10, 20, 99, 111), want: []string{"0 [0]", "100 [10 20 99]", "200 [111]"}},
	{name: "without limits each at once",
		moments: hands(0, 1, 2), want: []string{"0 [0]", "1 [1]", "2 [2]"}},
	{name: "a value handed over during a run is the next one's",
		script: []scripted{takes(100*ms, nil), takes(100*ms, nil)}, moments: hands(0, 10, 99, 150), want: []string{"0 [0]", "100 [10 99]", "200 [150]"}},
	{name: "at the trailing edge",
		policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing}, moments: hands(0, 99, 101), want: []string{"100 [0 99]", "200 [101]"}},
	{name: "with the leading edge alone what comes outside of the window",
		policy:  throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading},
		moments: slices.Concat(hands(0, 100), refused(10, throttle.ErrThrottled), refused(99, throttle.ErrThrottled)), want: []string{"0 [0]", "100 [100]"}},
	{name: "with the leading edge alone what comes during no run",
		policy: throttle.Policy{Edges: throttle.Leading}, script: []scripted{takes(100*ms, nil)},
		moments: slices.Concat(hands(0, 101), refused(50, throttle.ErrThrottled)), want: []string{"0 [0]", "101 [101]"}},
	{name: "after a pause from the end",
		policy: throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd}, script: []scripted{takes(50*ms, nil)},
		moments: hands(0, 10, 140), want: []string{"0 [0]", "150 [10 140]"}},
	{name: "one each while a bucket lasts",
		policy: throttle.Policy{Interval: 100 * ms, Burst: 2}, moments: hands(0, 1, 2, 3), want: []string{"0 [0]", "1 [1]", "100 [2 3]"}},
	{name: "once it is quiet",
		policy: throttle.Debounce(100*ms, 0), moments: hands(0, 50, 140, 300), want: []string{"240 [0 50 140]", "400 [300]"}},
	{name: "once it has waited long enough for quiet",
		policy: throttle.Debounce(100*ms, 150*ms), moments: hands(0, 50, 140, 160), want: []string{"150 [0 50 140]", "260 [160]"}},

	{name: "a full batch does not wait for quiet",
		policy: throttle.Policy{Quiet: 100 * ms, MaxCalls: 3}, moments: hands(0, 10, 20, 30), want: []string{"20 [0 10 20]", "130 [30]"}},
	{name: "a full batch does not wait for the trailing edge",
		policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing, MaxCalls: 2}, moments: hands(0, 10, 20), want: []string{"10 [0 10]", "110 [20]"}},
	{name: "a full batch keeps the interval, and what came since is the next one's",
		policy:  throttle.Policy{Interval: time.Second, Quiet: 100 * ms, MaxCalls: 2},
		moments: hands(0, 10, 20, 30, 40), want: []string{"10 [0 10]", "1010 [20 30]", "2010 [40]"}},
	{name: "a full batch follows the run that is active",
		policy: throttle.Policy{Quiet: 100 * ms, MaxCalls: 2}, script: []scripted{takes(200*ms, nil)},
		moments: hands(0, 10, 20, 30, 40), want: []string{"10 [0 10]", "210 [20 30]", "210 [40]"}},

	{name: "an urgent value does not wait for quiet, nor do those before it",
		policy: throttle.Debounce(100*ms, 0), moments: slices.Concat(hands(0), handsWithin(5*ms, 10)), want: []string{"15 [0 10]"}},
	{name: "an urgent value does not wait for the trailing edge",
		policy:  throttle.Policy{Interval: time.Second, Edges: throttle.Trailing},
		moments: slices.Concat(hands(0, 130), handsWithin(50*ms, 100), handsWithin(-ms, 2000)), want: []string{"150 [0 100 130]", "2000 [2000]"}},
	{name: "an urgent value keeps the interval",
		policy: throttle.Every(100 * ms), moments: slices.Concat(hands(0, 20), handsWithin(0, 10)), want: []string{"0 [0]", "100 [10 20]"}},

	{name: "Flush takes all now",
		policy: throttle.Every(time.Second), moments: slices.Concat(hands(0, 10, 20, 60), flushes(50)), want: []string{"0 [0]", "50 [10 20]", "1050 [60]"}},
	{name: "Flush with nothing there takes nothing",
		policy: throttle.Every(100 * ms), moments: slices.Concat(flushes(0), hands(10), flushes(20)), want: []string{"10 [10]"}},
	{name: "Shutdown takes all now",
		policy: throttle.Every(time.Second), moments: slices.Concat(hands(0, 10, 20), shutsDown(50), refused(60, throttle.ErrClosed)), want: []string{"0 [0]", "50 [10 20]"}},
	{name: "SetPolicy moves what waits",
		policy: throttle.Every(time.Second), moments: slices.Concat(hands(0, 10, 200), adopts(100, throttle.Every(300*ms))), want: []string{"0 [0]", "300 [10 200]"}},
	{name: "SetPolicy keeps what waits, though the trailing edge is gone",
		policy:  throttle.Every(100 * ms),
		moments: slices.Concat(hands(0, 10, 30), adopts(20, throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading}), refused(150, throttle.ErrThrottled)),
		want:    []string{"0 [0]", "100 [10 30]"}},

	{name: "Cancel returns what waits",
		policy: throttle.Every(100 * ms), moments: slices.Concat(hands(0, 10, 20, 60), cancels(50, 10, 20), cancels(55)), want: []string{"0 [0]", "100 [60]"}},
	{name: "Cancel leaves the active run its value",
		script: []scripted{takes(100*ms, nil)}, moments: slices.Concat(hands(0, 10, 60), cancels(50, 10), cancels(200)), want: []string{"0 [0]", "100 [60]"}},
	{name: "Cancel with nothing there",
		moments: slices.Concat(cancels(0), hands(10), cancels(20)), want: []string{"10 [10]"}},
	{name: "Cancel returns a failed run's value with what came since",
		policy: retrying(throttle.Policy{}, time.Second), script: fails(1),
		moments: slices.Concat(hands(0, 10, 100), cancels(50, 0, 10), cancels(2000)), want: []string{"0 [0]", "1000 [100]"}},
	{name: "Cancel stops the shutdown's run",
		script: []scripted{takes(100*ms, nil)}, moments: slices.Concat(hands(0, 10), shutsDown(20), cancels(50, 10)), want: []string{"0 [0]"}},

	{name: "a failed run's value comes first in its retry",
		policy: backoff(100*ms, 0), script: fails(1), moments: hands(0, 10, 20), want: []string{"0 [0]", "100 [0 10 20]"}},
	{name: "a failed run's value comes before what was handed over during the run",
		policy: backoff(100*ms, 0), script: []scripted{takes(50*ms, errFailed)}, moments: hands(0, 10, 60), want: []string{"0 [0]", "150 [0 10 60]"}},
	{name: "and again as long as it fails",
		policy: backoff(100*ms, time.Minute), script: fails(3), moments: hands(0, 150, 350, 360), want: []string{"0 [0]", "100 [0]", "300 [0 150]", "700 [0 150 350 360]"}},
	{name: "a retry does not wait for quiet, nor does what came since",
		policy: retrying(throttle.Debounce(time.Second, 0), 100*ms), script: fails(1), moments: hands(0, 1050), want: []string{"1000 [0]", "1100 [0 1050]"}},
	{name: "an eager call takes it along",
		policy: eager(throttle.Every(100*ms), time.Second), script: fails(1), moments: hands(0, 30), want: []string{"0 [0]", "100 [0 30]"}},
	{name: "a full batch of calls since waits for the one that has failed",
		policy: retrying(throttle.Policy{Quiet: 100 * ms, MaxCalls: 2}, time.Second), script: fails(1), moments: hands(0, 10, 20, 30), want: []string{"10 [0 10]", "1010 [0 10]", "1010 [20 30]"}},
	{name: "a flush takes it along",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(hands(0, 10), flushes(50)), want: []string{"0 [0]", "50 [0 10]"}},
	{name: "a flush alone takes it",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(hands(0), flushes(50)), want: []string{"0 [0]", "50 [0]"}},
	{name: "a flush during the run passes the delay once, for all batches that then become one",
		policy: retrying(throttle.Policy{MaxCalls: 1}, time.Second), script: []scripted{takes(50*ms, errFailed), takes(0, errFailed)},
		moments: slices.Concat(hands(0, 10, 20), flushes(30), adopts(40, retrying(throttle.Policy{}, time.Second))),
		want:    []string{"0 [0]", "50 [0 10]", "1050 [0 10 20]"}},
	{name: "a shutdown takes it along",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(hands(0, 10), shutsDown(50)), want: []string{"0 [0]", "50 [0 10]"}},
	{name: "a call that the leading edge alone drops leaves it",
		policy: retrying(throttle.Policy{Edges: throttle.Leading}, 100*ms), script: fails(1),
		moments: slices.Concat(hands(0, 150), refused(50, throttle.ErrThrottled)), want: []string{"0 [0]", "100 [0]", "150 [150]"}},
	{name: "RetryIn brings it back when the callback says",
		script: []scripted{retryIn(300 * ms)}, moments: hands(0, 10), want: []string{"0 [0]", "300 [0 10]"}},
	{name: "the retry's end is its own: success leaves nothing",
		policy: backoff(100*ms, 0), script: fails(1), moments: hands(0, 250), want: []string{"0 [0]", "100 [0]", "250 [250]"}},

	{name: "without a retry it is lost, and what came since is not",
		policy: throttle.Every(100 * ms), script: fails(1), moments: hands(0, 10), want: []string{"0 [0]", "100 [10]"}, lost: []string{"[0]"}},
	{name: "once the last attempt has failed it is lost",
		policy: giveUp, script: fails(3), moments: hands(0, 350), want: []string{"0 [0]", "100 [0]", "300 [0]", "700 [350]"}, lost: []string{"[0]"}},
	{name: "a value that joins has all attempts before it",
		policy: giveUp, script: fails(4), moments: hands(0, 50, 1600), want: []string{"0 [0]", "100 [0 50]", "300 [0 50]", "700 [0 50]", "1600 [1600]"}, lost: []string{"[0 50]"}},
	{name: "the delay grows whatever was lost",
		policy: giveUp, script: fails(4), moments: hands(0, 350), want: []string{"0 [0]", "100 [0]", "300 [0]", "700 [350]", "1500 [350]"}, lost: []string{"[0]"}},
	{name: "a shutdown's run that fails is not repeated, and Shutdown returns its error",
		policy: backoff(100*ms, 0), script: []scripted{takes(100*ms, nil), takes(0, errFailed)}, moments: slices.Concat(hands(0, 10), shutsDown(50)), want: []string{"0 [0]", "100 [10]"}},
	{name: "Cancel during the run loses it if it fails",
		policy: backoff(100*ms, 0), script: []scripted{takes(50*ms, errFailed)}, moments: slices.Concat(hands(0, 30), cancels(20)), want: []string{"0 [0]", "150 [30]"}, lost: []string{"[0]"}},
	{name: "Cancel during the run loses it if that wants to run again",
		script: []scripted{takes(50*ms, throttle.RetryIn(100*ms))}, moments: slices.Concat(hands(0, 30), cancels(20)), want: []string{"0 [0]", "150 [30]"}, lost: []string{"[0]"}},
	{name: "the retry taken away during the run loses it",
		policy: backoff(100*ms, 0), script: []scripted{takes(50*ms, errFailed)}, moments: slices.Concat(hands(0), adopts(20, throttle.Policy{})), want: []string{"0 [0]"}, lost: []string{"[0]"}},
	{name: "a retry given during the run keeps it",
		script: []scripted{takes(50*ms, errFailed)}, moments: slices.Concat(hands(0), adopts(20, backoff(100*ms, 0))), want: []string{"0 [0]", "150 [0]"}},
	{name: "the retry taken away after the run makes it due at once",
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(hands(0, 10), adopts(50, throttle.Policy{})), want: []string{"0 [0]", "50 [0 10]"}},
}

func TestCoalescer_New(t *testing.T) {
	fine := func(context.Context, []int) error { return nil }
	_, err := throttle.NewCoalescer(throttle.Policy{MaxInterval: time.Second, Burst: -1}, throttle.Merger[[]int, []int]{}, nil,
		throttle.WithName("batch"), throttle.WithMaxKeys(3), throttle.WithMaxConcurrent(2), throttle.WithErrorHandler(nil))
	var fields []string
	for _, problem := range policyErrors(t, err) {
		fields = append(fields, problem.Field)
		require.Contains(t, problem.Error(), "throttle: batch: ")
	}
	require.ElementsMatch(t, []string{"Burst", "MaxInterval", "WithErrorHandler", "WithMaxKeys", "WithMaxConcurrent", "Merger.First", "Merger.Add", "callback"}, fields)

	c := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Second), lists(), fine))
	defer finish(c)
	require.Len(t, policyErrors(t, c.SetPolicy(throttle.Policy{MaxInterval: time.Second, Quiet: -1})), 2)
	require.Equal(t, throttle.Every(time.Second), c.Policy())
	require.NoError(t, c.SetPolicy(throttle.Debounce(time.Second, 0)))
	require.Equal(t, throttle.Debounce(time.Second, 0), c.Policy())
}

func TestCoalescer_Stats_calls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(slices.Concat([]scripted{takes(0, nil)}, fails(1))...)
		c := l.coalescer(t, retrying(throttle.Every(100*ms), 100*ms))
		count := func(want uint64) {
			t.Helper()
			require.Equal(t, want, c.Stats().Calls)
		}
		for i, at := range []int{0, 10, 20, 110} { // the last one joins a retry
			l.until(at)
			require.NoError(t, c.Call([]int{at}))
			count(uint64(i + 1))
		}
		l.until(1000)
		require.NoError(t, c.SetPolicy(throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading}))
		require.NoError(t, c.Call(nil))
		require.ErrorIs(t, c.Call(nil), throttle.ErrThrottled)
		synctest.Wait()
		count(6)
		l.until(2000)
		stats := c.Stats()
		require.Equal(t, uint64(1), stats.Dropped)
		require.Equal(t, uint64(1), stats.Failures)
		finish(c)
		require.ErrorIs(t, c.Call(nil), throttle.ErrClosed)
		count(6)
		var calls []uint64
		for _, run := range l.runs() {
			calls = append(calls, run.Calls)
		}
		require.Equal(t, []uint64{1, 2, 1, 1}, calls)
	})
}

func TestCoalescer_waits(t *testing.T) {
	methods := map[string]func(c *batcher) error{
		"Do": func(c *batcher) error { return c.Do(context.Background(), []int{2}) },
		"Call and Flush": func(c *batcher) error {
			_ = c.Call([]int{2})
			return c.Flush(context.Background())
		},
		"Call and Shutdown": func(c *batcher) error {
			_ = c.Call([]int{2})
			return c.Shutdown(context.Background())
		},
	}
	for name, method := range methods {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder(takes(50*ms, errFailed), takes(50*ms, nil))
				c := l.coalescer(t, backoff(10*ms, 0))
				require.NoError(t, c.Call([]int{1}))
				l.until(10)
				w := await(func() error { return method(c) })
				require.False(t, w.returned())
				l.until(500)
				err := w.result(t)
				if name == "Call and Shutdown" { // the first run is not repeated, so that what it carried is lost
					require.Equal(t, []string{"0 [1]", "50 [2]"}, l.taken())
					require.Equal(t, []string{"[1]"}, lostBy(err))
					require.Empty(t, l.errors())
					return
				}
				require.NoError(t, err)
				require.Equal(t, "0 [1]", l.taken()[0])
				require.Contains(t, l.taken()[1], "[1 2]")
				require.Equal(t, []error{errFailed}, l.errors())
			})
		})
	}
}

func TestCoalescer_Do_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder()
		c := l.coalescer(t, throttle.Debounce(100*ms, 0))
		ended, end := context.WithCancel(context.Background())
		end()
		require.Equal(t, context.Canceled, c.Do(ended, []int{1}), "no call was made")
		require.False(t, c.Stats().Pending)
		leaving, leave := context.WithTimeout(context.Background(), 50*ms)
		defer leave()
		require.Equal(t, context.DeadlineExceeded, c.Do(leaving, []int{2}))
		require.Equal(t, 50, l.elapsed())
		l.until(1000)
		require.Equal(t, []string{"100 [2]"}, l.taken())
		require.Equal(t, uint64(1), c.Stats().Calls)
	})
}

func TestCoalescer_Do(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder()
		c := l.coalescer(t, throttle.Policy{Interval: time.Second, Edges: throttle.Leading}, throttle.WithName("batch"))
		require.NoError(t, c.Do(context.Background(), []int{1}))
		var throttled *throttle.ThrottledError
		require.ErrorAs(t, c.Do(context.Background(), []int{2}), &throttled)
		require.Equal(t, throttle.ThrottledError{Name: "batch", RetryAfter: time.Second}, *throttled)
		require.NoError(t, c.SetPolicy(throttle.Every(time.Second)))
		do := await(func() error { return c.Do(context.Background(), []int{3}) })
		require.False(t, do.returned())
		require.Equal(t, [][]int{{3}}, c.Cancel())
		require.ErrorIs(t, do.result(t), throttle.ErrCanceled)
		finish(c)
		require.ErrorIs(t, c.Do(context.Background(), []int{4}), throttle.ErrClosed)
		require.ErrorIs(t, c.Flush(context.Background()), throttle.ErrClosed)
		require.ErrorIs(t, c.SetPolicy(throttle.Policy{}), throttle.ErrClosed)
		require.Equal(t, []string{"0 [1]"}, l.taken())
		require.Empty(t, l.errors())
	})
}

func TestCoalescer_reentrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *batcher
		l := newValueRecorder(func(own context.Context) error {
			require.ErrorIs(t, c.Do(own, []int{2}), throttle.ErrReentrant)
			require.ErrorIs(t, c.Flush(own), throttle.ErrReentrant)
			require.ErrorIs(t, c.Shutdown(own), throttle.ErrReentrant)
			require.Empty(t, c.Cancel(), "the run has taken it")
			require.NoError(t, c.Call([]int{3}))
			require.Equal(t, [][]int{{3}}, c.Cancel())
			require.True(t, c.Stats().Running)
			require.NoError(t, c.CallWithin([]int{4}, 0))
			return c.SetPolicy(throttle.Every(300 * ms))
		})
		c = l.coalescer(t, throttle.Every(time.Hour))
		require.NoError(t, c.Do(context.Background(), []int{1}))
		l.until(1000)
		require.Equal(t, []string{"0 [1]", "300 [4]"}, l.taken())
	})
}

// TestCoalescer_Call_synchronized tests G8 with the race detector: what a value
// refers to needs no lock, even if its call finds a run pending.
func TestCoalescer_Call_synchronized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sum := 0
		c := throttle.Must(throttle.NewCoalescer(throttle.Debounce(10*ms, 0), throttle.Batch[*int](), func(_ context.Context, value []*int) error {
			for _, number := range value {
				sum += *number
			}
			return nil
		}))
		var working sync.WaitGroup
		for range 4 {
			working.Go(func() {
				for range 10 {
					number := new(int)
					*number = 1
					if err := c.Call(number); err != nil {
						t.Errorf("Call returned %v", err)
					}
					time.Sleep(ms)
				}
			})
		}
		working.Wait()
		require.NoError(t, c.Flush(context.Background()))
		require.Equal(t, 40, sum)
		finish(c)
	})
}

// pair is a merge that shows what was merged with what.
func pair(older, newer string) string { return "(" + older + " " + newer + ")" }

// A pairStep is what happens to a Coalescer of pairs.
type pairStep func(*testing.T, *throttle.Coalescer[string, string])

// handsOver hands over values in this order.
func handsOver(values ...string) pairStep {
	return func(t *testing.T, c *throttle.Coalescer[string, string]) {
		for _, value := range values {
			require.NoError(t, c.Call(value))
		}
	}
}

func TestCoalescer_merge(t *testing.T) {
	drop := func(_ *testing.T, c *throttle.Coalescer[string, string]) { c.Cancel() }
	tests := []struct {
		name   string
		script []scripted
		steps  []pairStep // one every 100 ms, nil if nothing happens
		want   []string   // what runs take, at least 200 ms apart
	}{
		{name: "one value is handed on as it is",
			steps: []pairStep{handsOver("a")}, want: []string{"a"}},
		{name: "each call's value is the newer",
			steps: []pairStep{handsOver("a", "b", "c", "d")}, want: []string{"a", "((b c) d)"}},
		{name: "what a run has taken is not merged",
			steps: []pairStep{handsOver("a", "b", "c"), nil, nil, handsOver("d", "e")}, want: []string{"a", "(b c)", "(d e)"}},
		{name: "a failed run's value is the older of each that comes later", script: fails(1),
			steps: []pairStep{handsOver("a"), handsOver("b", "c")}, want: []string{"a", "((a b) c)"}},
		{name: "a failed run's value is the older of all that came during the run", script: []scripted{takes(150*ms, errFailed)},
			steps: []pairStep{handsOver("a"), handsOver("b", "c"), handsOver("d")}, want: []string{"a", "((a (b c)) d)"}},
		{name: "and again", script: []scripted{takes(150*ms, errFailed), takes(150*ms, errFailed)},
			steps: []pairStep{handsOver("a"), handsOver("b"), nil, handsOver("c")}, want: []string{"a", "(a b)", "((a b) c)"}},
		{name: "what Cancel has returned is not merged", script: []scripted{takes(250*ms, nil)},
			steps: []pairStep{handsOver("a", "b"), drop, handsOver("c", "d")}, want: []string{"a", "(c d)"}},
		{name: "what was lost is not merged", script: []scripted{takes(150*ms, errFailed)},
			steps: []pairStep{handsOver("a"), drop, handsOver("c")}, want: []string{"a", "c"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(test.script...)
				var taken []string // without a lock: runs are synchronized with each other, and the last with Shutdown
				c := throttle.Must(throttle.NewCoalescer(retrying(throttle.Every(200*ms), 100*ms), throttle.Merge(pair), func(ctx context.Context, value string) error {
					taken = append(taken, value)
					return r.run(ctx)
				}, throttle.WithErrorHandler(r.hear)))
				for i, step := range test.steps {
					r.until(i * 100)
					if step != nil {
						step(t, c)
					}
				}
				r.until(10_000)
				finish(c)
				require.Equal(t, test.want, taken)
			})
		})
	}
}

func TestCoalescer_merge_refusedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		merges := 0
		r := newRecorder(fails(1)...)
		c := throttle.Must(throttle.NewCoalescer(retrying(throttle.Policy{Edges: throttle.Leading}, time.Second), throttle.Merge(func(older, newer int) int {
			merges++
			return older + newer
		}), func(ctx context.Context, _ int) error { return r.run(ctx) }, throttle.WithErrorHandler(r.hear)))
		ended, end := context.WithCancel(context.Background())
		end()
		require.NoError(t, c.Call(1))
		r.until(10) // the value waits for the retry
		require.ErrorIs(t, c.Call(2), throttle.ErrThrottled)
		require.ErrorIs(t, c.Do(ended, 3), context.Canceled)
		require.NoError(t, c.Shutdown(context.Background()))
		require.ErrorIs(t, c.Call(4), throttle.ErrClosed)
		require.Zero(t, merges)
		require.Equal(t, []int{0, 10}, r.started())
	})
}

func TestLatest(t *testing.T) {
	m := throttle.Latest[error]()
	require.Equal(t, errFailed, m.First(errFailed))
	require.NoError(t, m.Add(errFailed, nil))
	require.Equal(t, errFailed, m.Join(nil, errFailed))
}

func TestBatch(t *testing.T) {
	m := throttle.Batch[int]()
	require.Equal(t, []int{1, 2, 3}, m.Add(m.Add(m.First(1), 2), 3))
	require.Nil(t, m.Join)
}
