package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// inEveryState returns a Group at 50 ms, with keys named after the states they are in.
// Three runs are active. If limited is true, they have all the turns, and another key,
// "queued", waits for one.
func inEveryState(t *testing.T, limited bool, opts ...throttle.Option) (*groupRecorder, *throttle.Group[string]) {
	t.Helper()
	r := newGroupRecorder()
	r.script("running", takes(200*ms, nil))
	r.script("failing", takes(200*ms, errFailed))
	r.script("running and pending", takes(200*ms, errFailed), takes(50*ms, nil))
	r.script("retrying", fails(1)...)
	if limited {
		opts = append(opts, throttle.WithMaxConcurrent(3))
	}
	g := r.group(t, retrying(throttle.Every(time.Second), time.Minute), opts...)
	for _, key := range []string{"idle", "pending", "retrying", "running", "failing", "running and pending"} {
		require.NoError(t, g.Call(key))
		synctest.Wait()
	}
	require.NoError(t, g.Call("pending"))
	require.NoError(t, g.Call("running and pending"))
	if limited {
		require.NoError(t, g.Call("queued"))
	}
	r.until(50)
	require.Equal(t, int32(3), r.active.Load())
	require.Equal(t, 6+len(r.waiting(limited)), g.Len())
	return r, g
}

// waiting returns the key that is in the queue, if there is one.
func (r *groupRecorder) waiting(limited bool) []string {
	if limited {
		return []string{"queued"}
	}
	return nil
}

// requireGroupClosed checks that g is closed and stays closed. If cause is not nil, it
// must be the reason.
func requireGroupClosed(t *testing.T, g *throttle.Group[string], cause error) {
	t.Helper()
	ctx := context.Background()
	for _, key := range []string{"idle", "pending", "running", "new"} {
		for _, err := range []error{
			g.Call(key), g.CallWithin(key, 0), g.Do(ctx, key), g.Flush(ctx, key), g.SetPolicy(throttle.Policy{}),
		} {
			require.ErrorIs(t, err, throttle.ErrClosed)
			if cause != nil {
				require.ErrorIs(t, err, cause)
			} else {
				require.Equal(t, throttle.ErrClosed, err)
			}
		}
		require.False(t, g.Cancel(key))
	}
	stats := g.Stats()
	require.True(t, stats.Closed)
	require.False(t, stats.Pending)
	require.Zero(t, stats.Next)
}

// TestGroup_Close ends a Group at once, in every way there is, while its keys are
// in every state.
func TestGroup_Close(t *testing.T) {
	gone := errors.New("the parent is gone")
	for _, test := range []struct {
		name  string
		cause error
		end   func(g *throttle.Group[string], endParent context.CancelCauseFunc)
	}{
		{name: "Close", end: func(g *throttle.Group[string], _ context.CancelCauseFunc) { _ = g.Close() }},
		{name: "Close twice", end: func(g *throttle.Group[string], _ context.CancelCauseFunc) { _ = errors.Join(g.Close(), g.Close()) }},
		{name: "Close from many sides", end: func(g *throttle.Group[string], _ context.CancelCauseFunc) {
			for range 8 {
				go func() { _ = g.Close() }()
			}
		}},
		{name: "the parent's end", cause: gone, end: func(_ *throttle.Group[string], endParent context.CancelCauseFunc) { endParent(gone) }},
		{name: "the parent's end, then Close", cause: gone, end: func(g *throttle.Group[string], endParent context.CancelCauseFunc) {
			endParent(gone)
			synctest.Wait()
			_ = g.Close()
		}},
		{name: "Close, then the parent's end", end: func(g *throttle.Group[string], endParent context.CancelCauseFunc) {
			_ = g.Close()
			endParent(gone)
		}},
		{name: "Shutdown with an ended context", end: func(g *throttle.Group[string], _ context.CancelCauseFunc) {
			ended, end := context.WithCancel(context.Background())
			end()
			_ = g.Shutdown(ended)
		}},
	} {
		for _, limited := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, endParent := context.WithCancelCause(context.Background())
					defer endParent(nil)
					r, g := inEveryState(t, limited, throttle.WithContext(parent))
					before := r.started()
					var waiters []*waiter
					for _, key := range append(r.waiting(limited), "pending", "running and pending") {
						waiters = append(waiters, await(func() error { return g.Do(context.Background(), key) }))
					}
					synctest.Wait()
					test.end(g, endParent)
					synctest.Wait()
					for _, w := range waiters {
						require.ErrorIs(t, w.result(t), throttle.ErrClosed)
						if test.cause != nil {
							require.ErrorIs(t, w.err, test.cause)
						}
					}
					requireGroupClosed(t, g, test.cause)
					require.ElementsMatch(t, []string{"running", "failing", "running and pending"}, slices.Collect(g.Keys()), "which are active")
					r.until(200)
					require.Zero(t, g.Len())
					require.Equal(t, []error{errFailed, errFailed, errFailed}, r.errors())
					requireGroupClosed(t, g, test.cause)
					r.until(1_000_000)
					require.Equal(t, before, r.started(), "nothing starts any more")
				})
			})
		}
	}
}

func TestGroup_Close_contexts(t *testing.T) {
	gone := errors.New("the parent is gone")
	for _, cause := range []error{throttle.ErrClosed, gone} {
		t.Run(cause.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, endParent := context.WithCancelCause(context.Background())
				defer endParent(nil)
				causes := make(chan error, 100)
				g := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(ctx context.Context, _ int) error {
					<-ctx.Done()
					causes <- context.Cause(ctx)
					return ctx.Err()
				}, throttle.WithContext(parent)))
				for key := range cap(causes) {
					require.NoError(t, g.Call(key))
				}
				synctest.Wait()
				if cause == gone { //nolint:errorlint // the very same
					endParent(gone)
				} else {
					require.NoError(t, g.Close())
				}
				synctest.Wait()
				require.Len(t, causes, cap(causes))
				for range cap(causes) {
					require.ErrorIs(t, <-causes, cause)
				}
				require.Zero(t, g.Len())
			})
		})
	}
}

// A hookedContext calls hook in Err. Each run calls its parent's Err before it enters the
// callback.
type hookedContext struct {
	context.Context
	hook func()
}

func (c hookedContext) Err() error {
	c.hook()
	return c.Context.Err()
}

// TestGroup_Close_beforeCallback closes the group between a run's start and its
// entry into the callback. The key must go as well.
func TestGroup_Close_beforeCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *throttle.Group[string]
		r := newGroupRecorder()
		g = r.group(t, throttle.Policy{}, throttle.WithContext(hookedContext{context.Background(), func() { _ = g.Close() }}))
		require.Equal(t, throttle.ErrClosed, g.Do(context.Background(), "key"))
		synctest.Wait()
		require.Empty(t, r.started())
		require.Zero(t, g.Len())
		require.Empty(t, slices.Collect(g.Keys()))
		require.False(t, g.Stats().Running)
		require.NoError(t, g.Shutdown(context.Background()))
	})
}

func TestGroup_endedParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the parent is gone")
		parent, endParent := context.WithCancelCause(context.Background())
		endParent(gone)
		r := newGroupRecorder()
		g := r.group(t, throttle.Policy{}, throttle.WithContext(parent))
		err := g.Do(context.Background(), "key") // whether the group is closed yet is open
		require.ErrorIs(t, err, throttle.ErrClosed)
		require.ErrorIs(t, err, gone)
		synctest.Wait()
		requireGroupClosed(t, g, gone)
		require.Empty(t, r.started())
		require.Zero(t, g.Len())
	})
}

func TestGroup_Shutdown(t *testing.T) {
	for _, limited := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, g := inEveryState(t, limited)
			want := r.started()
			shutdown := await(func() error { return g.Shutdown(context.Background()) })
			synctest.Wait()
			for _, key := range []string{"idle", "running", "new"} {
				require.Equal(t, throttle.ErrClosed, g.Call(key))
				require.Equal(t, throttle.ErrClosed, g.CallWithin(key, 0))
				require.Equal(t, throttle.ErrClosed, g.Do(context.Background(), key))
			}
			require.Equal(t, throttle.ErrClosed, g.SetPolicy(throttle.Policy{}))
			require.NoError(t, g.Flush(context.Background(), "idle"))
			flush := await(func() error { return g.Flush(context.Background(), "running and pending") })
			require.True(t, g.Stats().Closed)
			r.until(199)
			require.False(t, shutdown.returned() || flush.returned())
			r.until(250)
			require.ErrorIs(t, shutdown.result(t), errFailed)
			require.Len(t, joined(shutdown.err), 1, "that of the key \"failing\"")
			require.NoError(t, flush.result(t))
			require.Zero(t, g.Len())
			requireGroupClosed(t, g, nil)
			r.until(1_000_000)
			at := 50
			if limited {
				at = 200 // "queued" was due first, but three turns are free
				want["queued"] = []int{at}
			}
			for _, key := range []string{"pending", "retrying"} {
				want[key] = append(want[key], at)
			}
			want["running and pending"] = append(want["running and pending"], 200)
			require.Equal(t, want, r.started())
		})
	}
}

func TestGroup_Shutdown_queue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := busy(t, throttle.Policy{Interval: time.Hour, Edges: throttle.Trailing})
		r.script("b", takes(20*ms, nil))
		for _, call := range []struct {
			key    string
			within time.Duration
		}{{"c", time.Minute}, {"b", 20 * ms}, {"a", 10 * ms}} {
			require.NoError(t, g.CallWithin(call.key, call.within))
		}
		r.until(30)
		shutdown := await(func() error { return g.Shutdown(context.Background()) })
		r.until(119)
		require.False(t, shutdown.returned())
		r.until(120)
		require.NoError(t, shutdown.result(t))
		require.Equal(t, []string{"busy", "a", "b", "c"}, r.ordered())
		require.Equal(t, []int{120}, r.started()["c"])
	})
}

func TestGroup_Shutdown_errors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		first, second, uncomparable := errors.New("first"), errors.New("second"), manyErrors{errFailed}
		r := newGroupRecorder()
		r.script("a", takes(20*ms, first))
		r.script("b", takes(10*ms, second))
		r.script("c", takes(0, uncomparable))
		r.script("d", takes(0, uncomparable))
		r.script("panics", scriptedPanic("scripted"))
		r.script("earlier", takes(0, errors.New("nobody waits for it")))
		g := r.group(t, throttle.Debounce(100*ms, 0))
		for _, key := range []string{"a", "b", "c", "d", "panics", "fine"} {
			require.NoError(t, g.Call(key))
		}
		require.NoError(t, g.CallWithin("earlier", 0))
		synctest.Wait()
		err := g.Shutdown(ctx)
		require.Equal(t, 20, r.elapsed())
		var panicked *throttle.PanicError
		require.ErrorAs(t, err, &panicked)
		require.ErrorIs(t, err, first)
		require.ErrorIs(t, err, second)
		require.Len(t, joined(err), 5)
		require.Len(t, r.errors(), 1)
		require.NoError(t, g.Shutdown(ctx), "once all is over")
	})
}

// manyErrors is an error that cannot be compared.
type manyErrors []error

func (e manyErrors) Error() string { return errors.Join(e...).Error() }

func TestGroup_Shutdown_contextEnds(t *testing.T) {
	for _, limited := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, g := inEveryState(t, limited)
			want := r.started()
			r.script("pending", takes(0, nil), takes(50*ms, errors.New("pending failed")))
			r.script("retrying", takes(0, errFailed), func(ctx context.Context) error {
				<-ctx.Done()
				return context.Cause(ctx)
			})
			ctx, end := context.WithTimeout(context.Background(), 100*ms)
			defer end()
			shutdown := await(func() error { return g.Shutdown(ctx) })
			r.until(149)
			require.False(t, shutdown.returned())
			r.until(150)
			err := shutdown.result(t)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, throttle.ErrClosed)
			if limited {
				require.Equal(t, []string{"context deadline exceeded"}, joined(err), "those keys had no turn")
			} else {
				require.Equal(t, []string{"context deadline exceeded", "throttle: key pending: pending failed"}, joined(err))
				want["pending"] = append(want["pending"], 50)
				want["retrying"] = append(want["retrying"], 50)
			}
			requireGroupClosed(t, g, nil)
			require.True(t, g.Stats().Running)
			again := await(func() error { return g.Shutdown(context.Background()) })
			r.until(199)
			require.False(t, again.returned(), "it waits for the runs that are active")
			r.until(200)
			require.NoError(t, again.result(t))
			require.Zero(t, g.Len())
			r.until(1_000_000)
			require.Equal(t, want, r.started())
		})
	}
}

// TestGroup_Shutdown_contextEndsInHooks checks that Shutdown loses no error that it
// should return, in whatever order it visits the keys.
func TestGroup_Shutdown_contextEndsInHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 10
		r := newGroupRecorder()
		g := r.group(t, throttle.Policy{}, throttle.WithObserver(func(throttle.Run) { time.Sleep(time.Second) }))
		want := []string{"context deadline exceeded"}
		for key := range keys {
			fails, lasts := fmt.Sprint("fails ", key), fmt.Sprint("lasts ", key)
			want = append(want, "throttle: key "+fails+": "+fails)
			r.script(fails, takes(10*ms, errors.New(fails)))
			r.script(lasts, takes(time.Second, nil))
			require.NoError(t, g.Call(fails))
			require.NoError(t, g.Call(lasts))
		}
		ctx, end := context.WithTimeout(context.Background(), 100*ms)
		defer end()
		require.Equal(t, want, distinct(g.Shutdown(ctx)))
		require.Equal(t, 100, r.elapsed())
		require.Empty(t, r.errors())
	})
}

// joined returns the texts of the errors that err joins, sorted.
func joined(err error) (texts []string) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			texts = append(texts, err.Error())
		}
	}
	slices.Sort(texts)
	return texts
}

// distinct returns the texts of the errors that err joins, directly or not, sorted and
// each once.
func distinct(err error) []string {
	var texts []string
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			texts = append(texts, distinct(err)...)
		}
	} else {
		texts = []string{err.Error()}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

func TestGroup_Shutdown_endedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, end := context.WithCancel(context.Background())
		end()
		r := newGroupRecorder()
		g := r.group(t, throttle.Debounce(time.Second, 0))
		require.NoError(t, g.Call("key"))
		require.Equal(t, context.Canceled, g.Shutdown(ended))
		requireGroupClosed(t, g, nil)
		r.until(10_000)
		require.Empty(t, r.started())
	})
}

func TestGroup_Shutdown_twice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := inEveryState(t, false)
		begun := r.started()
		shutdown := func() *waiter { return await(func() error { return g.Shutdown(context.Background()) }) }
		first, second := shutdown(), shutdown()
		r.until(100)
		third := shutdown()
		r.until(249)
		require.False(t, first.returned() || second.returned() || third.returned())
		r.until(250)
		for _, w := range []*waiter{first, second, third} {
			require.ErrorIs(t, w.result(t), errFailed)
		}
		require.Len(t, r.started()["pending"], len(begun["pending"])+1)
		require.Len(t, r.errors(), 2, "that of the retried run, and of the one with a call pending")
	})
}

// TestGroup_Shutdown_dropped drops what is pending during Shutdown, which must say
// so, and must still wait for the active runs.
func TestGroup_Shutdown_dropped(t *testing.T) {
	for _, test := range []struct {
		name string
		drop func(*throttle.Group[string])
		want error
	}{
		{"Close", func(g *throttle.Group[string]) { _ = g.Close() }, throttle.ErrClosed},
		{"Cancel", cancelKey, throttle.ErrCanceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newGroupRecorder()
				r.script("key", takes(200*ms, nil))
				r.script("other", takes(100*ms, nil))
				g := r.group(t, throttle.Every(time.Second))
				for _, key := range []string{"key", "key", "other"} {
					require.NoError(t, g.Call(key))
					synctest.Wait()
				}
				shutdown := await(func() error { return g.Shutdown(context.Background()) })
				r.until(50)
				test.drop(g)
				r.until(199)
				require.False(t, shutdown.returned())
				r.until(200)
				var keyed *throttle.KeyError
				require.ErrorAs(t, shutdown.result(t), &keyed)
				require.Len(t, joined(shutdown.err), 1)
				require.Equal(t, "key", keyed.Key)
				require.Equal(t, test.want, keyed.Err)
				require.Equal(t, map[string][]int{"key": {0}, "other": {0}}, r.started())
			})
		})
	}
}

func TestGroup_Shutdown_parentEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the parent is gone")
		parent, endParent := context.WithCancelCause(context.Background())
		r, g := busy(t, throttle.Policy{}, throttle.WithContext(parent))
		require.NoError(t, g.Call("key"))
		shutdown := await(func() error { return g.Shutdown(context.Background()) })
		r.until(50)
		endParent(gone)
		r.until(100)
		err := shutdown.result(t)
		require.ErrorIs(t, err, throttle.ErrClosed)
		require.ErrorIs(t, err, gone)
		requireGroupClosed(t, g, gone)
		require.NotContains(t, r.started(), "key")
	})
}

func TestGroup_Shutdown_noRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		r.script("a", fails(9)...)
		r.script("b", retryIn(10), retryIn(10))
		g := r.group(t, throttle.Policy{MaxInterval: 100 * ms, Retry: throttle.Backoff{Initial: 10 * ms}})
		require.NoError(t, g.Call("a"))
		require.NoError(t, g.Call("b"))
		synctest.Wait()
		require.Len(t, joined(g.Shutdown(context.Background())), 2)
		r.until(10_000)
		require.Equal(t, []int{0, 0}, r.started()["a"])
		require.Equal(t, []int{0, 0}, r.started()["b"])
		require.Zero(t, g.Len())
	})
}

// TestGroup_Shutdown_removed shuts a Group down while the run of a removed key is active,
// and a call has come since.
func TestGroup_Shutdown_removed(t *testing.T) {
	for _, test := range []struct {
		name   string
		paused bool
		starts []int
		want   error
	}{
		{"runs the call after the active run", false, []int{0, 100}, nil},
		{"drops the call during a pause", true, []int{0}, throttle.ErrPaused},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newGroupRecorder()
				r.script("key", takes(100*ms, nil))
				g := r.group(t, throttle.Debounce(time.Hour, 0))
				require.NoError(t, g.CallWithin("key", 0))
				r.until(50)
				require.True(t, g.Remove("key"))
				do := await(func() error { return g.Do(context.Background(), "key") })
				r.until(60)
				if test.paused {
					g.Pause()
				}
				shutdown := await(func() error { return g.Shutdown(context.Background()) })
				r.until(99)
				require.False(t, shutdown.returned())
				r.until(100)
				require.ErrorIs(t, shutdown.result(t), test.want)
				require.ErrorIs(t, do.result(t), test.want)
				require.Equal(t, test.starts, r.started()["key"])
				require.Zero(t, g.Len())
			})
		})
	}
}

func TestGroup_Shutdown_afterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := inEveryState(t, false)
		require.NoError(t, g.Close())
		ctx, end := context.WithTimeout(context.Background(), 10*ms)
		defer end()
		require.Equal(t, []string{"context deadline exceeded"}, joined(g.Shutdown(ctx)))
		require.NoError(t, g.Shutdown(context.Background()))
		require.Equal(t, 200, r.elapsed())
		require.Len(t, r.errors(), 3, "nobody has taken them")
		require.NoError(t, g.Close())
	})
}

// TestGroup_Shutdown_reentrant passes Shutdown the context of a run: ErrReentrant
// while that run is active, whatever its key.
func TestGroup_Shutdown_reentrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		contexts := make(chan context.Context, 1)
		r := newGroupRecorder()
		r.script("key", func(own context.Context) error {
			contexts <- own
			time.Sleep(100 * ms)
			return nil
		})
		g := r.group(t, throttle.Debounce(10*ms, 0))
		require.NoError(t, g.CallWithin("key", 0))
		own := <-contexts
		require.NoError(t, g.Call("other"))
		require.Equal(t, throttle.ErrReentrant, g.Shutdown(own))
		r.until(50)
		require.Equal(t, []int{10}, r.started()["other"], "it had no effect")
		require.NoError(t, g.Call("other"))
		r.until(100)
		require.Equal(t, context.Canceled, g.Shutdown(own), "that run is over, and its context has ended")
		requireGroupClosed(t, g, nil)
	})
}

func TestGroup_Close_insideRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *throttle.Group[string]
		r := newGroupRecorder()
		r.script("key", func(own context.Context) error {
			_ = g.Call("key")
			_ = g.Close()
			time.Sleep(100 * ms)
			return context.Cause(own)
		})
		g = r.group(t, throttle.Policy{})
		require.Equal(t, throttle.ErrClosed, g.Do(context.Background(), "key"), "the run's error")
		require.Equal(t, 100, r.elapsed())
		requireGroupClosed(t, g, nil)
		r.until(1000)
		require.Equal(t, []int{0}, r.started()["key"])
		require.Zero(t, g.Len())
	})
}
