package fleet_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// This file holds tests of runs that fail.

// failing returns a callback that fails the first n times.
func failing(n int) func(context.Context) error {
	return func(context.Context) error {
		n--
		if n >= 0 {
			return errBroken
		}
		return nil
	}
}

func retry(b throttle.Backoff) throttle.Policy {
	return throttle.Policy{Interval: interval, Retry: b}
}

func TestAFailedRunIsRepeatedWithTheBackoff(t *testing.T) {
	inFleet(t, func(r *rig) {
		var attempts []string
		m := r.member(retry(throttle.Backoff{Initial: 2 * time.Second, Max: 5 * time.Second}), failing(3),
			fleet.WithObserver(func(run throttle.Run) {
				attempts = append(attempts, fmt.Sprint(run.Cause, run.Attempt))
			}))
		m.Call()
		r.sleep(time.Minute)
		s := time.Second
		assert.Equal(r, []time.Duration{0, 2 * s, 6 * s, 11 * s}, r.times())
		assert.Equal(r, []string{"call1", "retry2", "retry3", "retry4"}, attempts)
		assert.Len(r, r.errors(), 3)
	})
}

func TestARetryOfAReplicaThatIsGoneIsMadeByAnother(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, retry(throttle.Backoff{Initial: 5 * time.Second}), failing(1))
		replicas[0].Call()
		r.sleep(interval)
		replicas[0].link.cut()
		r.sleep(10 * time.Second)
		runs := r.runs()
		require.Len(r, runs, 2)
		assert.Equal(r, 1, runs[1].member)
		assert.GreaterOrEqual(r, runs[1].at, 5*time.Second)
	})
}

// The delay closes the window for all.
func TestCallsDoNotShortenTheDelayOfARetry(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, retry(throttle.Backoff{Initial: 5 * time.Second}), failing(1))
		replicas[0].Call()
		for range 60 {
			r.sleep(100 * time.Millisecond)
			replicas[1].Call()
		}
		times := r.times()
		assert.GreaterOrEqual(r, times[1], 5*time.Second)
		assert.Less(r, times[1], 5200*time.Millisecond)
	})
}

func TestAfterMaxAttemptsNoneIsRepeated(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(retry(throttle.Backoff{Initial: 2 * time.Second, MaxAttempts: 2}), failing(100))
		m.Call()
		r.sleep(3 * time.Second)
		assert.Len(r, r.runs(), 2)
		m.Call()
		r.sleep(500 * time.Millisecond)
		assert.Len(r, r.runs(), 2, "the delay of the last failure still holds")
		r.sleep(20 * time.Second)
		assert.Len(r, r.runs(), 4, "and the count starts anew")
	})
}

func TestRetryIn(t *testing.T) {
	inFleet(t, func(r *rig) {
		again := true
		m := r.member(throttle.Every(interval), func(context.Context) error {
			if again {
				again = false
				return fmt.Errorf("busy: %w", throttle.RetryIn(7*time.Second))
			}
			return nil
		})
		require.ErrorContains(r, m.Do(r.Context()), "busy")
		r.sleep(20 * time.Second)
		assert.Equal(r, []time.Duration{0, 7 * time.Second}, r.times())
		assert.Zero(r, m.Stats().Failures)
	})
}

func TestRetryInIsNeitherFailureNorSuccess(t *testing.T) {
	inFleet(t, func(r *rig) {
		results := []error{errBroken, throttle.RetryIn(interval), errBroken, nil}
		var attempts []int
		m := r.member(retry(throttle.Backoff{Initial: interval}), func(context.Context) error {
			return results[len(r.runs())-1]
		}, fleet.WithObserver(func(run throttle.Run) { attempts = append(attempts, run.Attempt) }))
		m.Call()
		r.sleep(time.Minute)
		assert.Equal(r, []int{1, 2, 2, 3}, attempts)
		_ = r.errors()
	})
}

func TestToPanicWithRetryInIsAFailure(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error { panic(throttle.RetryIn(interval)) })
		m.Call()
		r.sleep(time.Minute)
		assert.Len(r, r.runs(), 1)
		_ = r.errors()
	})
}

// Longer than a store takes.
func TestRetryInSomeAges(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error { return throttle.RetryIn(1<<63 - 1) })
		require.Error(r, m.Do(r.Context()))
		r.sleep(interval)
		assert.Empty(r, r.store.State(key).Owner)
		assert.Empty(r, r.errors())
	})
}

func TestRetryInAtOnceKeepsTheInterval(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error {
			if len(r.runs()) == 1 {
				return throttle.RetryIn(0)
			}
			return nil
		})
		m.Call()
		r.sleep(20 * time.Second)
		assert.Equal(r, []time.Duration{0, 1100 * time.Millisecond}, r.times())
		_ = r.errors()
	})
}

func TestWithoutBackoffAnErrorIsTheEndOfIt(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), failing(100))
		m.Call()
		r.sleep(20 * time.Second)
		assert.Len(r, r.runs(), 1)
		assert.Equal(r, []error{errBroken}, r.errors())
	})
}

func TestCancelStopsTheRetryOfAnActiveRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(retry(throttle.Backoff{Initial: interval}), func(context.Context) error {
			time.Sleep(interval)
			return errBroken
		})
		m.Call()
		r.sleep(interval / 2)
		m.Cancel()
		r.sleep(20 * time.Second)
		assert.Len(r, r.runs(), 1)
		_ = r.errors()
	})
}

func TestCancelDropsNoOtherReplicasCall(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[1].Call()
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		assert.True(r, replicas[0].Cancel())
		assert.False(r, replicas[0].Stats().Pending)
		r.sleep(10 * time.Second)
		assert.Len(r, r.runs(), 2)
	})
}

func TestSetPolicyHoldsFromTheNextGrant(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(10*time.Second), nil, fleet.WithGuard(100*time.Millisecond))
		m.Call()
		r.sleep(100 * time.Millisecond)
		require.NoError(r, m.SetPolicy(throttle.Every(interval)))
		assert.Equal(r, throttle.Every(interval), m.Policy())
		for range 130 {
			m.Call()
			r.sleep(100 * time.Millisecond)
		}
		times := r.times()
		assert.Equal(r, 10100*time.Millisecond, times[1], "of the first grant")
		assert.Equal(r, 1100*time.Millisecond, times[2]-times[1])

		var wrong *throttle.PolicyError
		require.ErrorAs(r, m.SetPolicy(throttle.Debounce(1, 0)), &wrong)
		require.NoError(r, m.Close())
		require.ErrorIs(r, m.SetPolicy(throttle.Every(interval)), throttle.ErrClosed)
	})
}

func TestAPanicIsToldWithItsStack(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error { panic(errBroken) })
		m.Call()
		r.sleep(interval)
		told := r.errors()
		require.Len(r, told, 1)
		var panicked *throttle.PanicError
		require.ErrorAs(r, told[0], &panicked)
		assert.NotEmpty(r, panicked.Stack)
		require.ErrorIs(r, told[0], errBroken)
		m.Call()
		r.sleep(10 * time.Second)
		assert.Len(r, r.runs(), 2, "it works on")
	})
}
