package fleet_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle"
)

// This file holds tests under random faults of the lines between replicas and the store.

// A weather makes the messages of a link late or lost, at random.
type weather struct {
	mu     sync.Mutex
	random *rand.Rand
	calm   bool
}

// blow is what a link calls before and after an operation.
func (w *weather) blow(context.Context, string) error {
	w.mu.Lock()
	calm, lost := w.calm, w.random.IntN(8) == 0
	late := time.Duration(0)
	if w.random.IntN(4) == 0 {
		late = time.Duration(w.random.ExpFloat64() * float64(100*time.Millisecond))
	}
	w.mu.Unlock()
	if calm {
		return nil
	}
	time.Sleep(late)
	if lost {
		return errCut
	}
	return nil
}

// subside makes all messages arrive from now on.
func (w *weather) subside() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calm = true
}

// Messages and their answers may be lost and late: runs never overlap, starts keep the
// interval, and once the lines are well a run starts after the last call.
func TestUnderFaultsOfTheLinesTheGuaranteesHold(t *testing.T) {
	for seed := range uint64(60) {
		inFleet(t, func(r *rig) {
			random := rand.New(rand.NewPCG(seed, 2))
			w := &weather{random: rand.New(rand.NewPCG(seed, 3))}
			replicas := r.members(2+random.IntN(3), retry(throttle.Backoff{Initial: interval / 2}),
				func(context.Context) error {
					w.mu.Lock()
					takes, fails := time.Duration(w.random.Int64N(int64(2*interval))), w.random.IntN(4) == 0
					w.mu.Unlock()
					time.Sleep(takes)
					if fails {
						return errBroken
					}
					return nil
				}, promptly()...)
			for _, m := range replicas {
				m.link.on(w.blow, w.blow)
			}
			var last time.Duration
			for range 100 {
				last = r.now()
				replicas[random.IntN(len(replicas))].Call()
				r.sleep(time.Duration(random.ExpFloat64() * float64(interval) / 3))
			}
			w.subside()
			r.sleep(2 * time.Minute)
			times := r.times()
			for i := 1; i < len(times); i++ {
				assert.GreaterOrEqual(t, times[i]-times[i-1], interval, "seed %d", seed)
			}
			assert.GreaterOrEqual(t, times[len(times)-1], last, "seed %d", seed)
			state := r.store.State(key)
			assert.Equal(t, state.Requested, state.Acknowledged, "seed %d", seed)
			for _, m := range replicas {
				assert.False(t, m.Stats().Pending, "seed %d", seed)
			}
		})
	}
}

// Waiters get an answer, and never a wrong one: each nil is of a run that began after the
// call and succeeded.
func TestUnderFaultsOfTheLinesEachDoIsAnswered(t *testing.T) {
	for seed := range uint64(60) {
		inFleet(t, func(r *rig) {
			random := rand.New(rand.NewPCG(seed, 4))
			w := &weather{random: rand.New(rand.NewPCG(seed, 5))}
			var mu sync.Mutex
			var succeeded []time.Duration // when those runs began that succeeded
			replicas := r.members(3, throttle.Every(interval), func(context.Context) error {
				began := r.now()
				w.mu.Lock()
				fails := w.random.IntN(2) == 0
				w.mu.Unlock()
				time.Sleep(interval / 10)
				if fails {
					return errBroken
				}
				mu.Lock()
				defer mu.Unlock()
				succeeded = append(succeeded, began)
				return nil
			}, promptly()...)
			for _, m := range replicas {
				m.link.on(w.blow, w.blow)
			}
			var waiting sync.WaitGroup
			for range 100 {
				m := replicas[random.IntN(len(replicas))]
				waiting.Go(func() {
					called := r.now()
					if err := m.Do(context.Background()); err != nil {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					assert.True(t, len(succeeded) > 0 && succeeded[len(succeeded)-1] >= called, "seed %d", seed)
				})
				r.sleep(time.Duration(random.ExpFloat64() * float64(interval) / 3))
			}
			w.subside()
			waiting.Wait()
		})
	}
}
