package fleet_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

func TestThrottler_Close(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(1, throttle.Every(interval), nil)
		m := replicas[0]
		require.NoError(r, m.Close())
		require.NoError(r, m.Close())
		m.Call()
		r.sleep(10 * time.Second)
		assert.Empty(r, r.runs())
		assert.True(r, m.Stats().Closed)
		require.NoError(r, m.Shutdown(r.Context()))
	})
}

// After Close the throttler sends its finish for some time, and then nothing.
func TestThrottler_Close_Finish(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})
		m.Call()
		r.sleep(100 * time.Millisecond)
		m.link.cut()
		require.NoError(r, m.Close())
		r.sleep(time.Minute)
		sent := m.link.finishes.Load()
		assert.Greater(r, sent, int64(1), "the finish is sent again")
		r.sleep(time.Hour)
		assert.Equal(r, sent, m.link.finishes.Load())
		assert.Empty(r, r.errors(), "no report after Close")
	})
}

// Other replicas run for the calls that the store has registered.
func TestThrottler_Close_PendingCall(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		closeAll(replicas[:1])
		r.sleep(10 * time.Second)
		runs := r.runs()
		require.Len(r, runs, 2)
		assert.Equal(r, 1, runs[1].member)
	})
}

// Another replica repeats a run that Close has interrupted.
func TestThrottler_Close_ActiveRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), func(ctx context.Context) error {
			if len(r.runs()) > 1 {
				return nil
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		closeAll(replicas[:1])
		r.sleep(10 * time.Second)
		assert.Len(r, r.runs(), 2)
	})
}

// A closed replica gives back a grant that was on its way. Otherwise the grant would block the
// key for a lease.
func TestThrottler_Close_Grant(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		r.sleep(interval)
		m.link.on(nil, func(context.Context, string) error {
			time.Sleep(50 * time.Millisecond)
			return nil
		})
		m.Call()
		r.sleep(10 * time.Millisecond)
		require.NoError(r, m.Close())
		r.sleep(interval)
		state := r.state()
		assert.NotZero(r, state.Token)
		assert.Empty(r, state.Owner)
		assert.Empty(r, r.runs())
	})
}

// Close between a grant and the callback gives the grant back.
func TestThrottler_Close_GrantBeforeRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil,
			fleet.WithTracer(func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
				time.Sleep(20 * time.Millisecond)
				return nil, nil
			}))
		r.sleep(interval)
		m.Call()
		r.sleep(10 * time.Millisecond)
		m.Call()
		require.NoError(r, m.Close())
		r.sleep(interval)
		state := r.state()
		assert.NotZero(r, state.Token)
		assert.Empty(r, state.Owner)
		assert.Empty(r, r.runs())
		assert.Empty(r, r.errors())
		assert.False(r, m.Stats().Pending)
	})
}

// Shutdown hands pending calls over to other replicas.
func TestThrottler_Shutdown(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].link.on(func(_ context.Context, op string) error {
			if op == "claim" {
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		}, nil)
		done := startDo(replicas[0])
		r.sleep(time.Millisecond)
		require.NoError(r, replicas[0].Shutdown(r.Context()))
		assert.Equal(r, 120*time.Millisecond, r.now(), "Shutdown returns as soon as the store knows")
		require.ErrorIs(r, <-done, throttle.ErrClosed)
		r.sleep(10 * time.Second)
		runs := r.runs()
		require.Len(r, runs, 2)
		assert.Equal(r, 1, runs[1].member)
	})
}

// A call that comes while a claim is out needs another claim. Shutdown waits for that, too.
func TestThrottler_Shutdown_SecondClaim(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		require.NoError(r, m.Do(r.Context()))
		r.sleep(1050 * time.Millisecond)
		m.link.on(nil, func(context.Context, string) error {
			time.Sleep(60 * time.Millisecond) // until calls no longer join what is pending
			return nil
		})
		m.Call()
		r.sleep(55 * time.Millisecond)
		m.Call()
		require.NoError(r, m.Shutdown(r.Context()))
		state := r.state()
		assert.Equal(r, int64(3), state.Requested+int64(len(r.runs())-1), "the store knows of both calls")
	})
}

// Shutdown waits for the active run and returns its error.
func TestThrottler_Shutdown_ActiveRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(retry(throttle.Backoff{Initial: interval}), func(context.Context) error {
			time.Sleep(3 * time.Second)
			return errBroken
		})
		m.Call()
		r.sleep(interval)
		require.Equal(r, errBroken, m.Shutdown(r.Context()))
		assert.Equal(r, 3*time.Second, r.now())
		assert.Empty(r, r.errors())
		assert.Empty(r, r.state().Owner, "the finish reached the store")
		r.sleep(10 * time.Second)
		assert.Len(r, r.runs(), 1, "its retry is left to other replicas")
	})
}

// Shutdown leaves the next run to other replicas.
func TestThrottler_Shutdown_NextRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error {
			time.Sleep(3 * time.Second)
			return nil
		})
		m.Call()
		r.sleep(interval)
		m.Call()
		r.sleep(interval)
		require.NoError(r, m.Shutdown(r.Context()))
		assert.Len(r, r.runs(), 1)
		state := r.state()
		assert.Greater(r, state.Requested, state.Acknowledged, "a call is pending")
	})
}

// Shutdown waits for the error handler.
func TestThrottler_Shutdown_ErrorHandler(t *testing.T) {
	inFleet(t, func(r *rig) {
		require.NoError(r, r.member(throttle.Every(2*interval), nil).Do(r.Context()))
		var heard time.Duration
		m := r.member(throttle.Every(interval), nil, fleet.WithErrorHandler(func(error) {
			time.Sleep(interval)
			heard = r.now()
		}))
		m.Call()
		r.sleep(10 * time.Millisecond)
		require.NoError(r, m.Shutdown(r.Context()))
		assert.Equal(r, interval, heard)
		assert.Equal(r, heard, r.now())
	})
}

// Shutdown waits for observers and for the engine's Listen.
func TestThrottler_Shutdown_Hooks(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil, fleet.WithObserver(func(throttle.Run) { time.Sleep(interval) }))
		m.Call()
		r.sleep(10 * time.Millisecond)
		require.NoError(r, m.Shutdown(r.Context()))
		assert.Equal(r, interval, r.now())

		m = r.member(throttle.Every(interval), nil)
		r.sleep(10 * time.Millisecond)
		m.link.on(func(_ context.Context, op string) error {
			if op == "unlisten" {
				time.Sleep(interval)
			}
			return nil
		}, nil)
		require.NoError(r, m.Shutdown(r.Context()))
		assert.Equal(r, 2*interval+10*time.Millisecond, r.now())
	})
}

// Shutdown ends with its context.
func TestThrottler_Shutdown_Context(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})
		m.Call()
		r.sleep(10 * time.Millisecond)
		ctx, cancel := context.WithTimeout(r.Context(), interval)
		defer cancel()
		require.Equal(r, context.DeadlineExceeded, m.Shutdown(ctx))
		require.NoError(r, m.Shutdown(r.Context()))
		assert.True(r, m.Stats().Closed)

		m = r.member(throttle.Every(interval), nil)
		m.link.cut()
		m.Call()
		ctx, cancel = context.WithTimeout(r.Context(), interval)
		defer cancel()
		err := m.Shutdown(ctx)
		require.ErrorIs(r, err, context.DeadlineExceeded)
		require.ErrorIs(r, err, fleet.ErrEngineUnavailable)

		m = r.member(throttle.Every(interval), nil)
		require.ErrorIs(r, m.Shutdown(endedContext()), context.Canceled)
		assert.True(r, m.Stats().Closed)
		_ = r.errors()
	})
}

// Shutdown waits for a local run.
func TestThrottler_Shutdown_LocalRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error {
			time.Sleep(3 * time.Second)
			return nil
		}, fleet.RunLocal())
		m.link.cut()
		m.Call()
		r.sleep(interval)
		require.NoError(r, m.Shutdown(r.Context()))
		assert.InDelta(r, 3*time.Second, r.now(), float64(interval/10))
		_ = r.errors()
	})
}
