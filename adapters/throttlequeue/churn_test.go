package throttlequeue_test

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttlequeue"
)

// TestQueue_race checks that no add is lost: after it, its item is given out, and to one
// worker at a time.
func TestQueue_race(t *testing.T) {
	adds := 1_000_000
	if testing.Short() {
		adds = 50_000
	}
	const items, adders, workers = 1000, 8, 8
	for name, c := range map[string]struct {
		policy throttle.Policy
		opts   []throttlequeue.Option
	}{
		"window, priority queue": {throttle.Every(10 * time.Millisecond), nil},
		"debounce, client-go":    {throttle.Debounce(time.Millisecond, 5*time.Millisecond), []throttlequeue.Option{throttlequeue.WithQueue(clientGo)}},
	} {
		t.Run(name, func(t *testing.T) {
			type state struct {
				added, seen atomic.Int64
				working     atomic.Bool
			}
			states := make(map[string]*state, items)
			names := make([]string, items)
			for i := range names {
				names[i] = strconv.Itoa(i)
				states[names[i]] = &state{}
			}
			q := start(t, holding(t, c.policy, c.opts...))
			var given atomic.Int64
			var working sync.WaitGroup
			for range workers {
				working.Go(func() {
					for {
						item, shutdown := q.Get()
						if shutdown {
							return
						}
						s := states[item]
						assert.False(t, s.working.Swap(true), "two workers have it")
						s.seen.Store(s.added.Load())
						given.Add(1)
						s.working.Store(false)
						if given.Load()%7 == 0 {
							q.AddRateLimited(item)
							q.Forget(item)
						}
						q.Done(item)
					}
				})
			}
			var adding sync.WaitGroup
			for seed := range uint64(adders) {
				adding.Go(func() {
					random := rand.New(rand.NewPCG(seed, 0))
					for range adds / adders {
						item := names[random.IntN(items)]
						states[item].added.Add(1)
						add(q, item, random.IntN(3))
					}
				})
			}
			adding.Wait()
			require.Eventually(t, func() bool {
				for _, s := range states {
					if s.seen.Load() != s.added.Load() {
						return false
					}
				}
				return true
			}, time.Minute, time.Millisecond, "an add is lost")
			q.ShutDown()
			working.Wait()
			t.Logf("%d adds, %d given out", adds, given.Load())
		})
	}
}
