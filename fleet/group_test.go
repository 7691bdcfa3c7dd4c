package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
	"github.com/throttle-go/throttle/internal/testkit/heap"
)

// A team is the Group of one process, on a link of its own.
type team struct {
	*fleet.Group

	link *link
}

// A log records the runs of Groups.
type log struct {
	mu      sync.Mutex
	starts  map[string][]start // by key
	active  map[int]int        // by process
	busiest map[int]int        // the most that were active at once, by process
	running map[string]bool    // by key
	overlap []string           // keys whose runs have overlapped
}

// groups adds n processes with a Group each, whose callback calls fn, which may be nil.
func (r *rig) groups(n int, p throttle.Policy, fn func(ctx context.Context, key string) error, opts ...fleet.Option) ([]team, *log) {
	r.Helper()
	all := make([]team, n)
	l := &log{
		starts: map[string][]start{}, active: map[int]int{}, busiest: map[int]int{}, running: map[string]bool{},
	}
	for i := range all {
		link := r.newLink()
		opts := append([]fleet.Option{fleet.WithErrorHandler(r.record)}, opts...)
		g, err := fleet.NewGroup(link, p, func(ctx context.Context, key string) error {
			l.enter(r, i, ctx, key)
			defer l.leave(i, key)
			if fn == nil {
				return nil
			}
			return fn(ctx, key)
		}, opts...)
		require.NoError(r, err)
		all[i] = team{g, link}
	}
	r.teams = append(r.teams, all...)
	r.sleep(interval) // they learn the store's time, and listen
	r.begin = time.Now()
	return all, l
}

func (l *log) enter(r *rig, process int, ctx context.Context, key string) { //nolint:revive // the callback's order of arguments
	token, _ := fleet.Token(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starts[key] = append(l.starts[key], start{process, r.now(), token})
	l.active[process]++
	l.busiest[process] = max(l.busiest[process], l.active[process])
	if l.running[key] && token != 0 {
		l.overlap = append(l.overlap, key)
	}
	l.running[key] = true
}

func (l *log) leave(process int, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active[process]--
	l.running[key] = false
}

// of returns the starts of key's runs.
func (l *log) of(key string) []start {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.starts[key])
}

// most returns how many runs were active at once at most, by process.
func (l *log) most() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.busiest)
}

// overlaps returns the keys whose runs have overlapped.
func (l *log) overlaps() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.overlap)
}

// times returns when the runs of key started.
func (l *log) times(key string) (all []time.Duration) {
	for _, s := range l.of(key) {
		all = append(all, s.at)
	}
	return all
}

// keys returns n keys.
func keys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("key %d", i)
	}
	return all
}

// kill cuts the process off, for ever: to the others it looks as if it was killed.
func (m team) kill() {
	m.link.cut()
	_ = m.Close()
}

// Whichever process calls, each key has a run now and one at the end of its window.
func TestGroup(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(3, throttle.Every(interval), nil)
		for range 10 {
			for i, key := range keys(5) {
				require.NoError(r, all[i%3].Call(key))
				require.NoError(r, all[(i+1)%3].Call(key))
			}
		}
		r.sleep(300 * time.Millisecond)
		require.NoError(r, all[0].Call("later"))
		r.sleep(10 * time.Second)
		for _, key := range keys(5) {
			assert.Equal(r, []time.Duration{0, 1100 * time.Millisecond}, runs.times(key), key)
		}
		assert.Equal(r, []time.Duration{300 * time.Millisecond}, runs.times("later"))
		assert.Empty(r, runs.overlaps())
		assert.Empty(r, r.errors())
	})
}

// A key is held only while it is of use. What was counted is not forgotten, and neither is the
// window, which is in the store.
func TestGroup_idle(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(2, throttle.Every(interval), func(context.Context, string) error {
			time.Sleep(interval / 10)
			return errBroken
		})
		require.NoError(r, all[0].Call("a"))
		assert.Equal(r, []string{"a"}, slices.Collect(all[0].Keys()))
		r.sleep(interval / 20)
		assert.True(r, all[0].Stats().Running)
		s, held := all[0].KeyStats("a")
		assert.True(r, held && s.Running && !s.Pending)
		_, held = all[0].KeyStats("b")
		assert.False(r, held)
		r.sleep(interval / 10)
		assert.Zero(r, all[0].Len())
		require.NoError(r, all[0].Call("a"))
		require.NoError(r, all[1].Call("b"))
		assert.Equal(r, 1, all[0].Len())
		assert.True(r, all[0].Stats().Pending)
		r.sleep(10 * time.Second)
		assert.Equal(r, []time.Duration{0, 1100 * time.Millisecond}, runs.times("a"))
		for i, calls := range []uint64{2, 1} {
			assert.Zero(r, all[i].Len())
			s := all[i].Stats()
			assert.Equal(r, calls, s.Calls)
			assert.False(r, s.Pending || s.Running || s.Closed)
			assert.Zero(r, s.Next)
		}
		s = all[1].Stats()
		assert.Equal(r, uint64(1), s.Runs)
		assert.Equal(r, uint64(1), s.Failures)
		assert.Equal(r, errBroken, s.LastError)
		assert.Equal(r, interval/10, s.LastDuration)
		total := all[0].Counts()
		assert.Equal(r, uint64(2), total.Granted)
		assert.Equal(r, uint64(1), total.Deferred)
	})
}

// The calls of a process that was killed are run by another, which has never heard of their keys.
func TestGroup_orphans(t *testing.T) {
	inFleet(t, func(r *rig) {
		const n = 1000
		all, runs := r.groups(3, throttle.Every(10*time.Second), nil)
		for range 2 {
			for _, key := range keys(n) {
				require.NoError(r, all[0].Call(key))
			}
			r.sleep(time.Second)
		}
		assert.Equal(r, n, all[0].Len())
		all[0].kill()
		r.sleep(8 * time.Second) // until just before the runs are due
		assert.Zero(r, all[1].Len()+all[2].Len())
		r.sleep(5 * time.Second)
		for _, key := range keys(n) {
			starts := runs.of(key)
			require.Len(r, starts, 2, key)
			assert.NotZero(r, starts[1].member, key)
			assert.Less(r, starts[1].at, 11*time.Second+2*time.Second)
		}
		assert.Empty(r, runs.overlaps())
		assert.Zero(r, all[1].Len()+all[2].Len())
	})
}

// A key whose holder was killed in mid-run is taken over once its lease is over.
func TestGroup_orphans_lease(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(2, throttle.Every(interval), func(ctx context.Context, _ string) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(interval):
				return nil
			}
		}, shortLease()...)
		require.NoError(r, all[0].Call("a"))
		r.sleep(interval / 2)
		all[0].kill()
		r.sleep(10 * time.Second)
		starts := runs.of("a")
		require.Len(r, starts, 2)
		assert.Equal(r, 1, starts[1].member)
		assert.Less(r, starts[1].at, 5*time.Second)
		assert.Greater(r, starts[1].token, starts[0].token)
		_ = r.errors()
	})
}

func TestGroup_Do(t *testing.T) {
	inFleet(t, func(r *rig) {
		var all []team
		all, _ = r.groups(2, throttle.Every(interval), func(ctx context.Context, key string) error {
			switch key {
			case "own":
				return all[0].Do(ctx, key)
			case "other":
				return all[0].Do(ctx, "plain")
			case "broken":
				time.Sleep(2 * interval)
				return errBroken
			default:
				return nil
			}
		})
		ctx := r.Context()
		require.NoError(r, all[0].Do(ctx, "plain"))
		require.NoError(r, all[0].Do(ctx, "other"))
		require.ErrorIs(r, all[0].Do(ctx, "own"), throttle.ErrReentrant)

		var waiting sync.WaitGroup
		waiting.Go(func() { assert.Equal(r, errBroken, all[0].Do(ctx, "broken")) })
		r.sleep(interval)
		short, cancel := context.WithTimeout(ctx, interval/2)
		defer cancel()
		require.ErrorIs(r, all[1].Do(short, "broken"), context.DeadlineExceeded)
		waiting.Go(func() {
			var remote *fleet.RemoteError
			err := all[1].Do(ctx, "broken")
			assert.True(r, err == errBroken || errors.As(err, &remote), "%v", err) //nolint:errorlint // the very error
		})
		waiting.Wait()

		require.NoError(r, all[0].Do(ctx, "plain"))
		waiting.Go(func() { assert.ErrorIs(r, all[0].Do(ctx, "plain"), throttle.ErrCanceled) })
		r.sleep(interval / 10)
		assert.True(r, all[0].Cancel("plain"))
		waiting.Wait()
		require.ErrorIs(r, all[0].Do(endedContext(), "plain"), context.Canceled)
		require.NoError(r, all[0].Close())
		require.ErrorIs(r, all[0].Do(ctx, "plain"), throttle.ErrClosed)
		require.ErrorIs(r, all[0].Call("plain"), throttle.ErrClosed)
		assert.False(r, all[0].Cancel("plain"))
		_ = r.errors()
	})
}

// The handler and the observers learn which key a run belongs to.
func TestGroup_hooks(t *testing.T) {
	inFleet(t, func(r *rig) {
		seen := map[any]string{}
		all, _ := r.groups(1, throttle.Every(interval), func(context.Context, string) error { return errBroken },
			fleet.WithName("tenants"), fleet.WithObserver(func(run throttle.Run) { seen[run.Key] = run.Name }))
		require.NoError(r, all[0].Call("a"))
		r.sleep(interval)
		assert.Equal(r, map[any]string{"a": "tenants"}, seen)
		reported := r.errors()
		require.Len(r, reported, 1)
		require.ErrorIs(r, reported[0], errBroken)
		var failed *throttle.KeyError
		require.ErrorAs(r, reported[0], &failed)
		assert.Equal(r, "a", failed.Key)
	})
}

// Close drops the calls of this process, and takes over no more keys.
func TestGroup_Close(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(3, throttle.Every(interval), func(ctx context.Context, key string) error {
			if key == "long" {
				<-ctx.Done()
			}
			return nil
		}, fleet.WithMaxConcurrent(1))
		require.NoError(r, all[1].Call("long"))
		for range 2 {
			for _, key := range keys(20) {
				require.NoError(r, all[0].Call(key))
			}
			r.sleep(interval / 10)
		}
		all[0].kill()
		all[2].link.cut()
		r.sleep(5 * interval)
		require.NoError(r, all[1].Call("key 1")) // one that it has seen to be due
		require.NoError(r, all[1].Close())
		require.NoError(r, all[1].Close())
		r.sleep(5 * interval)
		assert.Zero(r, all[1].Len())
		for _, key := range keys(20) {
			assert.Len(r, runs.of(key), 1, "its run is for another process")
		}
		all[2].link.heal()
		r.sleep(5 * interval)
		for _, key := range keys(20) {
			assert.Len(r, runs.of(key), 2)
		}
	})
}

// Shutdown hands the calls that are not due to the others, and waits for the active runs.
func TestGroup_Shutdown(t *testing.T) {
	inFleet(t, func(r *rig) {
		var all []team
		all, runs := r.groups(2, throttle.Every(interval), func(ctx context.Context, key string) error {
			if key == "own" {
				return all[0].Shutdown(ctx)
			}
			if key == "long" {
				time.Sleep(5 * interval)
				return errBroken
			}
			return nil
		})
		require.ErrorIs(r, all[0].Do(r.Context(), "own"), throttle.ErrReentrant)
		require.NoError(r, all[0].Call("long"))
		for range 2 {
			for _, key := range keys(100) {
				require.NoError(r, all[0].Call(key))
			}
			r.sleep(interval / 10)
		}
		began := r.now()
		err := all[0].Shutdown(r.Context())
		assert.Equal(r, 5*interval-interval/5, r.now()-began)
		require.ErrorIs(r, err, errBroken)
		var failed *throttle.KeyError
		require.ErrorAs(r, err, &failed)
		assert.Equal(r, "long", failed.Key)
		assert.Zero(r, all[0].Len())
		assert.True(r, all[0].Stats().Closed)
		require.NoError(r, all[0].Shutdown(r.Context()))
		require.ErrorIs(r, all[0].SetPolicy(throttle.Every(interval)), throttle.ErrClosed)
		for _, key := range keys(100) {
			assert.Len(r, runs.of(key), 2, key)
		}
	})
}

func TestGroup_Shutdown_context(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, _ := r.groups(1, throttle.Every(interval), func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		require.NoError(r, all[0].Call("a"))
		r.sleep(interval)
		all[0].link.cut()
		require.NoError(r, all[0].Call("b"))
		r.sleep(interval)
		ctx, cancel := context.WithTimeout(r.Context(), interval)
		defer cancel()
		err := all[0].Shutdown(ctx)
		require.ErrorIs(r, err, context.DeadlineExceeded)
		require.ErrorIs(r, err, fleet.ErrEngineUnavailable)
		r.sleep(time.Minute)
		assert.Zero(r, all[0].Len())
		_ = r.errors()
	})
}

// The end of the parent context closes the Group.
func TestGroup_context(t *testing.T) {
	inFleet(t, func(r *rig) {
		ctx, cancel := context.WithCancel(r.Context())
		all, _ := r.groups(1, throttle.Every(interval), func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return nil
		}, fleet.WithContext(ctx))
		require.NoError(r, all[0].Call("a"))
		r.sleep(interval)
		cancel()
		r.sleep(interval)
		require.ErrorIs(r, all[0].Call("a"), throttle.ErrClosed)
		assert.Zero(r, all[0].Len())
	})
}

// Forget ends the window of a key, in the whole fleet.
func TestGroup_Forget(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(2, throttle.Every(time.Hour), nil)
		require.NoError(r, all[0].Call("a"))
		r.sleep(interval)
		require.NoError(r, all[0].Call("a"))
		r.sleep(interval)
		require.NoError(r, all[0].Forget(r.Context(), "a"))
		require.Error(r, all[0].Forget(r.Context(), ""))
		assert.Zero(r, all[0].Len())
		r.sleep(interval)
		require.NoError(r, all[1].Call("a"))
		r.sleep(interval)
		assert.Equal(r, []time.Duration{0, 3 * interval}, runs.times("a"))
	})
}

func TestGroup_SetPolicy(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(1, throttle.Every(time.Hour), func(_ context.Context, key string) error {
			if key == "long" {
				time.Sleep(interval)
			}
			return nil
		}, fleet.WithMaxConcurrent(1))
		require.Error(r, all[0].SetPolicy(throttle.Policy{Interval: -1}))
		require.NoError(r, all[0].Call("long"))
		r.sleep(0)
		require.NoError(r, all[0].Call("a")) // it cannot ask for a run yet
		r.sleep(0)
		require.NoError(r, all[0].SetPolicy(throttle.Every(interval)))
		assert.Equal(r, throttle.Every(interval), all[0].Policy())
		r.sleep(interval / 2)
		require.Empty(r, runs.of("a"))
		r.sleep(interval)
		require.NoError(r, all[0].Call("a"))
		r.sleep(0)
		require.NoError(r, all[0].Call("b"))
		r.sleep(0)
		require.NoError(r, all[0].Call("b"))
		r.sleep(10 * time.Second)
		assert.Len(r, runs.of("a"), 2)
		times := runs.times("b")
		require.Len(r, times, 2)
		assert.Equal(r, 1100*time.Millisecond, times[1]-times[0])
	})
}

// After the store has lost a key's token, its next one is higher all the same, although nobody
// holds the key any more: the Group remembers the highest of all.
func TestGroup_token(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(1, throttle.Every(interval), nil)
		require.NoError(r, all[0].Call("a"))
		r.sleep(interval)
		require.Zero(r, all[0].Len())
		r.store.Step(-time.Hour)
		r.store.Wipe()
		require.NoError(r, all[0].Call("a"))
		r.sleep(interval)
		starts := runs.of("a")
		require.Len(r, starts, 2)
		assert.Greater(r, starts[1].token, starts[0].token)
	})
}

// A yes is an engine that grants everything, and keeps nothing.
type yes struct {
	fleet.Base

	tokens atomic.Int64
}

func (y *yes) Claim(context.Context, string, machine.Claim) (machine.Reply, error) {
	return machine.Reply{Verdict: machine.Granted, Token: y.tokens.Add(1), Now: y.now()}, nil
}

func (y *yes) Finish(context.Context, string, machine.Finish) (machine.Finished, error) {
	return machine.Finished{Now: y.now()}, nil
}

func (y *yes) Due(context.Context, []string) (machine.Due, error) {
	return machine.Due{Next: machine.None, Now: y.now()}, nil
}

func (*yes) Renew(context.Context, string, int64) (bool, error)         { return true, nil }
func (*yes) Listen(context.Context, func(machine.Wake)) error           { return errors.ErrUnsupported }
func (*yes) Inspect(context.Context, string) (s machine.State, _ error) { return s, nil }
func (*yes) Forget(context.Context, string) error                       { return nil }
func (*yes) Part(string) int                                            { return 0 }
func (*yes) now() machine.Time                                          { return machine.Time(time.Now().UnixMicro()) }

// Keys that are forgotten take no memory. On a busy machine, more goroutines than ever may be ready at
// the same time, and the runtime keeps their descriptors. What keys take would show every time.
func TestGroup_idle_memory(t *testing.T) {
	g, err := fleet.NewGroup(new(yes), throttle.Every(time.Second), func(context.Context, string) error { return nil })
	require.NoError(t, err)
	const n = 20_000
	callAll := func() {
		for i := range n {
			require.NoError(t, g.Call(fmt.Sprintf("key %d", i)))
			for g.Len() > 100 { // otherwise there would be thousands of them
				runtime.Gosched()
			}
		}
		require.Eventually(t, func() bool { return g.Len() == 0 }, time.Minute, time.Millisecond)
	}
	callAll()
	grown := n
	for turn := 0; turn < 5 && grown >= n; turn++ {
		before := heap.InUse()
		callAll()
		grown = heap.InUse() - before
	}
	assert.Less(t, grown, n, "not even a byte for each key")
	require.NoError(t, g.Close())
	require.NoError(t, g.Shutdown(t.Context()))
}

func TestNewGroup_problems(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, _ := r.groups(1, throttle.Every(interval), nil)
		fn := func(context.Context, string) error { return nil }
		for _, problem := range []struct {
			engine fleet.Engine
			fn     func(context.Context, string) error
			opt    fleet.Option
			field  string
		}{
			{r.newLink(), nil, fleet.RunLocal(), "callback"},
			{nil, fn, fleet.RunLocal(), "engine"},
			{all[0].link, fn, fleet.RunLocal(), "engine"},
			{r.newLink(), fn, fleet.WithMaxConcurrent(0), "WithMaxConcurrent"},
			{r.newLink(), fn, fleet.WithMaxKeys(-1), "WithMaxKeys"},
			{r.newLink(), fn, nil, "Option"},
		} {
			_, err := fleet.NewGroup(problem.engine, throttle.Every(interval), problem.fn, problem.opt)
			var wrong *throttle.PolicyError
			require.ErrorAs(r, err, &wrong)
			assert.Equal(r, problem.field, wrong.Field)
		}
		single := func(context.Context) error { return nil }
		_, err := fleet.New(all[0].link, key, throttle.Every(interval), single)
		require.ErrorContains(r, err, "engine")
		_, err = fleet.New(r.newLink(), key, throttle.Every(interval), single, fleet.WithMaxConcurrent(1), fleet.WithMaxKeys(1))
		require.ErrorContains(r, err, "WithMaxConcurrent")
		require.ErrorContains(r, err, "WithMaxKeys")
		m := r.member(throttle.Every(interval), nil)
		_, err = fleet.NewGroup(m.link, throttle.Every(interval), fn)
		require.ErrorContains(r, err, "engine")
		for _, wrong := range []string{"", "a\x00", "\xff", fmt.Sprintf("%513d", 1)} {
			require.ErrorContains(r, all[0].Call(wrong), "key")
		}
		require.NoError(r, all[0].Close())
		again, err := fleet.NewGroup(all[0].link, throttle.Every(interval), fn)
		require.NoError(r, err, "the engine is free again")
		require.NoError(r, again.Close())
	})
}
