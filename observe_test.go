package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestThrottler_observer(t *testing.T) {
	// The moments start runs, the last of which is looked at. Times are in
	// milliseconds; the zero time is -1.
	type told struct {
		cause                      throttle.Cause
		attempt                    int
		asked, due, started, ended int
		calls                      uint64
		err                        error
	}
	tests := []struct {
		name    string
		policy  throttle.Policy
		script  []scripted
		moments []moment
		want    told
	}{
		{"leading call", throttle.Every(100 * ms), []scripted{takes(50*ms, nil)}, calls(10),
			told{throttle.CauseCall, 1, 10, 10, 10, 60, 1, nil}},
		{"deferred calls", throttle.Every(100 * ms), nil, calls(0, 10, 20, 30),
			told{throttle.CauseCall, 1, 10, 100, 100, 100, 3, nil}},
		{"calls that waited for a run's end", throttle.Every(100 * ms), []scripted{takes(250*ms, nil), takes(20*ms, errFailed)}, calls(0, 10, 120),
			told{throttle.CauseCall, 1, 10, 100, 250, 270, 2, errFailed}},
		{"debounced calls", throttle.Debounce(100*ms, 0), nil, calls(10, 20, 30),
			told{throttle.CauseCall, 1, 10, 130, 130, 130, 3, nil}},
		{"retry", backoff(100*ms, 0), []scripted{takes(30*ms, errFailed)}, calls(10),
			told{throttle.CauseRetry, 2, -1, 140, 140, 140, 0, nil}},
		{"retry that covers calls", retrying(throttle.Debounce(time.Second, 0), 100*ms), fails(1), calls(0, 1010, 1020),
			told{throttle.CauseRetry, 2, 1010, 1100, 1100, 1100, 2, nil}},
		{"retry and call due at once", backoff(100*ms, 0), fails(1), calls(0, 10),
			told{throttle.CauseCall, 2, 10, 100, 100, 100, 1, nil}},
		{"retry whose backoff was taken away", backoff(time.Second, 0), []scripted{takes(30*ms, errFailed)}, slices.Concat(calls(10), at(200, setPolicy(throttle.Policy{}))),
			told{throttle.CauseRetry, 2, -1, 40, 200, 200, 0, nil}},
		{"periodic", throttle.Policy{MaxInterval: time.Minute}, []scripted{takes(50*ms, nil)}, nil,
			told{throttle.CauseInterval, 1, -1, 60_000, 60_000, 60_050, 0, nil}},
		{"periodic that covers calls", throttle.Policy{MaxInterval: time.Minute, Quiet: time.Second}, nil, calls(59_900, 59_950),
			told{throttle.CauseInterval, 1, 59_900, 60_000, 60_000, 60_000, 2, nil}},
		{"periodic and call due at once", throttle.Policy{MaxInterval: time.Minute, Quiet: time.Second}, nil, calls(59_000),
			told{throttle.CauseCall, 1, 59_000, 60_000, 60_000, 60_000, 1, nil}},
		{"periodic and retry due at once", retrying(throttle.Policy{MaxInterval: time.Second}, time.Second), fails(59), nil,
			told{throttle.CauseRetry, 60, -1, 60_000, 60_000, 60_000, 0, nil}},
		{"flushed", throttle.Every(time.Second), nil, slices.Concat(calls(0, 10), at(20, flush)),
			told{throttle.CauseFlush, 1, 10, 20, 20, 20, 1, nil}},
		{"flushed behind a run", throttle.Every(time.Second), []scripted{takes(100*ms, nil)}, slices.Concat(calls(0, 10), at(20, flush), at(30, flush)),
			told{throttle.CauseFlush, 1, 10, 20, 100, 100, 1, nil}},
		{"flushed retry", backoff(time.Second, 0), fails(1), slices.Concat(calls(0), at(20, flush)),
			told{throttle.CauseFlush, 2, -1, 20, 20, 20, 0, nil}},
		{"shut down", throttle.Debounce(time.Second, 0), nil, slices.Concat(calls(0), at(20, shutdown)),
			told{throttle.CauseFlush, 1, 0, 20, 20, 20, 1, nil}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(test.script...)
				throttler := r.throttler(t, test.policy, throttle.WithName("reload"), throttle.WithCallCount())
				r.meet(throttler, test.moments)
				r.until(60_100)
				runs := r.runs()
				got := runs[len(runs)-1]
				offset := func(at time.Time) int {
					if at.IsZero() {
						return -1
					}
					return int(at.Sub(r.begin) / ms)
				}
				require.Equal(t, test.want, told{
					got.Cause, got.Attempt, offset(got.Asked), offset(got.Due), offset(got.Started), offset(got.Ended), got.Calls, got.Err,
				})
				require.Equal(t, "reload", got.Name)
			})
		})
	}
}

func TestThrottler_Stats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panicked := errors.New("scripted panic")
		r := newRecorder(takes(30*ms, nil), takes(20*ms, errFailed), scriptedPanic(panicked), retryIn(70*ms))
		throttler := r.throttler(t, throttle.Policy{Interval: 100 * ms, Retry: throttle.Backoff{Initial: 300 * ms}})
		when := func(at int) time.Time { return r.begin.Add(time.Duration(at) * ms) }
		check := func(at int, want throttle.Stats) {
			t.Helper()
			r.until(at)
			got := throttler.Stats()
			for _, times := range [][2]*time.Time{{&got.LastStart, &want.LastStart}, {&got.Next, &want.Next}} {
				require.True(t, times[0].Equal(*times[1]), "%v instead of %v", times[0], times[1])
				*times[0] = *times[1] // whose monotonic reading may differ
			}
			var p *throttle.PanicError
			if errors.As(got.LastError, &p) {
				got.LastError = p.Unwrap() // the stack cannot be compared
			}
			require.Equal(t, want, got, fmt.Sprint("at ", at))
		}
		check(0, throttle.Stats{})
		throttler.Call()
		check(10, throttle.Stats{Runs: 1, LastStart: when(0), Running: true})
		throttler.Call()
		check(20, throttle.Stats{Runs: 1, LastStart: when(0), Running: true, Pending: true, Next: when(100)})
		check(30, throttle.Stats{Runs: 1, LastStart: when(0), LastDuration: 30 * ms, Pending: true, Next: when(100)})
		check(110, throttle.Stats{Runs: 2, LastStart: when(100), LastDuration: 30 * ms, Running: true})
		check(120, throttle.Stats{Runs: 2, Failures: 1, LastStart: when(100), LastDuration: 20 * ms, LastError: errFailed, Pending: true, Next: when(420)})
		check(420, throttle.Stats{Runs: 3, Failures: 2, Panics: 1, LastStart: when(420), LastError: panicked, Pending: true, Next: when(720)})
		check(720, throttle.Stats{Runs: 4, Failures: 2, Panics: 1, LastStart: when(720), LastError: throttle.RetryIn(70 * ms), Pending: true, Next: when(820)})
		check(820, throttle.Stats{Runs: 5, Failures: 2, Panics: 1, LastStart: when(820)})
		require.NoError(t, throttler.Close())
		check(1000, throttle.Stats{Runs: 5, Failures: 2, Panics: 1, LastStart: when(820), Closed: true})
	})
}

// TestRun_Retry_overdue checks a failed run that another run follows at once. That run was
// due while the first was active, but cannot repeat it before its end.
func TestRun_Retry_overdue(t *testing.T) {
	for _, test := range []struct {
		name    string
		policy  throttle.Policy
		moments []moment
	}{
		{"call that Eager lets through", eager(throttle.Policy{}, time.Second), calls(0, 10)},
		{"MaxInterval that Eager lets through", eager(throttle.Policy{MaxInterval: 20 * ms}, time.Second), calls(0)},
		{"flushed call", retrying(throttle.Policy{}, time.Second), slices.Concat(calls(0, 10), at(20, flush))},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(takes(50*ms, errFailed))
				throttler := r.throttler(t, test.policy)
				r.meet(throttler, test.moments)
				r.until(60)
				runs := r.runs()
				require.Equal(t, runs[0].Ended, runs[0].Retry)
				require.Equal(t, runs[0].Ended, runs[1].Started)
			})
		})
	}
}

// TestThrottler_Stats_nextDuringRun checks that Next is then a lower bound.
func TestThrottler_Stats_nextDuringRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(200*ms, nil))
		throttler := r.throttler(t, throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd, MaxInterval: 150 * ms})
		next := func() int { return int(throttler.Stats().Next.Sub(r.begin) / ms) }
		require.Equal(t, 150, next(), "the periodic run counts from New")
		throttler.Call()
		r.until(50)
		require.Equal(t, 200, next(), "if the run ended now")
		throttler.Call()
		require.Equal(t, 150, next())
		r.until(120)
		require.Equal(t, 220, next())
		r.until(250)
		require.Equal(t, 300, next())
		require.Equal(t, []int{0}, r.started())
	})
}

// TestThrottler_Stats_nextDuringLongRun checks that Next grows with the run whose rest
// MaxLoad demands.
func TestThrottler_Stats_nextDuringLongRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(200*ms, nil))
		throttler := r.throttler(t, throttle.Policy{Interval: 100 * ms, MaxLoad: 0.5})
		next := func() int { return int(throttler.Stats().Next.Sub(r.begin) / ms) }
		throttler.Call()
		throttler.Call()
		require.Equal(t, 100, next())
		for at := 50; at <= 200; at += 50 {
			r.until(at)
			require.Equal(t, max(100, 2*at), next(), "if the run ended at %d", at)
		}
		r.until(250)
		require.Equal(t, 400, next())
	})
}

func TestThrottler_Stats_dropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		throttler := r.throttler(t, throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading})
		for range 3 {
			throttler.Call()
		}
		require.ErrorIs(t, throttler.Do(context.Background()), throttle.ErrThrottled)
		require.Equal(t, uint64(3), throttler.Stats().Dropped)
		require.Zero(t, throttler.Stats().Calls, "not asked for")
	})
}

// TestThrottler_Stats_calls makes the same calls under policies that record them in
// different ways.
func TestThrottler_Stats_calls(t *testing.T) {
	tests := []struct {
		name   string
		policy throttle.Policy
		want   []uint64 // per run
	}{
		{"interval", throttle.Every(100 * ms), []uint64{1, 17, 1}},
		{"quiet", throttle.Debounce(50*ms, 0), []uint64{18, 1}},
		{"quiet and batch", throttle.Policy{Quiet: 50 * ms, MaxCalls: 10}, []uint64{10, 8, 1}},
		{"batch of a trailing edge", throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing, MaxCalls: 10}, []uint64{10, 8, 1}},
		{"full batch in the window", throttle.Policy{Interval: 100 * ms, Quiet: 50 * ms, MaxCalls: 2}, []uint64{2, 16, 1}},
		{"leading edge alone", throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading}, []uint64{1, 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder()
				throttler := r.throttler(t, test.policy, throttle.WithCallCount())
				total := uint64(0)
				call := func(n int) {
					for range n {
						throttler.Call()
						total++
						synctest.Wait()
						require.Equal(t, total, throttler.Stats().Calls)
					}
				}
				call(9)
				r.until(1)
				call(8)
				throttler.CallWithin(time.Hour)
				total++
				r.until(1000)
				call(1)
				r.until(1500)

				var got []uint64
				covered := uint64(0)
				for _, run := range r.runs() {
					got = append(got, run.Calls)
					covered += run.Calls
				}
				require.Equal(t, test.want, got)
				require.Equal(t, total, covered+throttler.Stats().Dropped)

				r.until(1501)
				throttler.CallWithin(time.Hour)
				throttler.Call()
				total += 2
				synctest.Wait()
				throttler.Cancel()
				require.Equal(t, total, throttler.Stats().Calls, "dropped calls were made")
				require.NoError(t, throttler.Close())
				throttler.Call()
				throttler.CallWithin(0)
				require.Equal(t, total, throttler.Stats().Calls, "refused calls were not")
			})
		})
	}
}

func TestThrottler_Stats_callsAfterSetPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		throttler := r.throttler(t, throttle.Every(time.Second), throttle.WithCallCount())
		throttler.Call()
		synctest.Wait()
		for _, policy := range []throttle.Policy{
			throttle.Every(2 * time.Second), throttle.Debounce(time.Second, 0), {Quiet: time.Second, MaxCalls: 99}, throttle.Every(3 * time.Second),
		} {
			throttler.Call()
			require.NoError(t, throttler.SetPolicy(policy))
			throttler.Call()
		}
		require.Equal(t, uint64(9), throttler.Stats().Calls)
		r.until(10_000)
		require.Equal(t, uint64(8), r.runs()[1].Calls)
		require.Equal(t, uint64(9), throttler.Stats().Calls)
	})
}

func TestThrottler_observer_result(t *testing.T) {
	nested := &throttle.PanicError{Value: "of another throttler"}
	tests := map[string]struct {
		run  scripted
		want throttle.Result
	}{
		"success":                      {takes(0, nil), throttle.ResultSuccess},
		"error":                        {takes(0, errFailed), throttle.ResultFailure},
		"panic":                        {scriptedPanic(errFailed), throttle.ResultPanic},
		"another's panic":              {takes(0, nested), throttle.ResultFailure},
		"panic with RetryIn":           {scriptedPanic(throttle.RetryIn(time.Second)), throttle.ResultPanic},
		"Goexit":                       {func(context.Context) error { runtime.Goexit(); return nil }, throttle.ResultFailure},
		"RetryIn":                      {retryIn(time.Second), throttle.ResultRetryIn},
		"RetryIn wrapped with another": {takes(0, errors.Join(errFailed, throttle.RetryIn(time.Second))), throttle.ResultRetryIn},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(test.run)
				r.throttler(t, throttle.Policy{}).Call()
				require.Equal(t, test.want, r.runs()[0].Result)
			})
		})
	}
}

func TestGroup_observer(t *testing.T) {
	type account struct{ id int }
	synctest.Test(t, func(t *testing.T) {
		keys := make(chan any, 2)
		group := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(context.Context, account) error { return nil },
			throttle.WithObserver(func(run throttle.Run) { keys <- run.Key })))
		require.NoError(t, group.Do(context.Background(), account{1}))
		require.NoError(t, group.Do(context.Background(), account{2}))
		require.Equal(t, []any{account{1}, account{2}}, []any{<-keys, <-keys})

		r := newRecorder()
		r.throttler(t, throttle.Policy{}).Call()
		require.Nil(t, r.runs()[0].Key)
	})
}

// TestThrottler_Name tests Name of all three forms.
func TestThrottler_Name(t *testing.T) {
	type namer interface{ Name() string }
	for want, options := range map[string][]throttle.Option{"": nil, "sync": {throttle.WithName("sync")}} {
		for _, n := range []namer{
			throttle.Must(throttle.New(throttle.Policy{}, func() {}, options...)),
			throttle.Must(throttle.NewGroup(throttle.Policy{}, func(context.Context, int) error { return nil }, options...)),
			throttle.Must(throttle.NewCoalescer(throttle.Policy{}, throttle.Latest[int](), func(context.Context, int) error { return nil }, options...)),
		} {
			require.Equal(t, want, n.Name())
		}
	}
}

// TestGroup_Stats sums over all keys, forgotten ones too.
func TestGroup_Stats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		r.script("fails", takes(30*ms, errFailed))
		r.script("panics", takes(10*ms, nil), scriptedPanic("scripted"))
		r.script("long", takes(500*ms, nil))
		g := r.group(t, throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading}, throttle.WithCallCount())
		for range 2 {
			for _, key := range []string{"fails", "panics", "long"} {
				require.NoError(t, g.Call(key))
			}
		}
		r.until(50)
		stats := g.Stats()
		require.True(t, stats.Running)
		require.False(t, stats.Pending || stats.Closed)
		require.Equal(t, r.begin, stats.LastStart)
		require.Equal(t, errFailed, stats.LastError)
		require.Equal(t, 30*ms, stats.LastDuration)
		r.until(300)
		require.NoError(t, g.Call("panics"))
		r.until(10_000)
		require.Zero(t, g.Len())
		stats = g.Stats()
		require.Equal(t, [5]uint64{4, 2, 1, 3, 7}, [5]uint64{stats.Runs, stats.Failures, stats.Panics, stats.Dropped, stats.Calls})
		require.False(t, stats.Running)
		require.True(t, r.begin.Add(300*ms).Equal(stats.LastStart))
		require.NoError(t, stats.LastError, "the long run ended last")
		require.Equal(t, 500*ms, stats.LastDuration)
	})
}

func TestGroup_Stats_next(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		g := r.group(t, throttle.Debounce(100*ms, 0))
		require.True(t, g.Stats().Next.IsZero())
		for at, key := range []string{"a", "b", "c"} {
			r.until(10 * at)
			require.NoError(t, g.Call(key))
		}
		require.True(t, g.Stats().Pending)
		require.True(t, r.begin.Add(100*ms).Equal(g.Stats().Next))
		r.until(105)
		require.True(t, r.begin.Add(110*ms).Equal(g.Stats().Next))
		g.Cancel("b")
		require.True(t, r.begin.Add(120*ms).Equal(g.Stats().Next))
		g.Cancel("c")
		require.True(t, g.Stats().Next.IsZero())
		require.False(t, g.Stats().Pending)
		require.NoError(t, g.Close())
		require.True(t, g.Stats().Closed)
	})
}

// TestGroup_Stats_last checks that a run does not count as a later one because its
// hooks take time, whether or not the keys share a lock.
func TestGroup_Stats_last(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 400 { // two keys seldom share one
			g := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(_ context.Context, key int) error {
				time.Sleep(time.Duration(key) * ms)
				return fmt.Errorf("run of key %d", key)
			}, throttle.WithErrorHandler(func(err error) {
				if err.Error() == "run of key 1" {
					time.Sleep(time.Second)
				}
			})))
			require.NoError(t, g.Call(1))
			require.NoError(t, g.Call(2))
			time.Sleep(time.Minute)
			synctest.Wait()
			require.EqualError(t, g.Stats().LastError, "run of key 2")
			require.Equal(t, 2*ms, g.Stats().LastDuration)
		}
	})
}

func TestGroup_KeyStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		when := func(at int) time.Time { return begin.Add(time.Duration(at) * ms) }
		group := throttle.Must(throttle.NewGroup(throttle.Every(100*ms), func(context.Context, string) error {
			time.Sleep(20 * ms)
			return errFailed
		}, throttle.WithCallCount(), throttle.WithErrorHandler(func(error) {})))
		check := func(at int, key string, want throttle.Stats, wantHeld bool) {
			t.Helper()
			time.Sleep(time.Until(when(at)))
			synctest.Wait()
			got, held := group.KeyStats(key)
			require.Equal(t, wantHeld, held)
			for _, times := range [][2]*time.Time{{&got.LastStart, &want.LastStart}, {&got.Next, &want.Next}} {
				require.True(t, times[0].Equal(*times[1]), "%v instead of %v", times[0], times[1])
				*times[0] = *times[1] // whose monotonic reading may differ
			}
			require.Equal(t, want, got)
		}
		check(0, "a", throttle.Stats{}, false)
		require.NoError(t, group.Call("a"))
		check(10, "a", throttle.Stats{Running: true, LastStart: when(0)}, true)
		check(10, "b", throttle.Stats{}, false)
		for range 3 {
			require.NoError(t, group.Call("a"))
		}
		check(15, "a", throttle.Stats{Running: true, Pending: true, Calls: 3, LastStart: when(0), Next: when(100)}, true)
		check(30, "a", throttle.Stats{Pending: true, Calls: 3, LastStart: when(0), Next: when(100)}, true)
		check(150, "a", throttle.Stats{LastStart: when(100)}, true)
		check(200, "a", throttle.Stats{}, false)
		require.Equal(t, uint64(2), group.Stats().Failures)
		require.NoError(t, group.Call("a"))
		check(210, "a", throttle.Stats{Running: true, LastStart: when(200)}, true)
		shutdown := await(func() error { return group.Shutdown(context.Background()) })
		check(215, "a", throttle.Stats{Running: true, Closed: true, LastStart: when(200)}, true)
		check(215, "b", throttle.Stats{Closed: true}, false)
		require.NoError(t, group.Close())
		check(217, "a", throttle.Stats{Running: true, Closed: true, LastStart: when(200)}, true)
		check(230, "a", throttle.Stats{Closed: true}, false)
		require.ErrorIs(t, shutdown.result(t), errFailed)
	})
}
