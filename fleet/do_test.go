package fleet_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

var errBroken = errors.New("broken")

// startDo starts a Do, and returns a channel that gets its result.
func startDo(m member) <-chan error {
	done := make(chan error, 1)
	go func() { done <- m.Do(context.Background()) }()
	return done
}

// Do returns the error of a run of the same replica.
func TestThrottler_Do(t *testing.T) {
	inFleet(t, func(r *rig) {
		var fail func() error
		m := r.member(throttle.Every(interval), func(context.Context) error { return fail() })
		fail = func() error { return nil }
		require.NoError(r, m.Do(r.Context()))
		fail = func() error { return errBroken }
		require.Equal(r, errBroken, m.Do(r.Context()))
		fail = func() error { panic(errBroken) }
		var panicked *throttle.PanicError
		require.ErrorAs(r, m.Do(r.Context()), &panicked)
		fail = func() error { runtime.Goexit(); return nil }
		require.ErrorIs(r, m.Do(r.Context()), throttle.ErrGoexit)
		assert.Empty(r, r.errors(), "every error went to a Do")
		stats := m.Stats()
		assert.Equal(r, []uint64{4, 3, 1, 4}, []uint64{stats.Runs, stats.Failures, stats.Panics, stats.Calls})
	})
}

// remoteRun makes replicas[1] run for a call of replicas[0], and returns what Do returns
// there. The store answers replicas[0] too late for a grant to be of use.
func (r *rig) remoteRun(replicas []member) error {
	replicas[1].Call()
	r.sleep(100 * time.Millisecond)
	replicas[1].Call()
	r.sleep(100 * time.Millisecond)
	done := startDo(replicas[0])
	r.sleep(100 * time.Millisecond)
	replicas[0].link.on(func(_ context.Context, op string) error {
		if op == "claim" {
			time.Sleep(90 * time.Millisecond)
		}
		return nil
	}, nil)
	err := <-done
	runs := r.runs()
	require.Len(r, runs, 2)
	require.Equal(r, 1, runs[1].member)
	return err
}

// Do returns the outcome of a run of another replica.
func TestThrottler_Do_RemoteOutcome(t *testing.T) {
	for name, fail := range map[string]func() error{
		"success": func() error { return nil },
		"failure": func() error { return errors.New("broken \xff\x00" + strings.Repeat("é", 300)) },
		"panic":   func() error { panic("broken") },
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(r *rig) {
				second := false
				replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
					if !second {
						second = true
						return nil
					}
					time.Sleep(100 * time.Millisecond)
					return fail()
				})
				err := r.remoteRun(replicas)
				if name == "success" {
					require.NoError(r, err)
					return
				}
				var remote *fleet.RemoteError
				require.ErrorAs(r, err, &remote)
				assert.Equal(r, r.runs()[1].token, remote.Token)
				assert.Contains(r, remote.Message, "broken")
				assert.True(r, utf8.ValidString(remote.Message) && len(remote.Message) <= 256)
				assert.Len(r, r.errors(), 1, "at the replica that ran, where no Do waited")
			})
		})
	}
}

// The store reports the end of a run at once, so a Do elsewhere need not wait until the lease
// ends.
func TestThrottler_Do_RemoteEnd(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
			time.Sleep(300 * time.Millisecond)
			return nil
		})
		require.NoError(r, r.remoteRun(replicas))
		assert.Equal(r, 1490*time.Millisecond, r.now())
	})
}

// The same holds if another call is pending when the run ends.
func TestThrottler_Do_RemoteEndWhilePending(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
			time.Sleep(300 * time.Millisecond)
			return nil
		})
		go func() {
			time.Sleep(1300 * time.Millisecond) // within the second run
			replicas[1].Call()
		}()
		require.NoError(r, r.remoteRun(replicas))
		assert.Equal(r, 1490*time.Millisecond, r.now())
	})
}

// If the store has lost the run that covered the call, another run follows.
func TestThrottler_Do_WipedStore(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		replicas[1].Call()
		r.sleep(100 * time.Millisecond)
		done := startDo(replicas[0])
		r.sleep(100 * time.Millisecond)
		replicas[0].link.cut()
		replicas[1].Call()
		r.sleep(1300 * time.Millisecond)
		require.Len(r, r.runs(), 2, "the second run covered the call")
		r.store.Wipe()
		replicas[0].link.heal()
		require.NoError(r, <-done)
		require.Len(r, r.runs(), 3)
		_ = r.errors()
	})
}

// Do does not return the outcome of a later run.
func TestThrottler_Do_LaterOutcome(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		replicas[1].Call()
		r.sleep(100 * time.Millisecond)
		done := startDo(replicas[0])
		r.sleep(100 * time.Millisecond)
		replicas[0].link.cut()
		replicas[0].Call() // makes it poll
		replicas[1].Call()
		r.sleep(1300 * time.Millisecond)
		replicas[1].Call()
		r.sleep(1300 * time.Millisecond)
		require.Len(r, r.runs(), 3)
		replicas[0].link.heal()
		require.ErrorIs(r, <-done, fleet.ErrOutcomeUnknown)
		_ = r.errors()
	})
}

// Do returns without a run if its context, Cancel or Close ends the wait.
func TestThrottler_Do_NoRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error { return nil })
		require.ErrorIs(r, m.Do(endedContext()), context.Canceled)
		r.sleep(interval)
		assert.Empty(r, r.runs(), "with an ended context, Do makes no call")

		require.NoError(r, m.Do(r.Context()))
		done := startDo(m)
		r.sleep(10 * time.Millisecond)
		assert.True(r, m.Cancel())
		require.ErrorIs(r, <-done, throttle.ErrCanceled)
		assert.False(r, m.Cancel())

		done = startDo(m)
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Millisecond)
		defer cancel()
		require.ErrorIs(r, m.Do(ctx), context.DeadlineExceeded)
		require.NoError(r, m.Close())
		require.ErrorIs(r, <-done, throttle.ErrClosed)
		require.ErrorIs(r, m.Do(r.Context()), throttle.ErrClosed)
		assert.Empty(r, r.errors())
	})
}

// The error of a Do contains the engine's error if the store cannot be used.
func TestThrottler_Do_Unavailable(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		m.link.cut()
		ctx, cancel := context.WithTimeout(r.Context(), interval)
		defer cancel()
		err := m.Do(ctx)
		require.ErrorIs(r, err, context.DeadlineExceeded)
		require.ErrorIs(r, err, fleet.ErrEngineUnavailable)
		require.ErrorIs(r, err, errCut)
		var engine *fleet.EngineError
		require.ErrorAs(r, err, &engine)
		assert.Equal(r, []string{"claim", key}, []string{engine.Op, engine.Key})
		assert.Len(r, r.errors(), 1, "only the first error in a row")

		m.link.heal()
		r.sleep(20 * time.Second)
		assert.Len(r, r.runs(), 1, "the call stands")
	})
}

// A Do whose context has ended does not wait for observers.
func TestThrottler_Do_SlowObserver(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error { return errBroken },
			fleet.WithObserver(func(throttle.Run) { time.Sleep(interval) }))
		ctx, cancel := context.WithTimeout(r.Context(), interval/2)
		defer cancel()
		require.Equal(r, errBroken, m.Do(ctx))
		assert.Equal(r, interval/2, r.now())
		assert.Empty(r, r.errors())
	})
}

// The callback cannot wait for its own run.
func TestThrottler_Do_Reentrant(t *testing.T) {
	inFleet(t, func(r *rig) {
		var m member
		m = r.member(throttle.Every(interval), func(ctx context.Context) error {
			return errors.Join(m.Do(ctx), m.Shutdown(ctx))
		})
		err := m.Do(r.Context())
		require.ErrorIs(r, err, throttle.ErrReentrant)
		assert.Len(r, strings.Split(err.Error(), "\n"), 2)
		require.ErrorIs(r, m.Do(r.Context()), throttle.ErrReentrant, "the throttler is still open")
	})
}
