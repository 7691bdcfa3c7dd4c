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

// This file holds tests of what those hear who wait for a run.

var errBroken = errors.New("broken")

// awaited returns what Do returns, once it does.
func awaited(m member) <-chan error {
	done := make(chan error, 1)
	go func() { done <- m.Do(context.Background()) }()
	return done
}

func TestDoReturnsTheErrorOfTheOwnRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		var fail func() error
		m := r.member(throttle.Every(interval), func(context.Context) error { return fail() })
		fail = func() error { return nil }
		require.NoError(t, m.Do(r.Context()))
		fail = func() error { return errBroken }
		require.Equal(t, errBroken, m.Do(r.Context()))
		fail = func() error { panic(errBroken) }
		var panicked *throttle.PanicError
		require.ErrorAs(t, m.Do(r.Context()), &panicked)
		fail = func() error { runtime.Goexit(); return nil }
		require.ErrorIs(t, m.Do(r.Context()), throttle.ErrGoexit)
		assert.Empty(t, r.errors(), "all were taken")
		stats := m.Stats()
		assert.Equal(t, []uint64{4, 3, 1, 4}, []uint64{stats.Runs, stats.Failures, stats.Panics, stats.Calls})
	})
}

// elsewhere has replicas[1] run for a call of replicas[0], and returns what Do returns
// there. The store answers replicas[0] too late for a grant to be of use.
func (r *rig) elsewhere(replicas []member) error {
	replicas[1].Call()
	r.sleep(100 * time.Millisecond)
	replicas[1].Call()
	r.sleep(100 * time.Millisecond)
	done := awaited(replicas[0])
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

func TestDoReturnsTheOutcomeOfAnothersRun(t *testing.T) {
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
				err := r.elsewhere(replicas)
				if name == "success" {
					require.NoError(r, err)
					return
				}
				var remote *fleet.RemoteError
				require.ErrorAs(r, err, &remote)
				assert.Equal(r, r.runs()[1].token, remote.Token)
				assert.Contains(r, remote.Message, "broken")
				assert.True(r, utf8.ValidString(remote.Message) && len(remote.Message) <= 256)
				assert.Len(r, r.errors(), 1, "at the replica that ran, where nobody waited")
			})
		})
	}
}

// The store says that a run has ended as soon as it has, so that those who wait elsewhere
// need not for its lease's end.
func TestDoReturnsWhenAnothersRunEnds(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
			time.Sleep(300 * time.Millisecond)
			return nil
		})
		require.NoError(r, r.elsewhere(replicas))
		assert.Equal(r, 1490*time.Millisecond, r.now())
	})
}

// Another call that is pending by then is none of theirs.
func TestDoReturnsWhenAnothersRunEndsThoughMoreIsPending(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
			time.Sleep(300 * time.Millisecond)
			return nil
		})
		go func() {
			time.Sleep(1300 * time.Millisecond) // within the second run
			replicas[1].Call()
		}()
		require.NoError(r, r.elsewhere(replicas))
		assert.Equal(r, 1490*time.Millisecond, r.now())
	})
}

func TestDoIsServedAnewWhenTheStoreHasForgotten(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		replicas[1].Call()
		r.sleep(100 * time.Millisecond)
		done := awaited(replicas[0])
		r.sleep(100 * time.Millisecond)
		replicas[0].link.cut()
		replicas[1].Call()
		r.sleep(1300 * time.Millisecond)
		require.Len(r, r.runs(), 2, "which covered the call")
		r.store.Wipe()
		replicas[0].link.heal()
		require.NoError(r, <-done)
		require.Len(r, r.runs(), 3)
		_ = r.errors()
	})
}

func TestDoDoesNotTakeALaterOutcomeForItsOwn(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		replicas[1].Call()
		r.sleep(100 * time.Millisecond)
		done := awaited(replicas[0])
		r.sleep(100 * time.Millisecond)
		replicas[0].link.cut()
		replicas[0].Call() // so that it would poll
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

func TestDoEndsWithoutARun(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error { return nil })
		require.ErrorIs(r, m.Do(ended()), context.Canceled)
		r.sleep(interval)
		assert.Empty(r, r.runs(), "an ended context asks for nothing")

		require.NoError(r, m.Do(r.Context()))
		done := awaited(m)
		r.sleep(10 * time.Millisecond)
		assert.True(r, m.Cancel())
		require.ErrorIs(r, <-done, throttle.ErrCanceled)
		assert.False(r, m.Cancel())

		done = awaited(m)
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Millisecond)
		defer cancel()
		require.ErrorIs(r, m.Do(ctx), context.DeadlineExceeded)
		require.NoError(r, m.Close())
		require.ErrorIs(r, <-done, throttle.ErrClosed)
		require.ErrorIs(r, m.Do(r.Context()), throttle.ErrClosed)
		assert.Empty(r, r.errors())
	})
}

func TestDoSaysThatTheStoreCannotBeUsed(t *testing.T) {
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
		assert.Len(r, r.errors(), 1, "the first of a row")

		m.link.heal()
		r.sleep(20 * time.Second)
		assert.Len(r, r.runs(), 1, "the call stands")
	})
}

func TestAnErrorThatNobodyIsLeftToTakeGoesToTheHandler(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error {
			time.Sleep(interval)
			return errBroken
		})
		ctx, cancel := context.WithTimeout(r.Context(), interval/2)
		defer cancel()
		require.ErrorIs(r, m.Do(ctx), context.DeadlineExceeded)
		r.sleep(interval)
		assert.Equal(r, []error{errBroken}, r.errors())
	})
}

func TestDoDoesNotWaitForHooksOnceItsContextHasEnded(t *testing.T) {
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

func TestACallbackDoesNotWaitForItself(t *testing.T) {
	inFleet(t, func(r *rig) {
		var m member
		m = r.member(throttle.Every(interval), func(ctx context.Context) error {
			return errors.Join(m.Do(ctx), m.Shutdown(ctx))
		})
		err := m.Do(r.Context())
		require.ErrorIs(r, err, throttle.ErrReentrant)
		assert.Len(r, strings.Split(err.Error(), "\n"), 2)
		require.ErrorIs(r, m.Do(r.Context()), throttle.ErrReentrant, "it is still open")
	})
}
