package throttle_test

// This file holds how the end of its parent context ends a throttler, in every
// state.

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestParentsEndClosesTheThrottler holds G7 too: once the parent context is done
// no run starts, even for a call that comes before the throttler has noticed.
func TestParentsEndClosesTheThrottler(t *testing.T) {
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
				require.Equal(t, 50, r.elapsed(), "has waited")
				requireClosed(t, throttler)
				r.until(10_000)
				require.Equal(t, state.closed, r.started())
			})
		})
	}
}

func TestParentThatHasEndedAllowsNoRun(t *testing.T) {
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

func TestWaitersAreToldWhyTheParentEnded(t *testing.T) {
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
		require.ErrorIs(t, throttler.Do(context.Background()), context.DeadlineExceeded, "nor later")
	})
}

// TestRunThatEntersLateKeepsItsDistance has the parent context, which is asked
// between a run's start and its callback, take its time.
func TestRunThatEntersLateKeepsItsDistance(t *testing.T) {
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

// A slowContext lets the next to ask whether it has ended wait.
type slowContext struct {
	context.Context
	wait atomic.Int64
}

func (c *slowContext) Err() error {
	time.Sleep(time.Duration(c.wait.Swap(0)))
	return c.Context.Err()
}
