package throttle_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// busy returns a recorder and its Group, which has a single turn. Key "busy" has it until
// 100 ms.
func busy(t *testing.T, p throttle.Policy, opts ...throttle.Option) (*groupRecorder, *throttle.Group[string]) {
	t.Helper()
	r := newGroupRecorder()
	r.script("busy", takes(100*ms, nil))
	g := r.group(t, p, append(opts, throttle.WithMaxConcurrent(1))...)
	require.NoError(t, g.CallWithin("busy", 0))
	synctest.Wait()
	require.Equal(t, int32(1), r.active.Load())
	return r, g
}

func TestGroup_turns(t *testing.T) {
	for _, turns := range []int{1, 2, 7, 100} {
		t.Run(strconv.Itoa(turns), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const keys = 50
				r := newGroupRecorder()
				g := r.group(t, throttle.Every(10*ms), throttle.WithMaxConcurrent(turns))
				for key := range keys {
					r.script(strconv.Itoa(key), takes(100*ms, nil), takes(0, errFailed))
					require.NoError(t, g.Call(strconv.Itoa(key)))
				}
				r.until(10_000)
				require.Equal(t, int32(min(turns, keys)), r.most.Load(), "all turns are used")
				for key := range keys {
					require.Equal(t, []int{100 * (key / turns)}, r.started()[strconv.Itoa(key)], "of key %d", key)
				}
				require.Zero(t, g.Len())
			})
		})
	}
}

func TestGroup_turns_order(t *testing.T) {
	type groupCall struct {
		at     int
		key    string
		within int
	}
	for _, test := range []struct {
		name  string
		calls []groupCall
		want  []string
	}{
		{name: "as called", calls: []groupCall{{10, "a", 0}, {20, "b", 0}, {30, "c", 0}}, want: []string{"a", "b", "c"}},
		{name: "called at the same time", calls: []groupCall{{10, "c", 0}, {10, "a", 0}, {10, "b", 0}}, want: []string{"c", "a", "b"}},
		{name: "later calls due earlier", calls: []groupCall{{10, "a", 50}, {20, "b", 20}, {30, "c", 0}, {40, "d", 15}}, want: []string{"c", "b", "d", "a"}},
		{name: "joined calls keep the place", calls: []groupCall{{10, "a", 0}, {20, "b", 0}, {30, "a", 0}}, want: []string{"a", "b"}},
		{name: "not due when the turn is free", calls: []groupCall{{10, "a", 200}, {20, "b", 80}}, want: []string{"b", "a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, g := busy(t, throttle.Policy{Interval: time.Hour, Edges: throttle.Trailing})
				for _, call := range test.calls {
					r.until(call.at)
					require.NoError(t, g.CallWithin(call.key, time.Duration(call.within)*ms))
				}
				r.until(1000)
				require.Equal(t, append([]string{"busy"}, test.want...), r.ordered())
			})
		})
	}
}

// TestGroup_turns_manyKeys lets many keys join and leave the queue at random.
func TestGroup_turns_manyKeys(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 7))
		synctest.Test(t, func(t *testing.T) {
			r, g := busy(t, throttle.Policy{Interval: time.Hour, Edges: throttle.Trailing})
			due := make(map[string]int)
			var keys []string
			for n := range random.IntN(100) {
				key := strconv.Itoa(n)
				keys = append(keys, key)
				due[key] = random.IntN(40)
				require.NoError(t, g.CallWithin(key, time.Duration(due[key])*ms))
			}
			r.until(50)
			for _, key := range keys {
				if random.IntN(3) == 0 {
					require.True(t, g.Cancel(key))
					delete(due, key)
				}
			}
			keys = slices.DeleteFunc(keys, func(key string) bool { _, is := due[key]; return !is })
			r.until(1000)
			order := r.ordered()[1:]
			require.ElementsMatch(t, keys, order)
			require.True(t, slices.IsSortedFunc(order, func(a, b string) int { return due[a] - due[b] }), "%v, due %v", order, due)
		})
	}
}

// TestGroup_turns_dueDuringRun checks that runs start in the order of their due
// times, not in the order in which they joined the queue.
func TestGroup_turns_dueDuringRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		r.script("busy", takes(200*ms, nil))
		r.script("a", takes(50*ms, nil), takes(50*ms, nil))
		g := r.group(t, throttle.Every(10*ms), throttle.WithMaxConcurrent(2))
		require.NoError(t, g.Call("busy"))
		require.NoError(t, g.Call("a"))
		r.until(5)
		require.NoError(t, g.Call("a")) // due at 10, but it runs until 50
		r.until(30)
		require.NoError(t, g.Call("b"))
		r.until(1000)
		require.Equal(t, map[string][]int{"busy": {0}, "a": {0, 50}, "b": {100}}, r.started())
	})
}

// TestGroup_turns_busyKey lets one key be called again in each of its runs.
func TestGroup_turns_busyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *throttle.Group[string]
		r := newGroupRecorder()
		again := func(context.Context) error {
			_ = g.Call("greedy")
			time.Sleep(10 * ms)
			return nil
		}
		r.script("greedy", slices.Repeat([]scripted{again}, 10)...)
		g = r.group(t, throttle.Policy{}, throttle.WithMaxConcurrent(1))
		require.NoError(t, g.Call("greedy"))
		r.until(5)
		require.NoError(t, g.Call("modest")) // after the call of 0, before that of 10
		r.until(25)
		require.NoError(t, g.Call("modest"))
		r.until(1000)
		require.Equal(t, []int{20, 40}, r.started()["modest"])
		require.Len(t, r.started()["greedy"], 11)
	})
}

// TestGroup_turns_waiting checks that calls join a run which waits for its turn,
// and that its window counts from its start.
func TestGroup_turns_waiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs []throttle.Run // never written by two: there is one turn
		r, g := busy(t, throttle.Every(100*ms), throttle.WithCallCount(), throttle.WithObserver(func(run throttle.Run) { runs = append(runs, run) }))
		r.script("key", fails(1)...)
		r.until(40)
		require.NoError(t, g.Call("key"))
		r.until(60)
		do := await(func() error { return g.Do(context.Background(), "key") })
		flush := await(func() error { return g.Flush(context.Background(), "key") })
		require.False(t, do.returned() || flush.returned())
		require.Equal(t, uint64(1), g.Stats().Runs)
		require.True(t, g.Stats().Pending)
		require.Equal(t, 2, g.Len())
		r.until(90)
		require.NoError(t, g.Call("key"))
		r.until(100)
		require.Equal(t, errFailed, do.result(t))
		require.Equal(t, errFailed, flush.result(t))
		r.until(110)
		require.NoError(t, g.Call("key"))
		r.until(1000)
		require.Equal(t, map[string][]int{"busy": {0}, "key": {100, 200}}, r.started())
		require.Equal(t, uint64(3), runs[1].Calls)
		require.True(t, runs[1].Asked.Equal(r.begin.Add(40*ms)))
		require.True(t, runs[2].Due.Equal(r.begin.Add(200*ms)))
		require.Zero(t, g.Len())
	})
}

// TestGroup_turns_quiet checks that calls still postpone a run which waits for its
// turn, and that a turn it cannot use goes to the next run.
func TestGroup_turns_quiet(t *testing.T) {
	for name, call := range map[string]func(*throttle.Group[string]) error{
		"Call":       func(g *throttle.Group[string]) error { return g.Call("a") },
		"CallWithin": func(g *throttle.Group[string]) error { return g.CallWithin("a", time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, g := busy(t, throttle.Debounce(20*ms, 0))
				require.NoError(t, g.Call("a"))
				r.until(10)
				require.NoError(t, g.Call("b"))
				r.until(95)
				require.NoError(t, call(g))
				r.until(1000)
				require.Equal(t, map[string][]int{"busy": {0}, "a": {115}, "b": {100}}, r.started())
			})
		})
	}
	t.Run("but not beyond MaxWait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, g := busy(t, throttle.Debounce(20*ms, 105*ms))
			require.NoError(t, g.Call("a"))
			r.until(95)
			require.NoError(t, g.Call("a"))
			r.until(1000)
			require.Equal(t, []int{105}, r.started()["a"])
		})
	})
}

// TestGroup_turns_postponed checks the due order after calls have postponed a run
// that waits for its turn, to a time that has also passed when the turn comes, or
// to that very time.
func TestGroup_turns_postponed(t *testing.T) {
	for name, call := range map[string]func(*throttle.Group[string]) error{
		"Call":       func(g *throttle.Group[string]) error { return g.Call("a") },
		"CallWithin": func(g *throttle.Group[string]) error { return g.CallWithin("a", time.Hour) },
	} {
		for _, postponed := range []struct {
			to    time.Duration
			order []string
		}{
			{25 * ms, []string{"busy", "b", "c", "d", "a", "e"}},
			{100 * ms, []string{"busy", "b", "c", "d", "e", "a"}},
		} {
			t.Run(fmt.Sprint(name, " to ", postponed.to), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, g := busy(t, throttle.Debounce(10*ms, 0))
					require.NoError(t, g.Call("a"))
					time.AfterFunc(postponed.to-10*ms, func() { _ = call(g) })
					for at, key := range []string{"b", "c", "d"} {
						r.until(12 + at)
						require.NoError(t, g.Call(key)) // due at 22, 23 and 24
					}
					r.until(16)
					require.NoError(t, g.Call("e")) // due at 26
					r.until(1000)
					require.Equal(t, postponed.order, r.ordered())
				})
			})
		}
	}
}

// TestGroup_turns_leave puts key a into the queue, and b behind it. Then something happens
// to a.
func TestGroup_turns_leave(t *testing.T) {
	every := throttle.Every(10 * ms)
	for _, test := range []struct {
		name   string
		policy throttle.Policy
		do     func(*throttle.Group[string])
		a      []int // its later starts, after 0
	}{
		{name: "nothing happens", policy: every, do: func(*throttle.Group[string]) {}, a: []int{101}},
		{name: "Cancel", policy: every, do: func(g *throttle.Group[string]) { g.Cancel("a") }},
		{name: "Cancel and Call", policy: every, do: func(g *throttle.Group[string]) { g.Cancel("a"); _ = g.Call("a") }, a: []int{101}},
		{name: "SetPolicy", policy: every, do: setGroupPolicy(throttle.Every(300 * ms)), a: []int{300}},
		{name: "SetPolicy to what changes nothing", policy: every, do: setGroupPolicy(every), a: []int{101}},
		{name: "SetPolicy without periodic runs", policy: throttle.Policy{MaxInterval: 50 * ms}, do: setGroupPolicy(throttle.Policy{}), a: []int{101}},
		{name: "retry canceled", policy: retrying(throttle.Policy{}, 10*ms), do: func(g *throttle.Group[string]) { g.Cancel("a") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newGroupRecorder()
				r.script("busy", takes(100*ms, nil))
				r.script("a", takes(0, nil))
				if test.policy.Retry.Initial > 0 {
					r.script("a", fails(1)...)
				}
				g := r.group(t, test.policy, throttle.WithMaxConcurrent(1))
				require.NoError(t, g.Call("a"))
				r.until(1)
				require.NoError(t, g.Call("busy"))
				r.until(2)
				if test.policy.Retry.Initial == 0 {
					require.NoError(t, g.Call("a"))
				}
				r.until(60)
				require.NoError(t, g.Call("b"))
				test.do(g)
				r.until(1000)
				require.Equal(t, append([]int{0}, test.a...), r.started()["a"])
				require.Equal(t, []int{101}, r.started()["b"])
				require.Equal(t, []int{1}, r.started()["busy"])
			})
		})
	}
}

// TestGroup_turns_periodic also checks that they leave the queue when MaxInterval
// is taken away.
func TestGroup_turns_periodic(t *testing.T) {
	for _, changed := range []bool{false, true} {
		t.Run(fmt.Sprintf("changed %t", changed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newGroupRecorder()
				r.script("busy", takes(100*ms, nil))
				g := r.group(t, throttle.Policy{MaxInterval: 90 * ms}, throttle.WithMaxConcurrent(1))
				require.NoError(t, g.Call("key"))
				r.until(1)
				require.NoError(t, g.Call("busy"))
				r.until(95)
				want := []int{0, 101, 191}
				if changed {
					want = []int{0}
					require.NoError(t, g.SetPolicy(throttle.Policy{}))
				}
				r.until(200)
				require.Equal(t, want, r.started()["key"])
			})
		})
	}
}

func TestGroup_turns_runEnds(t *testing.T) {
	for name, script := range map[string]scripted{
		"success": takes(0, nil), "failure": takes(0, errFailed), "panic": scriptedPanic("scripted"), "Goexit": goexit, "RetryIn": retryIn(time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, g := busy(t, retrying(throttle.Policy{}, time.Hour))
				r.script("a", script)
				for _, key := range []string{"a", "b", "c"} {
					require.NoError(t, g.Call(key))
				}
				r.until(1000)
				require.Equal(t, map[string][]int{"busy": {0}, "a": {100}, "b": {100}, "c": {100}}, r.started())
				require.Equal(t, int32(1), r.most.Load())
			})
		})
	}
}

func goexit(context.Context) error {
	runtime.Goexit()
	return nil
}

// TestGroup_turns_hooks checks that a run keeps its turn while its hooks are at
// work.
func TestGroup_turns_hooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := busy(t, throttle.Policy{}, throttle.WithObserver(func(throttle.Run) { time.Sleep(50 * ms) }))
		require.NoError(t, g.Call("a"))
		require.NoError(t, g.Call("b"))
		r.until(1000)
		require.Equal(t, map[string][]int{"busy": {0}, "a": {150}, "b": {200}}, r.started())
	})
}

func TestGroup_turns_Flush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := busy(t, throttle.Debounce(time.Hour, 0))
		require.NoError(t, g.Call("a"))
		flush := await(func() error { return g.Flush(context.Background(), "a") })
		r.until(99)
		require.False(t, flush.returned())
		r.until(100)
		require.NoError(t, flush.result(t))
		require.Equal(t, []int{100}, r.started()["a"])
	})
}

// TestGroup_turns_canceled cancels a key after its place has left the queue and
// before its run starts.
func TestGroup_turns_canceled(t *testing.T) {
	release := make(chan struct{})
	var mu sync.Mutex
	var ran []int
	g := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(_ context.Context, key int) error {
		if key == 0 {
			<-release
		}
		mu.Lock()
		defer mu.Unlock()
		ran = append(ran, key)
		return nil
	}, throttle.WithMaxConcurrent(1)))
	first, last := 1, -1
	for g.Together(0, first) { // then key 0's run could not end
		first++
	}
	for _, key := range []int{0, first, last} {
		require.NoError(t, g.Call(key))
	}
	g.CancelAfter(first, func() {
		close(release)
		eventually(t, "the first to get the turn", func() bool { return g.Queued() == 1 })
	})
	require.NoError(t, g.Shutdown(context.Background()))
	require.Equal(t, []int{0, last}, ran)
}

// TestGroup_turns_notLost hands turns to runs that no longer need them, and then
// uses all turns.
func TestGroup_turns_notLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const turns = 3
		r := newGroupRecorder()
		g := r.group(t, throttle.Debounce(10*ms, 0), throttle.WithMaxConcurrent(turns))
		for round := range 20 {
			for key := range 10 {
				name := fmt.Sprint(round, "-", key)
				r.script(name, takes(30*ms, nil))
				require.NoError(t, g.Call(name))
			}
			r.until(100*round + 20) // three run, the others wait
			for key := range 10 {
				name := fmt.Sprint(round, "-", key)
				switch key % 3 {
				case 0:
					g.Cancel(name)
				case 1:
					require.NoError(t, g.Call(name))
				}
			}
			r.until(100*round + 100)
		}
		r.until(10_000)
		require.Zero(t, g.Len())
		r.most.Store(0)
		for key := range 10 {
			r.script(strconv.Itoa(key), takes(100*ms, nil))
			require.NoError(t, g.Call(strconv.Itoa(key)))
		}
		r.until(20_000)
		require.Equal(t, int32(turns), r.most.Load())
	})
}
