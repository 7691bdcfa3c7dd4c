package fleet_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/internal/testkit/effort"
)

// seeds returns how many random sequences to test: normally n, a third of that with -short,
// and a multiple with -effort.
func seeds(n int) uint64 {
	if testing.Short() {
		return uint64(n / 3)
	}
	return uint64(n * effort.Factor())
}

// A noise makes the messages of links late or lost, at random.
type noise struct {
	mu      sync.Mutex
	random  *rand.Rand
	stopped bool
}

// disturb is called before and after an operation.
func (w *noise) disturb(context.Context, string) error {
	w.mu.Lock()
	stopped, lost := w.stopped, w.random.IntN(8) == 0
	late := time.Duration(0)
	if w.random.IntN(4) == 0 {
		late = time.Duration(w.random.ExpFloat64() * float64(100*time.Millisecond))
	}
	w.mu.Unlock()
	if stopped {
		return nil
	}
	time.Sleep(late)
	if lost {
		return errCut
	}
	return nil
}

// stop makes all messages arrive from now on.
func (w *noise) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
}

// debounced returns p, with Quiet and MaxWait for every second seed.
func debounced(seed uint64, p throttle.Policy) throttle.Policy {
	if seed%2 == 1 {
		p.Quiet, p.MaxWait = interval/2, 3*interval
	}
	return p
}

// Although messages and answers are lost and late, runs never overlap and starts keep the
// interval. Once the lines work again, a run starts after the last call.
func TestThrottler_RandomFaults(t *testing.T) {
	for seed := range seeds(60) {
		inFleet(t, func(r *rig) {
			random := rand.New(rand.NewPCG(seed, 2))
			w := &noise{random: rand.New(rand.NewPCG(seed, 3))}
			replicas := r.members(2+random.IntN(3), debounced(seed, retry(throttle.Backoff{Initial: interval / 2})),
				func(context.Context) error {
					w.mu.Lock()
					takes, fails := time.Duration(w.random.Int64N(int64(2*interval))), w.random.IntN(4) == 0
					w.mu.Unlock()
					time.Sleep(takes)
					if fails {
						return errBroken
					}
					return nil
				}, shortLease()...)
			for _, m := range replicas {
				m.link.on(w.disturb, w.disturb)
			}
			var last time.Duration
			for range 100 {
				last = r.now()
				replicas[random.IntN(len(replicas))].Call()
				r.sleep(time.Duration(random.ExpFloat64() * float64(interval) / 3))
			}
			w.stop()
			r.sleep(2 * time.Minute)
			times := r.times()
			for i := 1; i < len(times); i++ {
				assert.GreaterOrEqual(r, times[i]-times[i-1], interval, "seed %d", seed)
			}
			assert.GreaterOrEqual(r, times[len(times)-1], last, "seed %d", seed)
			state := r.state()
			assert.Equal(r, state.Requested, state.Acknowledged, "seed %d", seed)
			for _, m := range replicas {
				assert.False(r, m.Stats().Pending, "seed %d", seed)
			}
		})
	}
}

// Every Do returns, and never wrongly: nil means that a run began after the call and
// succeeded.
func TestThrottler_Do_RandomFaults(t *testing.T) {
	for seed := range seeds(60) {
		inFleet(t, func(r *rig) {
			random := rand.New(rand.NewPCG(seed, 4))
			w := &noise{random: rand.New(rand.NewPCG(seed, 5))}
			var mu sync.Mutex
			var succeeded []time.Duration // when the successful runs began
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
			}, shortLease()...)
			for _, m := range replicas {
				m.link.on(w.disturb, w.disturb)
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
					assert.True(r, len(succeeded) > 0 && succeeded[len(succeeded)-1] >= called, "seed %d", seed)
				})
				r.sleep(time.Duration(random.ExpFloat64() * float64(interval) / 3))
			}
			w.stop()
			waiting.Wait()
		})
	}
}

// Whatever is called when, starts keep the interval, runs never overlap, and a run starts
// after the last call.
func TestThrottler_RandomCalls(t *testing.T) {
	for seed := range seeds(50) {
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
				assert.GreaterOrEqual(r, times[i]-times[i-1], interval, "seed %d", seed)
			}
			assert.GreaterOrEqual(r, times[len(times)-1], last, "seed %d", seed)
			assert.Empty(r, r.errors())
			for _, m := range replicas {
				assert.False(r, m.Stats().Pending)
			}
		})
	}
}

// Although messages are lost and late, processes are killed, and all places are taken at times,
// every call of a process that lives, or that the store has heard of, is followed by a run of its
// key. Starts keep the interval, runs of a key never overlap, tokens rise, and in the end nobody
// holds a key.
func TestGroup_RandomFaults(t *testing.T) {
	for seed := range seeds(60) {
		inFleet(t, func(r *rig) {
			random := rand.New(rand.NewPCG(seed, 6))
			w := &noise{random: rand.New(rand.NewPCG(seed, 7))}
			all, runs := r.groups(4, debounced(seed, throttle.Every(interval)), func(ctx context.Context, _ string) error {
				w.mu.Lock()
				takes := time.Duration(w.random.Int64N(int64(interval)))
				w.mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(takes):
				}
				return ctx.Err()
			}, append(shortLease(), fleet.WithMaxConcurrent(1+random.IntN(3)))...)
			for _, m := range all {
				m.link.on(w.disturb, w.disturb)
			}
			last := map[string]time.Duration{}
			killed := 2 + random.IntN(2)
			for i := range 150 {
				if i == 75 {
					r.sleep(30 * time.Second) // until the store has heard of all calls
					all[killed].kill()
				}
				m := all[random.IntN(len(all))]
				key := keys(12)[random.IntN(12)]
				if m.Call(key) == nil {
					last[key] = r.now()
				}
				r.sleep(time.Duration(random.ExpFloat64() * float64(interval) / 10))
			}
			w.stop()
			r.sleep(2 * time.Minute)
			for key, called := range last {
				starts := runs.of(key)
				for i := 1; i < len(starts); i++ {
					require.GreaterOrEqual(r, starts[i].at-starts[i-1].at, interval, "seed %d", seed)
					require.Greater(r, starts[i].token, starts[i-1].token, "seed %d", seed)
				}
				require.NotEmpty(r, starts)
				require.GreaterOrEqual(r, starts[len(starts)-1].at, called, "seed %d, %s", seed, key)
			}
			require.Empty(r, runs.overlaps(), "seed %d", seed)
			for most := range maps.Values(runs.most()) {
				require.LessOrEqual(r, most, 3)
			}
			ran := map[int]uint64{}
			for key := range last {
				for _, s := range runs.of(key) {
					ran[s.member]++
				}
			}
			for i, m := range all {
				require.Equal(r, ran[i], m.Stats().Runs)
				require.Zero(r, m.Len(), "seed %d, process %d: %+v", seed, i, m.Stats())
			}
		})
	}
}
