package throttle_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// atMost returns p with batches of at most n calls.
func atMost(n int, p throttle.Policy) throttle.Policy {
	p.MaxCalls = n
	return p
}

// heavier is a weight that grows with the numbers of a value.
func heavier(limit int) throttle.Option { return throttle.WithMaxWeight(limit, slices.Max[[]int]) }

// leaves is a run that takes d and leaves rest undone.
func leaves(d time.Duration, err error, rest ...int) scripted {
	return takes(d, throttle.Unfinished(rest, err))
}

func TestCoalescer_batches(t *testing.T) {
	for _, tl := range batchTimelines {
		t.Run(tl.name, tl.play)
	}
}

var batchTimelines = []coalescerTimeline{
	{name: "a run takes one batch, the oldest",
		policy: atMost(2, throttle.Every(100*ms)), moments: hands(0, 10, 20, 30, 40, 50),
		want: []string{"0 [0]", "100 [10 20]", "200 [30 40]", "300 [50]"}},
	{name: "one call each",
		policy: atMost(1, throttle.Every(100*ms)), moments: hands(0, 10, 20), want: []string{"0 [0]", "100 [10]", "200 [20]"}},
	{name: "the one that takes more values waits for quiet, and those before it do not",
		policy: atMost(2, throttle.Policy{Interval: 50 * ms, Quiet: 200 * ms}), moments: hands(0, 10, 20, 30, 40),
		want: []string{"10 [0 10]", "60 [20 30]", "240 [40]"}},
	{name: "each has its own MaxWait",
		policy: atMost(2, throttle.Debounce(50*ms, 50*ms)), script: []scripted{takes(100*ms, nil)}, moments: hands(0, 10, 20, 30, 95),
		want: []string{"10 [0 10]", "110 [20 30]", "145 [95]"}},
	{name: "a deadline of an older one is not the newest's",
		policy: atMost(2, throttle.Debounce(time.Second, 0)), script: []scripted{takes(100*ms, nil)}, moments: slices.Concat(hands(0, 10, 30, 40), handsWithin(30*ms, 20)),
		want: []string{"10 [0 10]", "110 [20 30]", "1040 [40]"}},
	{name: "a deadline of the newest is not that of older ones",
		policy: atMost(2, throttle.Debounce(time.Second, 0)), script: []scripted{takes(100*ms, nil)}, moments: slices.Concat(hands(0, 10, 20, 30), handsWithin(200*ms, 40)),
		want: []string{"10 [0 10]", "110 [20 30]", "240 [40]"}},

	{name: "by weight",
		policy: throttle.Every(100 * ms), options: []throttle.Option{heavier(50)}, moments: hands(0, 10, 20, 25, 30),
		want: []string{"0 [0]", "100 [10 20]", "200 [25]", "300 [30]"}},
	{name: "full by weight",
		policy: throttle.Debounce(time.Second, 0), options: []throttle.Option{heavier(30)}, moments: hands(10, 20, 25),
		want: []string{"20 [10 20]", "1025 [25]"}},
	{name: "a value that is too heavy goes alone, at once",
		policy: throttle.Debounce(time.Second, 0), options: []throttle.Option{heavier(30)}, moments: hands(10, 99, 100),
		want: []string{"99 [10]", "99 [99]", "100 [100]"}},
	{name: "by weight and by calls",
		policy: atMost(2, throttle.Every(100*ms)), options: []throttle.Option{heavier(40)}, moments: hands(0, 10, 20, 30, 35),
		want: []string{"0 [0]", "100 [10 20]", "200 [30]", "300 [35]"}},

	{name: "SetPolicy leaves a batch whole that exceeds the new MaxCalls",
		policy: atMost(4, throttle.Every(time.Second)), moments: slices.Concat(hands(0, 10, 20, 30, 50), adopts(40, atMost(2, throttle.Every(time.Second)))),
		want: []string{"0 [0]", "1000 [10 20 30]", "2000 [50]"}},
	{name: "SetPolicy knows all calls of a batch",
		policy: throttle.Debounce(time.Second, 0), moments: slices.Concat(hands(0, 10, 20), adopts(30, atMost(3, throttle.Debounce(time.Second, 0)))),
		want: []string{"30 [0 10 20]"}},
	{name: "SetPolicy makes room in the newest batch",
		policy: atMost(2, throttle.Every(time.Second)), moments: slices.Concat(hands(0, 10, 20, 40), adopts(30, atMost(4, throttle.Every(time.Second)))),
		want: []string{"0 [0]", "1000 [10 20 40]"}},
	{name: "Cancel returns them all",
		policy: atMost(2, throttle.Every(time.Second)), moments: slices.Concat(hands(0, 10, 20, 30), cancels(50, 10, 20, 30)), want: []string{"0 [0]"}},

	{name: "a failed batch stays by itself without a Join", apart: true,
		policy: backoff(100*ms, 0), script: fails(1), moments: hands(0, 10, 20), want: []string{"0 [0]", "100 [0]", "100 [10 20]"}},
	{name: "and takes no value of the calls during its run", apart: true,
		policy: backoff(100*ms, 0), script: []scripted{takes(50*ms, errFailed)}, moments: hands(0, 10, 60), want: []string{"0 [0]", "150 [0]", "150 [10 60]"}},
	{name: "one that fails again holds up those behind it", apart: true,
		policy: backoff(100*ms, 0), script: fails(3), moments: hands(0, 10), want: []string{"0 [0]", "100 [0]", "200 [0]", "300 [0]", "300 [10]"}},
	{name: "with a Join it is joined with the next one if both fit in one",
		policy: atMost(3, backoff(100*ms, 0)), script: []scripted{takes(50*ms, errFailed)}, moments: hands(0, 10, 20), want: []string{"0 [0]", "150 [0 10 20]"}},
	{name: "and otherwise not",
		policy: atMost(3, backoff(100*ms, 0)), script: []scripted{takes(50*ms, errFailed)}, moments: hands(0, 10, 20, 30), want: []string{"0 [0]", "150 [0]", "150 [10 20 30]"}},
	{name: "a call joins it if it fits",
		policy: atMost(2, backoff(100*ms, 0)), script: fails(1), moments: hands(0, 10, 20), want: []string{"0 [0]", "100 [0 10]", "100 [20]"}},
	{name: "by weight, too",
		policy: backoff(100*ms, 0), options: []throttle.Option{heavier(50)}, script: []scripted{takes(0, errFailed), takes(0, nil), takes(0, errFailed)},
		moments: hands(20, 30, 300, 301), want: []string{"20 [20]", "120 [20 30]", "300 [300]", "400 [300]", "400 [301]"}},

	{name: "Eager does not shorten the delay of a batch that no call joins", apart: true,
		policy: eager(throttle.Every(100*ms), time.Second), script: fails(1), moments: hands(0, 30), want: []string{"0 [0]", "1000 [0]", "1100 [30]"}},
	{name: "nor if a call does not fit",
		policy: atMost(1, eager(throttle.Every(100*ms), time.Second)), script: fails(1), moments: hands(0, 30), want: []string{"0 [0]", "1000 [0]", "1100 [30]"}},

	{name: "a fresh batch has all its attempts", apart: true,
		policy: giveUp, script: fails(5), moments: hands(0, 150),
		want: []string{"0 [0]", "100 [0]", "300 [0]", "700 [150]", "1500 [150]", "2500 [150]"}, lost: []string{"[0]"}},
	{name: "and so has a batch that was joined",
		policy: giveUp, script: fails(4), moments: hands(0, 150),
		want: []string{"0 [0]", "100 [0]", "300 [0 150]", "700 [0 150]", "1500 [0 150]"}},
	{name: "success resets the delay", apart: true,
		policy: giveUp, script: []scripted{takes(0, errFailed), takes(0, nil), takes(0, errFailed)}, moments: hands(0, 50),
		want: []string{"0 [0]", "100 [0]", "100 [50]", "200 [50]"}},

	{name: "Flush runs every batch", apart: true,
		policy: atMost(2, throttle.Every(time.Second)), moments: slices.Concat(hands(0, 10, 20, 30, 60), flushes(50)),
		want: []string{"0 [0]", "50 [10 20]", "50 [30]", "1050 [60]"}},
	{name: "Flush passes a delay once per batch", apart: true,
		policy: atMost(2, retrying(throttle.Every(time.Minute/2), time.Second)), script: []scripted{takes(0, nil), takes(0, errFailed)},
		moments: slices.Concat(hands(0, 10, 20, 30), flushes(50)),
		want:    []string{"0 [0]", "50 [10 20]", "30050 [10 20]", "30050 [30]"}},
	{name: "nor does a batch that is joined pass it again",
		policy: atMost(2, retrying(throttle.Every(200*ms), time.Second)), script: []scripted{takes(0, nil), takes(0, errFailed)},
		moments: slices.Concat(hands(0, 10, 20, 30), adopts(40, atMost(4, retrying(throttle.Every(200*ms), time.Second))), flushes(50)),
		want:    []string{"0 [0]", "50 [10 20]", "1050 [10 20 30]"}},
	{name: "but a later Flush does",
		policy: atMost(2, retrying(throttle.Every(200*ms), time.Second)), script: []scripted{takes(0, nil), takes(100*ms, errFailed)},
		moments: slices.Concat(hands(0, 10, 60), flushes(50), flushes(70)),
		want:    []string{"0 [0]", "50 [10]", "150 [10 60]"}},
	{name: "Flush passes the delay of one that waits for it", apart: true,
		policy: backoff(time.Second, 0), script: fails(1), moments: slices.Concat(hands(0, 10), flushes(50)), want: []string{"0 [0]", "50 [0]", "50 [10]"}},
	{name: "Shutdown runs every batch once", apart: true,
		policy: atMost(2, retrying(throttle.Every(time.Second), 100*ms)), script: []scripted{takes(0, nil), takes(0, errFailed)},
		moments: slices.Concat(hands(0, 10, 20, 30), shutsDown(50)), want: []string{"0 [0]", "50 [10 20]", "50 [30]"}},

	{name: "what is unfinished is repeated",
		policy: backoff(100*ms, 0), script: []scripted{takes(0, nil), leaves(50*ms, errFailed, 2)}, moments: hands(0, 10, 70),
		want: []string{"0 [0]", "10 [10]", "160 [2 70]"}},
	{name: "what is unfinished counts as many calls as its batch",
		policy: atMost(2, retrying(throttle.Debounce(10*ms, 0), 100*ms)), script: []scripted{leaves(50*ms, errFailed, 7)}, moments: hands(0, 5, 70),
		want: []string{"5 [0 5]", "155 [7]", "155 [70]"}},
	{name: "what is unfinished is lost without a retry",
		script: []scripted{leaves(0, nil, 7)}, moments: hands(0, 10), want: []string{"0 [0]", "10 [10]"}, lost: []string{"[7]"}},
	{name: "what is unfinished may come back when the callback says", apart: true,
		script: []scripted{leaves(0, throttle.RetryIn(200*ms), 7)}, moments: hands(0, 10), want: []string{"0 [0]", "200 [7]", "200 [10]"}},
}

// TestCoalescer_Cancel_batches checks that Cancel tells the batches apart.
func TestCoalescer_Cancel_batches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(fails(1)...)
		c := l.apart(t, atMost(2, backoff(time.Hour, 0)))
		for n := range 4 {
			require.NoError(t, c.Call([]int{n}))
			synctest.Wait()
		}
		require.Equal(t, [][]int{{0}, {1, 2}, {3}}, c.Cancel())
		require.Nil(t, c.Cancel())
	})
}

// TestCoalescer_Attempt checks Run.Attempt and Run.Calls, batch by batch.
func TestCoalescer_Attempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(fails(3)...)
		c := l.apart(t, atMost(2, backoff(100*ms, 0)))
		for n := range 4 {
			require.NoError(t, c.Call([]int{n}))
			synctest.Wait()
		}
		l.until(1000)
		var attempts []int
		var calls []uint64
		for _, run := range l.runs() {
			attempts, calls = append(attempts, run.Attempt), append(calls, run.Calls)
		}
		require.Equal(t, []int{1, 2, 3, 4, 1, 1}, attempts)
		require.Equal(t, []uint64{1, 0, 0, 0, 2, 1}, calls, "a retry covers no new call")
	})
}

// TestCoalescer_Shutdown_batches checks that Shutdown joins the errors of all runs that it
// waits for.
func TestCoalescer_Shutdown_batches(t *testing.T) {
	other := errors.New("another failure")
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(takes(100*ms, errFailed), takes(0, nil), takes(0, other))
		c := l.apart(t, atMost(1, throttle.Every(time.Second)))
		for n := range 3 {
			require.NoError(t, c.Call([]int{n}))
			synctest.Wait()
		}
		err := c.Shutdown(context.Background())
		require.Equal(t, []string{"[0]", "[2]"}, lostBy(err))
		require.ErrorIs(t, err, errFailed)
		require.ErrorIs(t, err, other)
		require.Equal(t, []string{"0 [0]", "100 [1]", "100 [2]"}, l.taken())
		require.Empty(t, l.errors())
	})
}

// TestCoalescer_Flush_batches checks that Flush returns the error of the last batch that
// waited, and leaves those of the others to the handler.
func TestCoalescer_Flush_batches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(takes(0, nil), takes(0, errFailed))
		c := l.apart(t, atMost(1, throttle.Every(time.Second)))
		for n := range 3 {
			require.NoError(t, c.Call([]int{n}))
			synctest.Wait()
		}
		require.NoError(t, c.Flush(context.Background()))
		require.Equal(t, []string{"0 [0]", "0 [1]", "0 [2]"}, l.taken())
		require.Equal(t, []string{"[1]"}, lostBy(l.errors()...))
	})
}

// TestCoalescer_Do_batches checks that each Do gets the error of its own batch.
func TestCoalescer_Do_batches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(takes(0, nil), takes(0, errFailed), takes(0, nil))
		c := l.apart(t, atMost(2, throttle.Every(100*ms)))
		var waiters []*waiter
		for n := range 4 {
			waiters = append(waiters, await(func() error { return c.Do(context.Background(), []int{n}) }))
			synctest.Wait()
		}
		l.until(1000)
		require.NoError(t, waiters[0].result(t))
		require.Equal(t, []string{"[1 2]"}, lostBy(waiters[1].result(t)))
		require.Equal(t, waiters[1].err, waiters[2].result(t))
		require.NoError(t, waiters[3].result(t))
		require.Empty(t, l.errors())
	})
}

func TestUnfinished(t *testing.T) {
	t.Run("everyone gets the error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newValueRecorder(leaves(0, errFailed, 7))
			c := l.apart(t, retrying(throttle.Debounce(10*ms, 0), 100*ms))
			do := await(func() error { return c.Do(context.Background(), []int{1}) })
			synctest.Wait()
			require.NoError(t, c.Call([]int{2}))
			l.until(10)
			require.ErrorIs(t, do.result(t), errFailed)
			require.EqualError(t, do.err, "throttle: unfinished: scripted failure")
			l.until(1000)
			require.Equal(t, []string{"10 [1 2]", "110 [7]"}, l.taken())
			require.Equal(t, uint64(1), c.Stats().Failures)
		})
	})
	t.Run("without a reason", func(t *testing.T) {
		require.EqualError(t, throttle.Unfinished(1, nil), "throttle: unfinished")
	})
	t.Run("of another type", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newValueRecorder(takes(0, throttle.Unfinished("rest", errFailed)))
			c := l.apart(t, backoff(100*ms, 0), throttle.WithName("batch"))
			err := c.Do(context.Background(), []int{1})
			require.ErrorIs(t, err, errFailed)
			var problem *throttle.PolicyError
			require.ErrorAs(t, err, &problem)
			require.EqualError(t, problem, "throttle: batch: Unfinished string: must be a []int")
			l.until(1000)
			require.Equal(t, []string{"0 [1]", "100 [1]"}, l.taken())
		})
	})
	t.Run("from another Coalescer's Do", func(t *testing.T) {
		for _, reason := range []error{errFailed, throttle.RetryIn(time.Hour)} {
			synctest.Test(t, func(t *testing.T) {
				inner := newValueRecorder(leaves(0, reason, 7)).apart(t, backoff(time.Hour, 0))
				l := newValueRecorder(func(ctx context.Context) error { return inner.Do(ctx, []int{1}) })
				c := l.apart(t, backoff(100*ms, 0))
				require.ErrorIs(t, c.Do(context.Background(), []int{2}), reason)
				require.Equal(t, uint64(1), c.Stats().Failures)
				l.until(1000)
				require.Equal(t, []string{"0 [2]", "100 [2]"}, l.taken())
				inner.Cancel()
			})
		}
	})
	t.Run("in a plain Throttler it is an error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder(leaves(0, errFailed, 7))
			throttler := r.throttler(t, throttle.Policy{})
			require.ErrorIs(t, throttler.Do(context.Background()), errFailed)
		})
	})
}

func TestWithMaxWeight(t *testing.T) {
	fine := func(context.Context, []int) error { return nil }
	build := func(opt throttle.Option) error {
		_, err := throttle.NewCoalescer(throttle.Policy{}, lists(), fine, opt)
		return err
	}
	require.ErrorContains(t, build(throttle.WithMaxWeight(3, func(string) int { return 1 })), "WithMaxWeight 3: weighs values of another type")
	require.ErrorContains(t, build(throttle.WithMaxWeight(0, func([]int) int { return 1 })), "WithMaxWeight 0: must be at least 1")
	require.ErrorContains(t, build(throttle.WithMaxWeight[[]int](3, nil)), "WithMaxWeight <nil>: must not be nil")
	_, err := throttle.New(throttle.Policy{}, func() {}, heavier(3))
	require.ErrorContains(t, err, "WithMaxWeight 3: applies to a Coalescer or a KeyedCoalescer only")

	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder()
		var c *batcher
		c = l.apart(t, throttle.Every(time.Second), throttle.WithMaxWeight(3, func(numbers []int) int {
			require.False(t, c.Stats().Closed, "the lock is free")
			return -numbers[0]
		}))
		for n := range 10 {
			require.NoError(t, c.Call([]int{n}))
		}
		l.until(2000)
		require.Equal(t, "1000 [1 2 3 4 5 6 7 8 9]", l.taken()[1], "a negative weight counts as 0")
	})
}

// TestCoalescer_join_panics lets Join panic in a call that would join a failed batch.
func TestCoalescer_join_panics(t *testing.T) {
	for _, failing := range mergePanics() {
		t.Run(failing.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder(fails(1)...)
				m := lists()
				m.Join = func([]int, []int) []int { failing.how(); return nil }
				c := l.merging(t, m, backoff(100*ms, 0), throttle.WithMaxPending(2))
				require.NoError(t, c.Call([]int{1}))
				l.until(10)
				before := c.Stats()
				for range 3 {
					require.True(t, failing.is(endOf(func() { _ = c.Call([]int{2}) })))
				}
				require.Equal(t, before, c.Stats())
				l.until(1000)
				require.Equal(t, []string{"0 [1]", "100 [1]"}, l.taken())
			})
		})
	}
}

// TestCoalescer_batches_undecided ends the context of a Shutdown while a run of the value
// is active, which then succeeds or fails.
func TestCoalescer_batches_undecided(t *testing.T) {
	for _, end := range []error{nil, errFailed} {
		synctest.Test(t, func(t *testing.T) {
			l := newValueRecorder(takes(time.Second, end))
			c := l.apart(t, atMost(1, throttle.Policy{}))
			for n := range 3 {
				require.NoError(t, c.Call([]int{n}))
				synctest.Wait()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 100*ms)
			defer cancel()
			err := c.Shutdown(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			undecided := make(map[string]bool)
			for _, lost := range reference.LostErrors(err) {
				require.ErrorIs(t, lost, throttle.ErrClosed)
				undecided[lostBy(lost)[0]] = errors.Is(lost, throttle.ErrUndecided)
			}
			require.Equal(t, map[string]bool{"[0]": true, "[1]": false, "[2]": false}, undecided)
			l.until(2000)
			if end == nil {
				require.Empty(t, l.errors())
			} else {
				require.Equal(t, []string{"[0]"}, lostBy(l.errors()...))
			}
			require.Equal(t, []string{"0 [0]"}, l.taken())
		})
	}
}
