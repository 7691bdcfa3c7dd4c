package throttle_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// The tests of this file have all keys in one shard, in several chunks, and use the Group
// while an operation goes over all of them.
const shardKeys = 2500

// shardGroup returns a Group, and keys of one of its shards.
func shardGroup(p throttle.Policy, fn func(context.Context, int) error, opts ...throttle.Option) (g *throttle.Group[int], keys []int) {
	g = throttle.Must(throttle.NewGroup(p, fn, opts...))
	keys = make([]int, 0, shardKeys)
	for key := 0; len(keys) < shardKeys; key++ {
		if g.Together(0, key) {
			keys = append(keys, key)
		}
	}
	return g, keys
}

func idle(context.Context, int) error { return nil }

// TestGroup_Keys_changes adds and removes keys while Keys goes over them.
func TestGroup_Keys_changes(t *testing.T) {
	g, keys := shardGroup(throttle.Policy{Interval: time.Hour, Edges: throttle.Trailing}, idle)
	defer g.Close()
	for _, steps := range []struct{ added, removed int }{{0, 0}, {1, 0}, {0, 1}, {1, 1}} {
		held, added := keys[:2000], keys[2000:]
		for _, key := range held {
			require.NoError(t, g.Call(key))
		}
		missing, seen := map[int]bool{}, map[int]bool{}
		for _, key := range held {
			missing[key] = true
		}
		for key := range g.Keys() {
			require.False(t, seen[key], "twice")
			seen[key] = true
			delete(missing, key)
			if steps.added > 0 && len(added) > 0 {
				require.NoError(t, g.Call(added[0]))
				added = added[1:]
			}
			if steps.removed > 0 && len(held) > 0 {
				require.True(t, g.Cancel(held[0]), "which removes the key")
				delete(missing, held[0])
				held = held[1:]
			}
		}
		require.Empty(t, missing)
		for _, key := range keys {
			g.Cancel(key)
		}
		require.Zero(t, g.Len())
	}
}

// TestGroup_Stats_race checks that Stats counts every call once, although calls and runs
// go on: those that came before Stats, and perhaps some that came during it. So the count
// never goes back.
func TestGroup_Stats_race(t *testing.T) {
	g, keys := shardGroup(throttle.Every(10*time.Millisecond), idle, throttle.WithCallCount())
	var calling sync.WaitGroup
	var over atomic.Bool
	var begun, returned atomic.Uint64
	for range 2 {
		calling.Go(func() {
			for !over.Load() {
				for key := keys[rand.IntN(len(keys))]; rand.IntN(4) > 0; {
					begun.Add(1)
					if err := g.Call(key); err != nil {
						t.Errorf("a call was refused: %v", err)
					}
					returned.Add(1)
				}
			}
		})
	}
	var last throttle.Stats
	for range rounds(30) {
		before := returned.Load()
		stats := g.Stats()
		after := begun.Load()
		if stats.Calls < max(before, last.Calls) || stats.Calls > after {
			t.Errorf("Stats counts %d calls, the last one %d; %d had returned before, %d had begun when it returned",
				stats.Calls, last.Calls, before, after)
		}
		if stats.Runs < last.Runs || stats.LastStart.Before(last.LastStart) {
			t.Errorf("Stats goes back from %+v to %+v", last, stats)
		}
		last = stats
		runtime.Gosched()
	}
	over.Store(true)
	calling.Wait()
	if err := g.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if stats := g.Stats(); stats.Calls != begun.Load() {
		t.Errorf("after %d calls: %+v", begun.Load(), stats)
	}
}

// TestGroup_SetPolicy_race adds keys while SetPolicy goes over them. Each of them has the
// new policy once SetPolicy has returned.
func TestGroup_SetPolicy_race(t *testing.T) {
	hours := func(n int) throttle.Policy { return throttle.Debounce(time.Duration(n)*time.Hour, 0) }
	playRounds(t, rounds(5), func(t *testing.T) {
		g, keys := shardGroup(hours(1), idle)
		defer g.Close()
		var calling sync.WaitGroup
		defer calling.Wait()
		calling.Go(func() {
			for _, key := range keys {
				if err := g.Call(key); err != nil {
					t.Errorf("a call was refused: %v", err)
				}
			}
		})
		for n := 2; g.Len() < shardKeys; n++ {
			begun, earlier := time.Now(), slices.Collect(g.Keys())
			if err := g.SetPolicy(hours(n)); err != nil {
				t.Errorf("SetPolicy returned %v", err)
			}
			for key := range g.Keys() {
				stats, held := g.KeyStats(key)
				if left := stats.Next.Sub(begun); !held || left < time.Duration(n)*time.Hour-time.Minute {
					t.Fatalf("of %d keys, then %d, one has its run in %v after SetPolicy of %d hours: %+v", len(earlier), g.Len(), left, n, stats)
				}
			}
		}
	})
}

// TestGroup_refusal_race has callers that go on once they are refused, while Shutdown or
// Close goes over the keys. A caller that was refused once makes nothing start any more,
// and each accepted call is covered, or dropped by Close.
func TestGroup_refusal_race(t *testing.T) {
	for name, end := range map[string]func(*throttle.Group[int]) error{
		"Shutdown": func(g *throttle.Group[int]) error { return g.Shutdown(context.Background()) },
		"Close":    (*throttle.Group[int]).Close,
	} {
		t.Run(name, func(t *testing.T) {
			playRounds(t, rounds(4), func(t *testing.T) {
				var covered atomic.Uint64
				policies := []throttle.Policy{{Interval: time.Hour, Burst: 3}, {Interval: time.Hour, Edges: throttle.Trailing}}
				g, keys := shardGroup(policies[rand.IntN(len(policies))], idle,
					throttle.WithCallCount(), throttle.WithObserver(func(run throttle.Run) { covered.Add(run.Calls) }))
				for _, key := range keys {
					if err := g.Call(key); err != nil {
						t.Errorf("a call was refused: %v", err)
					}
				}
				var calling sync.WaitGroup
				begun := make(chan struct{}, 2)
				for range cap(begun) {
					calling.Go(func() {
						begun <- struct{}{}
						for refused := 0; refused < 100; {
							key := keys[rand.IntN(len(keys))]
							var err error
							if rand.IntN(4) > 0 {
								err = g.CallWithin(key, time.Hour)
							} else {
								err = g.Do(context.Background(), key)
							}
							switch {
							case err == nil && refused == 0:
							case errors.Is(err, throttle.ErrClosed):
								refused++
							default:
								t.Errorf("a call returned %v, after %d were refused", err, refused)
							}
						}
					})
				}
				<-begun
				<-begun
				if err := end(g); err != nil {
					t.Errorf("%s returned %v", name, err)
				}
				stats, seen := g.Stats(), covered.Load()
				if stats.Pending || !stats.Closed || !stats.Next.IsZero() {
					t.Errorf("after %s: %+v", name, stats)
				}
				for _, key := range keys {
					if err := g.Call(key); !errors.Is(err, throttle.ErrClosed) {
						t.Fatalf("after %s, a call returned %v", name, err)
					}
				}
				if name == "Shutdown" && (stats.Running || stats.Calls != seen) {
					t.Errorf("after Shutdown, which covered %d calls: %+v", seen, stats)
				}
				calling.Wait()
				_ = g.Shutdown(context.Background())
				if later := g.Stats(); later.Calls != stats.Calls {
					t.Errorf("after %s %d calls had been accepted, then %d", name, stats.Calls, later.Calls)
				}
			})
		})
	}
}

// TestGroup_forget_many forgets many keys that become idle at the same instant: all of them,
// but only a chunk while it holds the lock.
func TestGroup_forget_many(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, keys := shardGroup(throttle.Every(time.Second), idle)
		for _, key := range keys {
			require.NoError(t, g.Call(key))
		}
		time.Sleep(time.Second - 1)
		synctest.Wait()
		require.Equal(t, shardKeys, g.Len())
		require.Equal(t, throttle.ChunkSize, g.ForgetIdle(keys[0], time.Nanosecond))
		synctest.Wait()
		require.Zero(t, g.Len())
	})
}
