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
	"time"

	"github.com/throttle-go/throttle"
)

// A keyHammer is a Group of a few keys with its callback and its callers.
type keyHammer struct {
	t      *testing.T
	group  *throttle.Group[int]
	turns  int32 // how many runs may be active at once
	inside overlap
	keys   [hammerKeys]hammerKey
}

const hammerKeys = 16

// A hammerKey is one key and what each caller hands over by it.
type hammerKey struct {
	inside  overlap
	runs    int // plain: the race detector checks that runs are in order
	callers [hammerCallers]handover
}

func newKeyHammer(t *testing.T, p throttle.Policy, turns int, options ...throttle.Option) *keyHammer {
	h := &keyHammer{t: t, turns: int32(turns)}
	if turns < hammerKeys {
		options = append(options, throttle.WithMaxConcurrent(turns))
	}
	h.group = throttle.Must(throttle.NewGroup(p, h.callback, options...))
	return h
}

// callback reads what every caller has handed over by the key.
func (h *keyHammer) callback(_ context.Context, key int) error {
	defer h.inside.enter(h.t, h.turns)()
	k := &h.keys[key]
	defer k.inside.enter(h.t, 1)()
	k.runs++
	for i := range k.callers {
		k.callers[i].read()
	}
	if rand.IntN(4) == 0 {
		runtime.Gosched() // room for others to overlap
	}
	return nil
}

// call hands over the next value of a caller, by a random key.
func (h *keyHammer) call(caller int) {
	key := rand.IntN(hammerKeys)
	handover := &h.keys[key].callers[caller]
	value := handover.newest.Add(1)
	switch dice := rand.IntN(100); {
	case dice < 10:
		h.accepted(h.group.Do(context.Background(), key))
		if seen := handover.seen.Load(); seen < value {
			h.t.Errorf("Do of caller %d, key %d returned after a run that saw %d, not %d", caller, key, seen, value)
		}
	case dice < 20:
		h.accepted(h.group.CallWithin(key, time.Duration(rand.IntN(30))*time.Microsecond))
	case dice < 25:
		h.accepted(h.group.Call(key))
		h.accepted(h.group.Flush(context.Background(), key))
		if seen := handover.seen.Load(); seen < value {
			h.t.Errorf("Flush of caller %d, key %d returned when %d was seen, not %d", caller, key, seen, value)
		}
	default:
		h.accepted(h.group.Call(key))
	}
}

func (h *keyHammer) accepted(err error) {
	if err != nil {
		h.t.Errorf("a call was refused: %v", err)
	}
}

// emptied waits until no key is held, and then checks that no call was lost.
func (h *keyHammer) emptied() {
	h.t.Helper()
	eventually(h.t, "all keys to be forgotten", func() bool {
		runtime.Gosched()
		return h.group.Len() == 0
	})
	if held := slices.Collect(h.group.Keys()); len(held) > 0 {
		h.t.Errorf("Len is 0, and %v are held", held)
	}
	for key := range h.keys {
		for i := range h.keys[key].callers {
			handover := &h.keys[key].callers[i]
			if seen, newest := handover.seen.Load(), handover.newest.Load(); seen != newest {
				h.t.Errorf("key %d is forgotten, and no run has seen value %d of caller %d, only %d", key, newest, i, seen)
			}
		}
	}
}

// TestGroup_race checks G1, G3 and G8 for keys that are forgotten while they are called.
// No call follows the last ones of a round, so one that is lost stays lost.
func TestGroup_race(t *testing.T) {
	const interval = 10 * time.Microsecond
	counting := throttle.WithCallCount()
	for _, scene := range []struct {
		name    string
		policy  throttle.Policy
		turns   int
		options []throttle.Option
		changed []throttle.Policy // SetPolicy uses them in turn
	}{
		{name: "no limit", turns: hammerKeys},
		{name: "every", policy: throttle.Every(interval), turns: hammerKeys},
		{name: "every, in turns", policy: throttle.Every(interval), turns: 3, options: []throttle.Option{counting}},
		{name: "debounce, in turns", policy: throttle.Debounce(interval, 3*interval), turns: 1},
		{name: "debounce", policy: throttle.Debounce(interval, 0), turns: hammerKeys, options: []throttle.Option{counting}},
		{name: "trailing only, few keys", policy: throttle.Policy{Interval: interval, Edges: throttle.Trailing}, turns: hammerKeys,
			options: []throttle.Option{throttle.WithMaxKeys(hammerKeys)}},
		{name: "changed", policy: throttle.Every(interval), turns: 2, changed: []throttle.Policy{
			{}, throttle.Every(time.Hour), throttle.Debounce(interval, 0), {Interval: interval, Burst: 3}, throttle.Debounce(time.Hour, 0), throttle.Every(interval),
		}},
	} {
		t.Run(scene.name, func(t *testing.T) {
			h := newKeyHammer(t, scene.policy, scene.turns, scene.options...)
			playRounds(t, rounds(20), func(*testing.T) { h.round(scene.changed) })
			runs := uint64(0)
			for key := range h.keys {
				runs += uint64(h.keys[key].runs)
			}
			if stats := h.group.Stats(); stats.Runs != runs || stats.Pending || stats.Running {
				t.Errorf("after %d runs: %+v", runs, stats)
			}
			t.Logf("%d runs", runs)
		})
	}
}

// round lets all callers call for a while, and waits until all keys are forgotten.
func (h *keyHammer) round(policies []throttle.Policy) {
	var working, changing sync.WaitGroup
	done := make(chan struct{})
	for caller := range hammerCallers {
		working.Go(func() {
			for n := range rand.IntN(100) {
				h.call(caller)
				if n%8 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	if len(policies) > 0 {
		changing.Go(func() {
			for i := 0; ; i = (i + 1) % len(policies) {
				h.accepted(h.group.SetPolicy(policies[i]))
				select {
				case <-done: // with the last one, under which all is forgotten soon
					if i == len(policies)-1 {
						return
					}
				default:
				}
				runtime.Gosched()
			}
		})
	}
	working.Go(func() {
		for range rand.IntN(5) {
			h.look()
			runtime.Gosched()
		}
	})
	working.Wait()
	close(done)
	changing.Wait()
	h.emptied()
}

// look uses the methods that look at all keys.
func (h *keyHammer) look() {
	seen := make(map[int]bool)
	for key := range h.group.Keys() {
		if seen[key] || key < 0 || key >= hammerKeys {
			h.t.Errorf("Keys yields %d, after %v", key, seen)
		}
		seen[key] = true
	}
	h.group.Stats()
	h.group.Policy()
	if held := h.group.Len(); held < 0 || held > hammerKeys {
		h.t.Errorf("%d keys are held", held)
	}
}

// TestGroup_maxKeys_race calls more keys than may be held. Each call is refused or
// covered, and the group never miscounts its keys.
func TestGroup_maxKeys_race(t *testing.T) {
	const most, keys = 3, 12
	var runs, covered atomic.Int64
	g := throttle.Must(throttle.NewGroup(throttle.Every(5*time.Microsecond), func(context.Context, int) error {
		runs.Add(1)
		return nil
	}, throttle.WithMaxKeys(most), throttle.WithCallCount(), throttle.WithObserver(func(run throttle.Run) { covered.Add(int64(run.Calls)) })))
	var calling sync.WaitGroup
	var accepted, refused atomic.Int64
	for range hammerCallers {
		calling.Go(func() {
			for range rounds(500) {
				var err error
				switch key := rand.IntN(keys); rand.IntN(3) {
				case 0:
					err = g.Do(context.Background(), key)
				case 1:
					err = g.CallWithin(key, 0)
				default:
					err = g.Call(key)
				}
				switch {
				case err == nil:
					accepted.Add(1)
				case errors.Is(err, throttle.ErrTooManyKeys):
					refused.Add(1)
				default:
					t.Errorf("a call was refused: %v", err)
				}
				if held := g.Len(); held < 0 || held > most {
					t.Errorf("%d keys are held", held)
				}
			}
		})
	}
	calling.Wait()
	eventually(t, "all keys to be forgotten", func() bool { runtime.Gosched(); return g.Len() == 0 })
	if covered.Load() != accepted.Load() || g.Stats().Calls != uint64(accepted.Load()) {
		t.Errorf("%d calls were accepted, %d covered, Stats counts %d", accepted.Load(), covered.Load(), g.Stats().Calls)
	}
	t.Logf("%d calls accepted, %d refused, %d runs", accepted.Load(), refused.Load(), runs.Load())
}

// groupLifeCallers is how many goroutines call in a groupLife.
const groupLifeCallers = 2

// A groupLife is one Group and the goroutines that use it until it ends.
type groupLife struct {
	*keyHammer

	users   sync.WaitGroup
	runs    atomic.Int64 // entered
	covered atomic.Uint64
	began   chan struct{} // closed when the first run has begun
	once    sync.Once
}

func newGroupLife(t *testing.T, options ...throttle.Option) *groupLife {
	const interval = 20 * time.Microsecond
	policies := []throttle.Policy{
		{}, throttle.Every(interval), throttle.Every(time.Hour), throttle.Debounce(interval, 2*interval), throttle.Debounce(time.Hour, 0),
		{Interval: interval, Edges: throttle.Trailing}, {Interval: interval, MaxInterval: interval},
	}
	l := &groupLife{keyHammer: &keyHammer{t: t, turns: hammerKeys}, began: make(chan struct{})}
	if rand.IntN(2) == 0 {
		l.turns = 1 + rand.Int32N(3)
		options = append(options, throttle.WithMaxConcurrent(int(l.turns)))
	}
	options = append(options, throttle.WithCallCount(), throttle.WithObserver(func(run throttle.Run) { l.covered.Add(run.Calls) }))
	l.group = throttle.Must(throttle.NewGroup(policies[rand.IntN(len(policies))], l.run, options...))
	return l
}

func (l *groupLife) run(ctx context.Context, key int) error {
	l.runs.Add(1)
	l.once.Do(func() { close(l.began) })
	return l.callback(ctx, key)
}

// use starts the users. They go on for a while, at most until they are refused.
func (l *groupLife) use() {
	for caller := range groupLifeCallers {
		l.users.Go(func() {
			for n := range 100 {
				key := rand.IntN(hammerKeys)
				value := l.keys[key].callers[caller].newest.Add(1)
				if err := l.call(caller, n, key); err != nil {
					if !errors.Is(err, throttle.ErrClosed) {
						l.t.Errorf("a call returned %v", err)
					}
					return
				}
				l.keys[key].callers[caller].returned.Store(value)
				if n%8 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	l.users.Go(func() {
		for n := range rand.IntN(10) {
			if err := l.group.Flush(context.Background(), n); err != nil && !errors.Is(err, throttle.ErrClosed) {
				l.t.Errorf("Flush returned %v", err)
			}
			runtime.Gosched()
		}
	})
	l.users.Go(func() {
		for range rand.IntN(4) {
			err := l.group.SetPolicy(l.group.Policy())
			if err != nil && !errors.Is(err, throttle.ErrClosed) {
				l.t.Errorf("SetPolicy returned %v", err)
			}
			l.look()
		}
	})
}

func (l *groupLife) call(caller, n, key int) error {
	if n == 0 || rand.IntN(8) == 0 {
		return l.group.CallWithin(key, 0)
	}
	if rand.IntN(8) > 0 {
		return l.group.Call(key)
	}
	handover := &l.keys[key].callers[caller]
	before := handover.newest.Load()
	err := l.group.Do(context.Background(), key)
	if seen := handover.seen.Load(); err == nil && seen < before {
		l.t.Errorf("Do returned nil, but its run has seen %d, not %d", seen, before)
	}
	return err
}

// checkRest checks that the group does nothing once Shutdown has returned, whatever its
// users still do.
func (l *groupLife) checkRest() {
	runs, stats := l.runs.Load(), l.group.Stats()
	if stats.Running || stats.Pending || !stats.Closed || !stats.Next.IsZero() || stats.Runs != uint64(runs) || l.group.Len() != 0 {
		l.t.Errorf("after Shutdown and %d runs, with %d keys held: %+v", runs, l.group.Len(), stats)
	}
	l.users.Wait()
	if later := l.group.Stats(); later.Runs != stats.Runs || later.Calls != stats.Calls || l.runs.Load() != runs || l.group.Len() != 0 {
		l.t.Errorf("after Shutdown and %d runs: %+v, and when all users had gone %+v, with %d keys held", runs, stats, later, l.group.Len())
	}
}

// TestGroup_Shutdown_race checks G7 for Shutdown: a call that races with it is covered
// by a run that ends before Shutdown does, or is refused.
func TestGroup_Shutdown_race(t *testing.T) {
	playRounds(t, rounds(40), func(t *testing.T) {
		l := newGroupLife(t)
		l.use()
		linger(l.began)
		var earlier [groupLifeCallers][hammerKeys]uint64
		for caller := range earlier {
			for key := range earlier[caller] {
				earlier[caller][key] = l.keys[key].callers[caller].returned.Load()
			}
		}
		if err := l.group.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		for caller := range earlier {
			for key, value := range earlier[caller] {
				if seen := l.keys[key].callers[caller].seen.Load(); seen < value {
					t.Errorf("Shutdown returned, but of key %d only %d has been seen, not %d, whose call came before", key, seen, value)
				}
			}
		}
		if accepted := l.group.Stats().Calls; accepted != l.covered.Load() {
			t.Errorf("Shutdown returned, with %d calls accepted and %d covered", accepted, l.covered.Load())
		}
		l.checkRest()
	})
}

// TestGroup_Close_race checks G7 for Close and for the parent's end.
func TestGroup_Close_race(t *testing.T) {
	ends := []func(*groupLife, context.CancelFunc){
		func(l *groupLife, _ context.CancelFunc) { _ = l.group.Close() },
		func(_ *groupLife, endParent context.CancelFunc) { endParent() },
		func(l *groupLife, endParent context.CancelFunc) {
			l.users.Go(endParent)
			_ = l.group.Close()
		},
		func(l *groupLife, _ context.CancelFunc) {
			l.users.Go(func() { l.shutDown("Shutdown beside Close") })
			_ = l.group.Close()
		},
	}
	playRounds(t, rounds(60), func(t *testing.T) {
		parent, endParent := context.WithCancel(context.Background())
		defer endParent()
		l := newGroupLife(t, throttle.WithContext(parent))
		l.use()
		linger(l.began)
		ends[rand.IntN(len(ends))](l, endParent)
		entered := l.runs.Load()
		l.users.Wait()
		l.shutDown("Shutdown after the end")
		// Runs that had started may still have been on their way into the
		// callback: one for each key at most.
		if later := l.runs.Load(); later > entered+hammerKeys {
			t.Errorf("%d runs entered after the end", later-entered)
		}
		l.checkRest()
	})
}

// shutDown waits until nothing runs. Others may drop what it finds pending.
func (l *groupLife) shutDown(what string) {
	if err := l.group.Shutdown(context.Background()); err != nil && !errors.Is(err, throttle.ErrClosed) {
		l.t.Errorf("%s returned %v", what, err)
	}
}

// TestGroup_Shutdown_cancelRace cancels a key's pending run just after Shutdown's
// context has ended and the key's active run is over. The race detector sees it if
// Shutdown then looks at what Cancel changes.
func TestGroup_Shutdown_cancelRace(*testing.T) {
	for range 20 {
		entered, release := make(chan string), map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{})}
		g := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(_ context.Context, key string) error {
			entered <- key
			<-release[key]
			return nil
		}, throttle.WithMaxConcurrent(1)))
		_ = g.Call("a")
		<-entered
		_ = g.Call("b") // waits for the turn
		_ = g.Call("a")
		ctx, end := context.WithCancel(context.Background())
		asked := 0
		_ = g.Shutdown(&steeredContext{ctx, func() <-chan struct{} {
			asked++
			switch asked {
			case 1:
				end()
			case 2:
				close(release["a"])
				<-entered
				go g.Cancel("a")
				time.Sleep(time.Millisecond) // waiting for Cancel would hide the race
			}
			return ctx.Done()
		}})
		if asked == 1 {
			close(release["a"])
		}
		close(release["b"])
	}
}
