package fleet_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

const interval = time.Second

// A burst of the fleet makes one run now and one after the interval.
func TestThrottler_Call(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(20, throttle.Every(interval), nil)
		for range 10 {
			for _, m := range replicas {
				m.Call()
			}
		}
		r.sleep(10 * time.Second)
		assert.Equal(r, []time.Duration{0, 1100 * time.Millisecond}, r.times())
		assert.Empty(r, r.errors())
	})
}

// Calls in the window are covered at its end.
func TestThrottler_Call_Window(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(3, throttle.Every(interval), nil)
		replicas[0].Call()
		r.sleep(300 * time.Millisecond)
		for i := range 30 {
			replicas[i%3].Call()
			r.sleep(10 * time.Millisecond)
		}
		r.sleep(10 * time.Second)
		assert.Equal(r, []time.Duration{0, 1100 * time.Millisecond}, r.times())
	})
}

// A call during a run of another replica makes one more run.
func TestThrottler_Call_RemoteRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
			time.Sleep(2500 * time.Millisecond)
			return nil
		})
		replicas[0].Call()
		r.sleep(time.Second)
		replicas[1].Call()
		r.sleep(10 * time.Second)
		assert.Equal(r, []time.Duration{0, 2500 * time.Millisecond}, r.times())
	})
}

// A call during a run of the same replica makes one more run.
func TestThrottler_Call_OwnRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error {
			time.Sleep(500 * time.Millisecond)
			return nil
		})
		m.Call()
		r.sleep(100 * time.Millisecond)
		m.Call()
		r.sleep(10 * time.Second)
		assert.Equal(r, []time.Duration{0, 1100 * time.Millisecond}, r.times())
	})
}

// Another replica runs for the call of a dead replica.
func TestThrottler_Call_DeadCaller(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(3, throttle.Every(interval), nil)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond) // the store gets the call
		replicas[0].link.cut()
		r.sleep(10 * time.Second)
		runs := r.runs()
		require.Len(r, runs, 2)
		assert.NotZero(r, runs[1].member)
		assert.Less(r, runs[1].at, 2*interval, "the poller finds the key within a second")
	})
}

// The poller looks when something is due, not only once a second.
func TestThrottler_Call_DeadCallerSoon(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(1500*time.Millisecond), nil, fleet.WithGuard(100*time.Millisecond))
		require.NoError(r, replicas[0].Do(r.Context()))
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].link.cut()
		r.sleep(5 * time.Second)
		times := r.times()
		require.Len(r, times, 2)
		assert.Less(r, times[1], 2050*time.Millisecond)
	})
}

// The poller finds the last of more due keys than one page has.
func TestThrottler_Call_ManyDueKeys(t *testing.T) {
	inFleet(t, func(r *rig) {
		claim := machine.Claim{ID: "gone", New: true, Age: machine.None, Lease: interval}
		for i := range 1500 {
			_, err := r.store.Claim(r.Context(), "a key before "+strconv.Itoa(i), claim)
			require.NoError(r, err)
		}
		_, err := r.store.Claim(r.Context(), key, claim)
		require.NoError(r, err)
		_ = r.member(throttle.Every(interval), nil)
		r.sleep(5 * time.Second)
		assert.Len(r, r.runs(), 1)
	})
}

// The notice that a key is due reaches all replicas.
func TestThrottler_Call_DueNotice(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(3, throttle.Every(interval), func(context.Context) error {
			time.Sleep(2050 * time.Millisecond)
			return nil
		})
		r.sleep(interval)
		replicas[0].Call()
		r.sleep(interval)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].link.on(nil, func(_ context.Context, op string) error {
			if op == "finish" {
				replicas[0].link.cut()
			}
			return nil
		})
		r.sleep(10 * time.Second)
		times := r.times()
		require.Len(r, times, 2)
		assert.LessOrEqual(r, times[1]-times[0], 2150*time.Millisecond, "within the guard after the end of the first run")
		_ = r.errors()
	})
}

// Another replica repeats the run of a dead replica after its lease.
func TestThrottler_Call_DeadHolder(t *testing.T) {
	inFleet(t, func(r *rig) {
		stuck := make(chan struct{})
		var once sync.Once
		replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
			gone := false
			once.Do(func() { gone = true })
			if gone {
				<-stuck
				r.mu.Lock()
				r.active++ // undoes the decrement below
				r.mu.Unlock()
			}
			return nil
		}, shortLease()...)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].link.cut()
		r.mu.Lock()
		r.active-- // a dead process does not overlap
		r.mu.Unlock()
		r.sleep(10 * time.Second)
		runs := r.runs()
		require.Len(r, runs, 2)
		assert.NotEqual(r, runs[0].member, runs[1].member)
		assert.Greater(r, runs[1].token, runs[0].token)
		assert.GreaterOrEqual(r, runs[1].at, 3*time.Second)
		close(stuck)
		r.sleep(time.Second)
		_ = r.errors()
	})
}

// A replica planned to poll at the end of another's lease. If the other's run ends early, it
// polls earlier.
func TestThrottler_Call_EarlyEnd(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
			time.Sleep(300 * time.Millisecond)
			return nil
		})
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[1].Call()
		r.sleep(300 * time.Millisecond)
		replicas[0].link.cut()
		r.sleep(10 * time.Second)
		assert.Equal(r, []time.Duration{0, 1100 * time.Millisecond}, r.times())
	})
}

// A replica without calls sends no claims.
func TestThrottler_Call_IdleReplica(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		r.sleep(interval) // the store's time is known
		for range 10 {
			replicas[0].Call()
			r.sleep(2 * interval)
		}
		assert.Len(r, r.runs(), 10)
		assert.Zero(r, replicas[1].link.claims.Load())
	})
}

// A long run keeps its lease.
func TestThrottler_Call_LongRun(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(3, throttle.Every(interval), func(context.Context) error {
			time.Sleep(20 * time.Second)
			return nil
		}, shortLease()...)
		replicas[0].Call()
		for range 9 {
			r.sleep(2 * time.Second)
			replicas[1].Call()
		}
		assert.Len(r, r.runs(), 1)
		r.sleep(30 * time.Second)
		assert.Len(r, r.runs(), 2)
		assert.Empty(r, r.errors())
	})
}

func TestThrottler_Call_Messages(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		cost := func() [2]int64 { return [2]int64{m.link.claims.Swap(0), m.link.finishes.Swap(0)} }
		r.sleep(500 * time.Millisecond) // the store's time is known
		m.Call()
		r.sleep(100 * time.Millisecond)
		assert.Equal(r, [2]int64{1, 1}, cost(), "an immediate run")
		m.Call()
		r.sleep(100 * time.Millisecond)
		assert.Equal(r, [2]int64{1, 0}, cost(), "a call in the window")
		for range 1000 {
			m.Call()
			r.sleep(100 * time.Microsecond)
		}
		assert.Equal(r, [2]int64{}, cost(), "calls that join that call")
		r.sleep(2 * time.Second)
		assert.Equal(r, [2]int64{1, 1}, cost(), "its run")
	})
}

// Cancel does not drop the call of another replica.
func TestThrottler_Cancel(t *testing.T) {
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

// Cancel stops the retry of an active run.
func TestThrottler_Cancel_ActiveRun(t *testing.T) {
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
