package fleet_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// A call is kept while the store cannot be reached.
func TestThrottler_Unavailable(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		m.link.cut()
		m.Call()
		r.sleep(time.Minute)
		assert.Empty(r, r.runs())
		assert.True(r, m.Stats().Pending)
		reported := r.errors()
		require.Len(r, reported, 1)
		require.ErrorIs(r, reported[0], fleet.ErrEngineUnavailable)
		assert.Equal(r, "throttle: index: claim: link is cut", reported[0].Error())
		assert.Less(r, m.link.claims.Load(), int64(20), "attempts become rare")

		m.link.heal()
		r.sleep(2 * time.Second)
		assert.Len(r, r.runs(), 1, "a run starts soon after the store is back")
		assert.False(r, m.Stats().Pending)
		assert.Empty(r, r.errors())
	})
}

// A lost reply does not make a second run.
func TestThrottler_LostReply(t *testing.T) {
	for _, op := range []string{"claim", "finish"} {
		inFleet(t, func(r *rig) {
			m := r.member(throttle.Every(interval), nil)
			r.sleep(interval)
			var lost atomic.Bool
			m.link.on(nil, func(_ context.Context, of string) error {
				if of == op && !lost.Swap(true) {
					return errCut
				}
				return nil
			})
			m.Call()
			r.sleep(20 * time.Second)
			assert.Len(r, r.runs(), 1, op)
			assert.Len(r, r.errors(), 1, op)
			assert.False(r, m.Stats().Pending)
		})
	}
}

// A claim is sent again unchanged. If its reply was lost, it may have been granted: a claim with
// another identifier would have to wait until that lease ends.
func TestThrottler_LostReply_SameClaim(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil, fleet.WithGuard(20*time.Millisecond))
		r.sleep(interval)
		var lost atomic.Int64
		m.link.on(nil, func(_ context.Context, op string) error {
			if op == "claim" && lost.Add(1) == 1 {
				return errCut
			}
			return nil
		})
		m.Call()
		r.sleep(100 * time.Millisecond)
		assert.Len(r, r.runs(), 1)
		assert.Equal(r, int64(1), r.state().Acknowledged)
		_ = r.errors()
	})
}

// A grant that comes too late is given back.
func TestThrottler_LateGrant(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil, shortLease()...)
		r.sleep(interval)
		m.link.on(nil, func(_ context.Context, op string) error {
			if op == "claim" {
				time.Sleep(99 * time.Millisecond)
				m.link.heal()
				time.Sleep(2 * time.Millisecond)
			}
			return nil
		})
		m.Call()
		r.sleep(150 * time.Millisecond)
		assert.Empty(r, r.runs())
		reported := r.errors()
		require.Len(r, reported, 1)
		require.ErrorIs(r, reported[0], fleet.ErrLate)
		r.sleep(5 * time.Second)
		assert.Len(r, r.runs(), 1, "the call is kept")
		assert.Equal(r, uint64(1), m.Stats().Runs)
	})
}

// It is no error if the store has lost a grant that is given back.
func TestThrottler_LateGrant_Wiped(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil, shortLease()...)
		r.sleep(interval)
		m.link.on(nil, func(_ context.Context, op string) error {
			if op == "claim" {
				m.link.heal()
				time.Sleep(interval / 2)
				r.store.Wipe()
			}
			return nil
		})
		m.Call()
		r.sleep(5 * time.Second)
		assert.Len(r, r.runs(), 1)
		reported := r.errors()
		require.Len(r, reported, 1)
		require.ErrorIs(r, reported[0], fleet.ErrLate)
	})
}

// The first attempt may take as long as the guard.
func TestThrottler_Timeout_Guard(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(10*time.Second), nil, fleet.WithGuard(3*time.Second))
		r.sleep(interval)
		m.link.on(slow(2*time.Second), nil)
		m.Call()
		r.sleep(interval)
		m.link.heal()
		r.sleep(interval)
		assert.Len(r, r.runs(), 1)
		assert.Empty(r, r.errors())
	})
}

// slow makes operations take d, unless their context ends before.
func slow(d time.Duration) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return nil
		}
	}
}

// A later attempt may take longer.
func TestThrottler_Timeout_Later(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		m.link.on(slow(2*time.Second), nil)
		m.Call()
		r.sleep(5 * time.Second)
		assert.Equal(r, int64(1), r.state().Requested)
		_ = r.errors()
	})
}

// A claim is not sent again for ever. The store forgets its identifier in the end, and would then
// make a run for nobody.
func TestThrottler_Resend(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		r.sleep(interval)
		m.link.on(nil, func(context.Context, string) error { return errCut })
		m.Call()
		r.sleep(2 * time.Minute)
		m.link.heal()
		r.sleep(time.Minute)
		assert.Greater(r, len(m.link.sent), 5)
		for id, times := range m.link.sent {
			assert.Less(r, times[len(times)-1]-times[0], machine.KeepIDs, id)
		}
		_ = r.errors()
	})
}

// A store that answers too slowly is reported, and not polled all the time.
func TestThrottler_SlowStore(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil, fleet.WithGuard(10*time.Millisecond))
		m.link.on(func(context.Context, string) error {
			time.Sleep(20 * time.Millisecond)
			return nil
		}, func(context.Context, string) error {
			time.Sleep(20 * time.Millisecond)
			return nil
		})
		m.Call()
		r.sleep(10 * time.Second)
		assert.Empty(r, r.runs())
		reported := r.errors()
		require.NotEmpty(r, reported)
		require.ErrorIs(r, reported[0], fleet.ErrLate)
		assert.Less(r, m.link.claims.Load(), int64(100), "polls become rare")
	})
}

// A wiped store costs at most one run.
func TestThrottler_Wipe(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(3, throttle.Every(interval), nil)
		replicas[0].Call()
		r.sleep(300 * time.Millisecond)
		replicas[1].Call()
		r.sleep(300 * time.Millisecond)
		r.store.Wipe()
		r.sleep(10 * time.Second)
		assert.Len(r, r.runs(), 2, "its replica registers the call again")
		for _, m := range replicas {
			assert.False(r, m.Stats().Pending)
		}
	})
}

// Tokens rise although the store has lost its state.
func TestToken_Wipe(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		require.NoError(r, m.Do(r.Context()))
		r.store.Step(-time.Hour)
		r.store.Wipe()
		require.NoError(r, m.Do(r.Context()))
		runs := r.runs()
		assert.Greater(r, runs[1].token, runs[0].token)
	})
}

// A step of the store's clock stalls no run, and makes at most one run early.
func TestThrottler_ClockStep(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		inFleet(t, func(r *rig) {
			replicas := r.members(2, throttle.Every(interval), nil)
			var last time.Duration
			for i := range 40 {
				last = r.now()
				replicas[i%2].Call()
				r.sleep(200 * time.Millisecond)
				if i == 20 {
					r.store.Step(step)
				}
			}
			r.sleep(5 * time.Second)
			times, early := r.times(), 0
			for i := 1; i < len(times); i++ {
				d := times[i] - times[i-1]
				assert.Less(r, d, 3*interval, "no stall")
				if d < interval {
					early++
				}
			}
			assert.GreaterOrEqual(r, times[len(times)-1], last)
			assert.LessOrEqual(r, early, 1)
			if step < 0 {
				assert.Zero(r, early)
			}
		})
	}
}

// A step back does not stall the call of a dead replica, although the index is from before the
// step.
func TestThrottler_ClockStep_DeadCaller(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		require.NoError(r, replicas[0].Do(r.Context()))
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].link.cut()
		r.store.Step(-time.Hour)
		r.sleep(10 * time.Second)
		times := r.times()
		require.Len(r, times, 2)
		assert.Less(r, times[1], 5*time.Second)
	})
}

// A run that loses its lease is canceled.
func TestThrottler_LostLease(t *testing.T) {
	inFleet(t, func(r *rig) {
		var cause error
		m := r.member(throttle.Every(interval), func(ctx context.Context) error {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return cause
		}, shortLease()...)
		m.Call()
		r.sleep(interval)
		m.link.cut()
		r.sleep(10 * time.Second)
		require.ErrorIs(r, cause, fleet.ErrLeaseLost)
		assert.Len(r, r.runs(), 1)
		m.link.heal()
		r.sleep(3 * time.Second)
		assert.Len(r, r.runs(), 2, "another run does its work")
		_ = r.errors()
	})
}

// A wipe of the store cancels a run at its next renewal.
func TestThrottler_LostLease_Wipe(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		}, shortLease()...)
		m.Call()
		r.sleep(interval)
		r.store.Wipe()
		r.sleep(2 * time.Second)
		reported := r.errors()
		require.Len(r, reported, 1)
		assert.ErrorIs(r, reported[0], fleet.ErrLeaseLost, "its finish is stale")
	})
}

// Local runs keep the interval of their replica.
func TestRunLocal(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(ctx context.Context) error {
			_, ok := fleet.Token(ctx)
			if r.now() < 20*time.Second && ok {
				r.Error("a run without a grant has a token")
			}
			return nil
		}, fleet.RunLocal())
		m.link.cut()
		var last time.Duration
		for r.now() < 20*time.Second {
			last = r.now()
			m.Call()
			r.sleep(70 * time.Millisecond)
		}
		m.link.heal()
		r.sleep(10 * time.Second)
		times := r.times()
		assert.InDelta(r, 20, len(times), 2)
		for i := 1; i < len(times); i++ {
			assert.GreaterOrEqual(r, times[i]-times[i-1], interval)
		}
		assert.GreaterOrEqual(r, times[len(times)-1], last)
		assert.Len(r, r.errors(), 1)
	})
}

// A local run covers calls that Shutdown cannot hand over.
func TestRunLocal_Shutdown(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil, fleet.RunLocal())
		require.NoError(r, m.Do(r.Context()))
		r.sleep(10 * time.Millisecond) // the store knows that it has ended
		m.link.cut()
		m.Call()
		require.NoError(r, m.Shutdown(r.Context()))
		assert.Equal(r, []time.Duration{0, interval}, r.times())
		_ = r.errors()
	})
}

// A failed local run is repeated.
func TestRunLocal_Retry(t *testing.T) {
	inFleet(t, func(r *rig) {
		failures := 2
		m := r.member(throttle.Policy{Interval: interval, Retry: throttle.Backoff{Initial: interval}},
			func(context.Context) error {
				failures--
				if failures >= 0 {
					return errBroken
				}
				return nil
			}, fleet.RunLocal())
		m.link.cut()
		m.Call()
		r.sleep(20 * time.Second)
		assert.Len(r, r.runs(), 3)
		_ = r.errors()
	})
}

// There is no local run if the store answers with an error.
func TestRunLocal_ReachableStore(t *testing.T) {
	for _, err := range []error{&fleet.StateError{Key: key, Reason: "garbage"}, fleet.ErrNotDurable} {
		inFleet(t, func(r *rig) {
			m := r.member(throttle.Every(interval), nil, fleet.RunLocal())
			m.link.on(func(context.Context, string) error { return err }, nil)
			m.Call()
			r.sleep(20 * time.Second)
			assert.Empty(r, r.runs())
			reported := r.errors()
			require.Len(r, reported, 1)
			require.ErrorIs(r, reported[0], err)
			require.NotErrorIs(r, reported[0], fleet.ErrEngineUnavailable)
		})
	}
}

// Replicas with different policies report it, and continue to work.
func TestThrottler_Mismatch(t *testing.T) {
	inFleet(t, func(r *rig) {
		a := r.member(throttle.Every(interval), nil)
		b := r.member(throttle.Policy{Interval: 2 * interval, Quiet: interval / 10, MaxWait: interval}, nil)
		for range 100 {
			a.Call()
			b.Call()
			r.sleep(100 * time.Millisecond)
		}
		times := r.times()
		assert.Greater(r, len(times), 4)
		var mismatch *fleet.MismatchError
		reported := r.errors()
		require.NotEmpty(r, reported)
		require.ErrorAs(r, reported[0], &mismatch)
		assert.Contains(r, mismatch.Own+mismatch.Other, "interval 1s")
		assert.Contains(r, mismatch.Own+mismatch.Other, "interval 2s")
		assert.Contains(r, mismatch.Own+mismatch.Other, "quiet 100ms, max wait 1s")
		assert.LessOrEqual(r, len(reported), len(times))
	})
}

// A key that is forgotten while a call is pending still runs, with a higher token.
func TestEngine_Forget(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		require.NoError(r, replicas[0].Do(r.Context()))
		replicas[0].Call()
		r.sleep(interval / 2)
		require.NoError(r, r.store.Forget(r.Context(), key))
		r.sleep(3 * interval)
		runs := r.runs()
		require.Len(r, runs, 2)
		assert.Greater(r, runs[1].token, runs[0].token)
	})
}
