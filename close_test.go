package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// A lifeState is a state of a throttler at 50 ms, and how it ends from there.
type lifeState struct {
	name     string
	policy   throttle.Policy
	script   []scripted
	moments  []moment // in order
	closed   []int    // starts if Close follows
	shutDown []int    // starts if Shutdown follows
	err      error    // what Shutdown returns
}

var lifeStates = []lifeState{
	{name: "idle", policy: throttle.Every(100 * ms), closed: []int{}, shutDown: []int{}},
	{name: "idle inside the window", policy: throttle.Every(100 * ms), moments: calls(0), closed: []int{0}, shutDown: []int{0}},
	{name: "armed", policy: throttle.Every(100 * ms), moments: calls(0, 10), closed: []int{0}, shutDown: []int{0, 50}},
	{name: "waiting for quiet", policy: throttle.Debounce(100*ms, 0), moments: calls(0), closed: []int{}, shutDown: []int{50}},
	{name: "waiting for a periodic run", policy: throttle.Policy{MaxInterval: 100 * ms}, closed: []int{}, shutDown: []int{}},
	{name: "waiting for a retry", policy: backoff(100*ms, 0), script: fails(1), moments: calls(0), closed: []int{0}, shutDown: []int{0, 50}},
	{name: "waiting for a retry that fails again", policy: backoff(100*ms, 0), script: []scripted{takes(0, errFailed), takes(100*ms, errFailed)}, moments: calls(0),
		closed: []int{0}, shutDown: []int{0, 50}, err: errFailed},
	{name: "running", policy: throttle.Every(100 * ms), script: []scripted{takes(200*ms, nil)}, moments: calls(0), closed: []int{0}, shutDown: []int{0}},
	{name: "running to a failure that is not retried", policy: backoff(10*ms, 0), script: []scripted{takes(200*ms, errFailed)}, moments: calls(0),
		closed: []int{0}, shutDown: []int{0}, err: errFailed},
	{name: "running to a retry at once", script: []scripted{takes(200*ms, throttle.RetryIn(0))}, moments: calls(0),
		closed: []int{0}, shutDown: []int{0}, err: throttle.RetryIn(0)},
	{name: "running with periodic runs to come", policy: throttle.Policy{MaxInterval: 100 * ms}, script: []scripted{takes(200*ms, nil)}, moments: calls(0),
		closed: []int{0}, shutDown: []int{0}},
	{name: "running and pending", policy: throttle.Every(time.Second), script: []scripted{takes(200*ms, nil), takes(100*ms, nil)}, moments: calls(0, 10),
		closed: []int{0}, shutDown: []int{0, 200}},
	{name: "running and pending, the first to fail", policy: backoff(10*ms, 0), script: []scripted{takes(200*ms, errFailed)}, moments: calls(0, 10),
		closed: []int{0}, shutDown: []int{0, 200}},
	{name: "running and pending, the last to fail", policy: backoff(10*ms, 0), script: []scripted{takes(200*ms, nil), takes(100*ms, errFailed)}, moments: calls(0, 10),
		closed: []int{0}, shutDown: []int{0, 200}, err: errFailed},
	{name: "draining", policy: throttle.Every(time.Second), script: []scripted{takes(200*ms, nil)}, moments: append(calls(0, 10), at(40, shutdown)...),
		closed: []int{0}, shutDown: []int{0, 200}},
	{name: "closed", policy: throttle.Every(100 * ms), moments: append(calls(0, 10), at(40, stop)...), closed: []int{0}, shutDown: []int{0}},
	{name: "closed and running", policy: throttle.Every(100 * ms), script: []scripted{takes(200*ms, errFailed)}, moments: append(calls(0, 10), at(40, stop)...),
		closed: []int{0}, shutDown: []int{0}},
}

// enter brings a throttler into the state and returns at 50 ms.
func (s lifeState) enter(t *testing.T, opts ...throttle.Option) (*recorder, *throttle.Throttler) {
	t.Helper()
	r := newRecorder(s.script...)
	throttler := r.throttler(t, s.policy, opts...)
	r.meet(throttler, s.moments)
	r.until(50)
	return r, throttler
}

// requireClosed checks that throttler is closed and stays so.
func requireClosed(t *testing.T, throttler *throttle.Throttler) {
	t.Helper()
	ctx := context.Background()
	policy := throttler.Policy()
	throttler.Call()
	throttler.CallWithin(0)
	require.False(t, throttler.Cancel())
	require.ErrorIs(t, throttler.Do(ctx), throttle.ErrClosed)
	require.ErrorIs(t, throttler.Flush(ctx), throttle.ErrClosed)
	require.ErrorIs(t, throttler.SetPolicy(throttle.Every(time.Minute)), throttle.ErrClosed)
	require.Equal(t, policy, throttler.Policy())
	stats := throttler.Stats()
	require.True(t, stats.Closed)
	require.False(t, stats.Pending)
	require.Zero(t, stats.Next)
}

func TestThrottler_Close(t *testing.T) {
	manners := []struct {
		name string
		stop func(*throttle.Throttler)
	}{
		{"once", stop},
		{"twice", func(throttler *throttle.Throttler) { stop(throttler); stop(throttler) }},
		{"concurrently", func(throttler *throttle.Throttler) {
			for range 8 {
				go stop(throttler)
			}
			synctest.Wait()
		}},
		{"with an ended Shutdown", func(throttler *throttle.Throttler) {
			ended, end := context.WithCancel(context.Background())
			end()
			_ = throttler.Shutdown(ended)
		}},
	}
	for _, state := range lifeStates {
		for _, manner := range manners {
			t.Run(state.name+"/"+manner.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, throttler := state.enter(t)
					manner.stop(throttler)
					require.Equal(t, 50, r.elapsed(), "must not wait")
					requireClosed(t, throttler)
					r.until(10_000)
					require.Equal(t, state.closed, r.started())
					requireClosed(t, throttler)
					require.NoError(t, throttler.Close())
				})
			})
		}
	}
}

func TestThrottler_Shutdown(t *testing.T) {
	for _, state := range lifeStates {
		for name, shutdowns := range map[string]int{"once": 1, "concurrently": 8} {
			t.Run(state.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, throttler := state.enter(t)
					var waiters []*waiter
					for range shutdowns {
						waiters = append(waiters, await(func() error {
							err := throttler.Shutdown(context.Background())
							if r.active.Load() != 0 || throttler.Stats().Running {
								return errors.New("a run is active")
							}
							return err
						}))
					}
					r.until(10_000)
					require.Equal(t, state.shutDown, r.started())
					for _, w := range waiters {
						require.Equal(t, fmt.Sprint(state.err), fmt.Sprint(w.result(t)))
					}
					requireClosed(t, throttler)
					require.NoError(t, throttler.Shutdown(context.Background()), "closed already")
					r.until(20_000)
					require.Equal(t, state.shutDown, r.started())
				})
			})
		}
	}
}

func TestThrottler_Shutdown_refusesCalls(t *testing.T) {
	for _, policy := range []throttle.Policy{
		throttle.Every(time.Second), throttle.Debounce(time.Second, 0), {Quiet: time.Second, MaxCalls: 9}, backoff(ms, 0),
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder(takes(200*ms, nil), takes(200*ms, nil))
			throttler := r.throttler(t, policy, throttle.WithCallCount())
			throttler.CallWithin(0)
			r.until(10)
			throttler.Call()
			w := awaitShutdown(throttler)
			for _, at := range []int{20, 220} { // with a run pending, and without
				r.until(at)
				require.True(t, throttler.Stats().Closed)
				throttler.Call()
				throttler.CallWithin(0)
				require.ErrorIs(t, throttler.Do(context.Background()), throttle.ErrClosed)
				require.ErrorIs(t, throttler.SetPolicy(policy), throttle.ErrClosed)
			}
			flush := awaitFlush(throttler)
			require.False(t, flush.returned())
			r.until(399)
			require.False(t, w.returned())
			r.until(401)
			require.NoError(t, w.result(t))
			require.NoError(t, flush.result(t))
			require.Equal(t, []int{0, 200}, r.started())
			require.Equal(t, uint64(2), throttler.Stats().Calls)
		})
	}
}

func TestThrottler_Shutdown_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := make(chan error, 1)
		r := newRecorder(func(ctx context.Context) error {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			time.Sleep(100 * ms)
			return errFailed
		})
		throttler := r.throttler(t, throttle.Every(time.Second))
		throttler.Call()
		r.until(10)
		do := awaitDo(throttler)
		r.until(20)
		ctx, end := context.WithTimeout(context.Background(), 100*ms)
		defer end()
		shutdown := await(func() error { return throttler.Shutdown(ctx) })
		r.until(119)
		require.False(t, shutdown.returned())
		require.False(t, do.returned())
		r.until(120)
		require.Equal(t, context.DeadlineExceeded, shutdown.result(t))
		require.Equal(t, throttle.ErrClosed, do.result(t))
		require.Equal(t, throttle.ErrClosed, <-cause)
		requireClosed(t, throttler)
		require.True(t, throttler.Stats().Running)

		again := awaitShutdown(throttler)
		require.False(t, again.returned(), "the run is still active")
		r.until(220)
		require.NoError(t, again.result(t))
		require.Equal(t, []error{errFailed}, r.errors(), "no waiter is left to get it")
		require.Equal(t, []int{0}, r.started())
	})
}

// A steeredContext decides what its Done returns.
type steeredContext struct {
	context.Context
	done func() <-chan struct{}
}

func (c *steeredContext) Done() <-chan struct{} { return c.done() }

// TestThrottler_Shutdown_olderRunEnds lets Shutdown's context end while a run is
// pending, and the run before it end right then. The success of that run does not
// count: its end starts the pending run.
func TestThrottler_Shutdown_olderRunEnds(t *testing.T) {
	for range 10 { // a select takes any of the cases that are ready
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			r := newRecorder(
				func(context.Context) error { <-release; return nil },
				takes(time.Second, nil))
			throttler := r.throttler(t, throttle.Policy{})
			throttler.Call()
			synctest.Wait()
			throttler.Call()
			ctx, end := context.WithCancel(context.Background())
			asked := 0
			err := throttler.Shutdown(&steeredContext{ctx, func() <-chan struct{} {
				asked++
				switch asked {
				case 1:
					end()
				case 2:
					close(release)
					synctest.Wait()
				}
				return ctx.Done()
			}})
			require.ErrorIs(t, err, context.Canceled)
			if asked == 1 {
				close(release)
			}
		})
	}
}

// TestThrottler_Shutdown_errorDuringHooks ends Shutdown's context while an observer
// runs, after Shutdown has claimed the run's error.
func TestThrottler_Shutdown_errorDuringHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(50*ms, errFailed))
		throttler := r.throttler(t, throttle.Policy{}, throttle.WithObserver(func(throttle.Run) { time.Sleep(time.Second) }))
		throttler.Call()
		ctx, end := context.WithTimeout(context.Background(), 100*ms)
		defer end()
		err := throttler.Shutdown(ctx)
		require.Equal(t, 100, r.elapsed())
		r.until(5000)
		if len(r.errors()) == 0 {
			require.ErrorIs(t, err, errFailed, "the error is lost")
		}
	})
}

// TestThrottler_Shutdown_dropMeanwhile checks that Shutdown reports a drop, but only
// once no run is active.
func TestThrottler_Shutdown_dropMeanwhile(t *testing.T) {
	drops := []struct {
		name string
		drop func(*throttle.Throttler)
		want error
	}{
		{"Close", stop, throttle.ErrClosed},
		{"Cancel", cancel, throttle.ErrCanceled},
	}
	for _, drop := range drops {
		t.Run(drop.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(takes(200*ms, nil))
				throttler := r.throttler(t, throttle.Every(time.Second))
				throttler.Call()
				r.until(10)
				do := awaitDo(throttler)
				synctest.Wait()
				shutdown := awaitShutdown(throttler)
				r.until(50)
				drop.drop(throttler)
				require.Equal(t, drop.want, do.result(t))
				r.until(199)
				require.False(t, shutdown.returned())
				r.until(200)
				require.Equal(t, drop.want, shutdown.result(t))
				requireClosed(t, throttler)
				r.until(10_000)
				require.Equal(t, []int{0}, r.started())
			})
		})
	}
	t.Run("nothing pending, nothing dropped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder(takes(200*ms, errFailed))
			throttler := r.throttler(t, throttle.Every(time.Second))
			throttler.Call()
			r.until(10)
			shutdown := awaitShutdown(throttler)
			r.until(50)
			require.False(t, throttler.Cancel())
			require.NoError(t, throttler.Close())
			r.until(200)
			require.Equal(t, errFailed, shutdown.result(t))
		})
	})
}

func TestThrottler_Close_runContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		contexts := make(chan context.Context, 2)
		r := newRecorder()
		throttler := throttle.Must(throttle.New(throttle.Policy{}, func(ctx context.Context) error {
			contexts <- ctx
			time.Sleep(100 * ms)
			return nil
		}))
		throttler.Call()
		first := <-contexts
		r.until(99)
		require.NoError(t, first.Err())
		r.until(101)
		require.Equal(t, context.Canceled, context.Cause(first))
		throttler.Call()
		second := <-contexts
		require.NotEqual(t, first, second)
		require.NoError(t, second.Err())
		require.NoError(t, throttler.Close())
		require.Equal(t, context.Canceled, second.Err())
		require.Equal(t, throttle.ErrClosed, context.Cause(second))
		r.until(1000)
	})
}

func TestThrottler_Close_insideCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var throttler *throttle.Throttler
		r := newRecorder(func(ctx context.Context) error {
			throttler.Call()
			stop(throttler)
			stop(throttler)
			time.Sleep(100 * ms)
			return context.Cause(ctx)
		})
		throttler = r.throttler(t, throttle.Policy{Retry: throttle.Backoff{Initial: ms}})
		require.Equal(t, throttle.ErrClosed, throttler.Do(context.Background()), "the run's error")
		require.Equal(t, 100, r.elapsed())
		requireClosed(t, throttler)
		r.until(1000)
		require.Equal(t, []int{0}, r.started())
	})
}

func TestThrottler_Shutdown_insideCallback(t *testing.T) {
	tests := []struct {
		name     string
		shutdown func(own context.Context, throttler *throttle.Throttler) error
		want     error
		took     int
		closes   bool
	}{
		{name: "with the run's context", want: throttle.ErrReentrant,
			shutdown: func(own context.Context, throttler *throttle.Throttler) error { return throttler.Shutdown(own) }},
		{name: "with an ended context of another", want: context.Canceled, closes: true,
			shutdown: func(_ context.Context, throttler *throttle.Throttler) error {
				ended, end := context.WithCancel(context.Background())
				end()
				return throttler.Shutdown(ended)
			}},
		{name: "with a context that ends", want: context.DeadlineExceeded, took: 100, closes: true,
			shutdown: func(_ context.Context, throttler *throttle.Throttler) error {
				ctx, end := context.WithTimeout(context.Background(), 100*ms)
				defer end()
				return throttler.Shutdown(ctx)
			}},
		{name: "in a goroutine of its own", closes: true,
			shutdown: func(_ context.Context, throttler *throttle.Throttler) error {
				go shutdown(throttler)
				return nil
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var throttler *throttle.Throttler
				r := newRecorder(func(own context.Context) error { return test.shutdown(own, throttler) })
				throttler = r.throttler(t, throttle.Policy{})
				require.Equal(t, test.want, throttler.Do(context.Background()))
				require.Equal(t, test.took, r.elapsed())
				synctest.Wait()
				require.Equal(t, test.closes, throttler.Stats().Closed)
			})
		})
	}
}

// TestThrottler_parentEnds checks G7: once the parent context is done, no run starts,
// even for a call that comes before the throttler has noticed.
func TestThrottler_parentEnds(t *testing.T) {
	gone := errors.New("gone")
	for _, state := range lifeStates {
		t.Run(state.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, end := context.WithCancelCause(context.Background())
				defer end(nil)
				r, throttler := state.enter(t, throttle.WithContext(parent), throttle.WithName("reload"))
				end(gone)
				throttler.Call()
				throttler.CallWithin(0)
				synctest.Wait()
				require.Equal(t, 50, r.elapsed(), "must not wait")
				requireClosed(t, throttler)
				r.until(10_000)
				require.Equal(t, state.closed, r.started())
			})
		})
	}
}

func TestThrottler_parentEnded(t *testing.T) {
	for _, policy := range []throttle.Policy{{}, throttle.Every(time.Second), throttle.Debounce(100*ms, 0), {MaxInterval: 100 * ms}} {
		synctest.Test(t, func(t *testing.T) {
			parent, end := context.WithCancelCause(context.Background())
			gone := errors.New("gone")
			end(gone)
			r := newRecorder()
			throttler := r.throttler(t, policy, throttle.WithContext(parent), throttle.WithName("reload"))
			throttler.Call()
			err := throttler.Do(context.Background())
			require.ErrorIs(t, err, throttle.ErrClosed)
			require.ErrorIs(t, err, gone)
			require.EqualError(t, err, "throttle: reload: closed: gone")
			require.NoError(t, throttler.Shutdown(context.Background()))
			requireClosed(t, throttler)
			r.until(10_000)
			require.Empty(t, r.started())
		})
	}
}

func TestThrottler_parentEnds_cause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, end := context.WithTimeout(context.Background(), 100*ms)
		defer end()
		cause := make(chan error, 1)
		r := newRecorder(func(ctx context.Context) error {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return nil
		})
		throttler := r.throttler(t, throttle.Every(time.Second), throttle.WithContext(parent))
		throttler.Call()
		r.until(10)
		do := awaitDo(throttler)
		synctest.Wait()
		shutdown := awaitShutdown(throttler)
		r.until(99)
		require.False(t, do.returned())
		require.False(t, shutdown.returned())
		r.until(100)
		for _, w := range []*waiter{do, shutdown} {
			require.ErrorIs(t, w.result(t), throttle.ErrClosed)
			require.ErrorIs(t, w.result(t), context.DeadlineExceeded)
		}
		require.Equal(t, context.DeadlineExceeded, <-cause)
		require.ErrorIs(t, throttler.Do(context.Background()), context.DeadlineExceeded, "later calls get the cause too")
	})
}

// TestThrottler_parentSlow checks the spacing of a run that enters late: the throttler
// asks the parent context before the callback, and that takes a while.
func TestThrottler_parentSlow(t *testing.T) {
	for _, policy := range []throttle.Policy{throttle.Every(100 * ms), {MaxInterval: 100 * ms, Quiet: time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			parent := &slowContext{Context: context.Background()}
			r := newRecorder()
			throttler := r.throttler(t, policy, throttle.WithContext(parent))
			parent.wait.Store(int64(70 * ms))
			throttler.CallWithin(0)
			r.until(10)
			throttler.Call()
			r.until(260)
			require.Equal(t, []int{70, 170}, r.started())
			require.Equal(t, r.begin.Add(170*ms).UnixNano(), throttler.Stats().LastStart.UnixNano())
		})
	}
}

// A slowContext makes the next call of Err take a while.
type slowContext struct {
	context.Context
	wait atomic.Int64
}

func (c *slowContext) Err() error {
	time.Sleep(time.Duration(c.wait.Swap(0)))
	return c.Context.Err()
}

// An endingContext ends the goroutine that asks for its Err, n times.
type endingContext struct {
	context.Context
	n atomic.Int32
}

func (c *endingContext) Err() error {
	if c.n.Add(-1) >= 0 {
		runtime.Goexit()
	}
	return c.Context.Err()
}

// TestThrottler_parentGoexit lets the parent context end the goroutine of a run. The
// run is over with ErrGoexit, and the throttler works on.
func TestThrottler_parentGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent := &endingContext{Context: t.Context()}
		r := newRecorder()
		throttler := r.throttler(t, throttle.Every(100*ms), throttle.WithContext(parent))
		parent.n.Store(1)
		do := awaitDo(throttler)
		require.ErrorIs(t, do.result(t), throttle.ErrGoexit)
		require.False(t, throttler.Stats().Running)
		throttler.Call()
		r.until(1000)
		require.Equal(t, []int{100}, r.started())
		require.NoError(t, throttler.Shutdown(context.Background()))
	})
}
