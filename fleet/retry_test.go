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

// A failed run is repeated with the backoff.
func TestThrottler_Retry(t *testing.T) {
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

// Another replica makes the retry of a dead replica.
func TestThrottler_Retry_DeadReplica(t *testing.T) {
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

// Calls do not shorten the delay of a retry: it closes the window for all replicas.
func TestThrottler_Retry_Window(t *testing.T) {
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

// After MaxAttempts a run is not repeated.
func TestThrottler_Retry_MaxAttempts(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(retry(throttle.Backoff{Initial: 2 * time.Second, MaxAttempts: 2}), failing(100))
		m.Call()
		r.sleep(3 * time.Second)
		assert.Len(r, r.runs(), 2)
		m.Call()
		r.sleep(500 * time.Millisecond)
		assert.Len(r, r.runs(), 2, "the delay of the last failure still applies")
		r.sleep(20 * time.Second)
		assert.Len(r, r.runs(), 4, "the count starts again")
	})
}

func TestThrottler_RetryIn(t *testing.T) {
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

// RetryIn is neither a failure nor a success.
func TestThrottler_RetryIn_Attempts(t *testing.T) {
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

// A panic with RetryIn is a failure.
func TestThrottler_RetryIn_Panic(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error { panic(throttle.RetryIn(interval)) })
		m.Call()
		r.sleep(time.Minute)
		assert.Len(r, r.runs(), 1)
		_ = r.errors()
	})
}

// A delay that is longer than a store accepts is cut.
func TestThrottler_RetryIn_Long(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error { return throttle.RetryIn(1<<63 - 1) })
		require.Error(r, m.Do(r.Context()))
		r.sleep(interval)
		assert.Empty(r, r.state().Owner)
		assert.Empty(r, r.errors())
	})
}

// RetryIn(0) keeps the interval.
func TestThrottler_RetryIn_Zero(t *testing.T) {
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

// Without a backoff, a failed run is not repeated.
func TestThrottler_Retry_None(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), failing(100))
		m.Call()
		r.sleep(20 * time.Second)
		assert.Len(r, r.runs(), 1)
		assert.Equal(r, []error{errBroken}, r.errors())
	})
}

// A RetryIn asks only for the run whose callback returned it. What Do returns of it asks for
// nothing.
func TestThrottler_RetryIn_Inherited(t *testing.T) {
	inFleet(t, func(r *rig) {
		inner := r.member(throttle.Every(interval), func(context.Context) error { return throttle.RetryIn(time.Hour) })
		var outer throttle.Run
		th := throttle.Must(throttle.New(throttle.Policy{}, inner.Do,
			throttle.WithObserver(func(run throttle.Run) { outer = run })))
		defer th.Close()
		err := th.Do(r.Context())
		var retry *throttle.RetryError
		require.ErrorAs(r, err, &retry)
		assert.Equal(r, throttle.ResultFailure, outer.Result)
	})
}
