package fleet_test

import (
	"context"
	"math/rand/v2"
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

// This file holds tests of when a fleet runs.

const interval = time.Second

func TestABurstOfTheFleetMakesOneRunNowAndOneAfterTheInterval(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(20, throttle.Every(interval), nil)
		for range 10 {
			for _, m := range replicas {
				m.Call()
			}
		}
		r.sleep(10 * time.Second)
		assert.Equal(t, []time.Duration{0, 1100 * time.Millisecond}, r.times())
		assert.Empty(t, r.errors())
	})
}

func TestCallsInTheWindowAreCoveredAtItsEnd(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(3, throttle.Every(interval), nil)
		replicas[0].Call()
		r.sleep(300 * time.Millisecond)
		for i := range 30 {
			replicas[i%3].Call()
			r.sleep(10 * time.Millisecond)
		}
		r.sleep(10 * time.Second)
		assert.Equal(t, []time.Duration{0, 1100 * time.Millisecond}, r.times())
	})
}

func TestACallDuringAnotherReplicasRunMakesOneMore(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
			time.Sleep(2500 * time.Millisecond)
			return nil
		})
		replicas[0].Call()
		r.sleep(time.Second)
		replicas[1].Call()
		r.sleep(10 * time.Second)
		assert.Equal(t, []time.Duration{0, 2500 * time.Millisecond}, r.times())
	})
}

func TestACallDuringTheOwnRunMakesOneMore(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error {
			time.Sleep(500 * time.Millisecond)
			return nil
		})
		m.Call()
		r.sleep(100 * time.Millisecond)
		m.Call()
		r.sleep(10 * time.Second)
		assert.Equal(t, []time.Duration{0, 1100 * time.Millisecond}, r.times())
	})
}

func TestTheCallOfAReplicaThatIsGoneIsRunByAnother(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(3, throttle.Every(interval), nil)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond) // the store knows
		replicas[0].link.cut()
		r.sleep(10 * time.Second)
		runs := r.runs()
		require.Len(t, runs, 2)
		assert.NotZero(t, runs[1].member)
		assert.Less(t, runs[1].at, 2*interval, "within the poller's time after the interval")
	})
}

// The poller looks when something is due, not only once in a second.
func TestTheCallOfAReplicaThatIsGoneIsRunSoonAfterItIsDue(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(1500*time.Millisecond), nil, fleet.WithGuard(100*time.Millisecond))
		require.NoError(t, replicas[0].Do(r.Context()))
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].link.cut()
		r.sleep(5 * time.Second)
		times := r.times()
		require.Len(t, times, 2)
		assert.Less(t, times[1], 2050*time.Millisecond)
	})
}

// A look may find more than one page holds.
func TestTheLastOfManyKeysThatAreDueIsFound(t *testing.T) {
	inFleet(t, func(r *rig) {
		claim := machine.Claim{ID: "gone", New: true, Age: machine.None, Lease: interval}
		for i := range 1500 {
			_, err := r.store.Claim(r.Context(), "a key before "+strconv.Itoa(i), claim)
			require.NoError(t, err)
		}
		_, err := r.store.Claim(r.Context(), key, claim)
		require.NoError(t, err)
		_ = r.member(throttle.Every(interval), nil)
		r.sleep(5 * time.Second)
		assert.Len(t, r.runs(), 1)
	})
}

func TestTheNewsThatAKeyIsDueIsForAll(t *testing.T) {
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
		require.Len(t, times, 2)
		assert.LessOrEqual(t, times[1]-times[0], 2150*time.Millisecond, "within the guard after the first")
		_ = r.errors()
	})
}

func TestTheRunOfAReplicaThatIsGoneIsRunAgainAfterItsLease(t *testing.T) {
	inFleet(t, func(r *rig) {
		stuck := make(chan struct{})
		var once sync.Once
		replicas := r.members(2, throttle.Every(interval), func(context.Context) error {
			gone := false
			once.Do(func() { gone = true })
			if gone {
				<-stuck
				r.mu.Lock()
				r.active++ // as it was when the other began
				r.mu.Unlock()
			}
			return nil
		}, promptly()...)
		replicas[0].Call()
		r.sleep(100 * time.Millisecond)
		replicas[0].link.cut()
		r.mu.Lock()
		r.active-- // the process is gone
		r.mu.Unlock()
		r.sleep(10 * time.Second)
		runs := r.runs()
		require.Len(t, runs, 2)
		assert.NotEqual(t, runs[0].member, runs[1].member)
		assert.Greater(t, runs[1].token, runs[0].token)
		assert.GreaterOrEqual(t, runs[1].at, 3*time.Second)
		close(stuck)
		r.sleep(time.Second)
		_ = r.errors()
	})
}

// Its poll was to be at the lease's end.
func TestACallDuringAnotherReplicasRunIsCoveredWhenThatEndsEarly(t *testing.T) {
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
		assert.Equal(t, []time.Duration{0, 1100 * time.Millisecond}, r.times())
	})
}

func TestAReplicaThatDoesNotCallAsksForNothing(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil)
		r.sleep(interval) // the store's time is known
		for range 10 {
			replicas[0].Call()
			r.sleep(2 * interval)
		}
		assert.Len(t, r.runs(), 10)
		assert.Zero(t, replicas[1].link.claims.Load())
	})
}

func TestALongRunKeepsItsLease(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(3, throttle.Every(interval), func(context.Context) error {
			time.Sleep(20 * time.Second)
			return nil
		}, promptly()...)
		replicas[0].Call()
		for range 9 {
			r.sleep(2 * time.Second)
			replicas[1].Call()
		}
		assert.Len(t, r.runs(), 1)
		r.sleep(30 * time.Second)
		assert.Len(t, r.runs(), 2)
		assert.Empty(t, r.errors())
	})
}

// Whatever is called when, starts keep the interval, runs never overlap, and a run starts
// after the last call.
func TestRandomCallsKeepTheGuarantees(t *testing.T) {
	for seed := range uint64(50) {
		inFleet(t, func(r *rig) {
			random := rand.New(rand.NewPCG(seed, 1))
			replicas := r.members(1+random.IntN(4), throttle.Every(interval), func(context.Context) error {
				time.Sleep(time.Duration(time.Now().UnixNano()) % (2 * interval))
				return nil
			})
			var last time.Duration
			for range 60 {
				last = r.now()
				replicas[random.IntN(len(replicas))].Call()
				r.sleep(time.Duration(random.ExpFloat64() * float64(interval) / 2))
			}
			r.sleep(10 * time.Second)
			times := r.times()
			for i := 1; i < len(times); i++ {
				assert.GreaterOrEqual(t, times[i]-times[i-1], interval, "seed %d", seed)
			}
			assert.GreaterOrEqual(t, times[len(times)-1], last, "seed %d", seed)
			assert.Empty(t, r.errors())
			for _, m := range replicas {
				assert.False(t, m.Stats().Pending)
			}
		})
	}
}

func TestWhatARunCosts(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		cost := func() [2]int64 { return [2]int64{m.link.claims.Swap(0), m.link.finishes.Swap(0)} }
		r.sleep(500 * time.Millisecond) // the store's time is known
		m.Call()
		r.sleep(100 * time.Millisecond)
		assert.Equal(t, [2]int64{1, 1}, cost(), "a run at once")
		m.Call()
		r.sleep(100 * time.Millisecond)
		assert.Equal(t, [2]int64{1, 0}, cost(), "a call in the window")
		for range 1000 {
			m.Call()
			r.sleep(100 * time.Microsecond)
		}
		assert.Equal(t, [2]int64{}, cost(), "calls that join it")
		r.sleep(2 * time.Second)
		assert.Equal(t, [2]int64{1, 1}, cost(), "its run")
	})
}

func TestAnotherEngineIsAnotherThrottle(t *testing.T) {
	inFleet(t, func(r *rig) {
		a := r.member(throttle.Every(interval), nil)
		r.store = fleet.NewMemory()
		b := r.member(throttle.Every(interval), nil)
		a.Call()
		b.Call()
		r.sleep(100 * time.Millisecond)
		assert.Len(t, r.runs(), 2)
	})
}
