package throttle_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/heap"
)

// TestThrottler_idle tests G6 with 100 000 throttlers (10 000 under -short), each
// of which has been through every kind of wait and run. Goroutines can be counted.
// Timers cannot: no profile and no metric of the runtime shows them. Two
// observations stand in for a count. A timer costs memory, more than 100 bytes:
// after their runs, the throttlers weigh no more than what New has allocated. And
// the runtime's heap of timers keeps alive what its timers' functions refer to: if
// every single throttler is collected, then no timer, no goroutine and nothing else
// refers to one.
func TestThrottler_idle(t *testing.T) {
	const most = 336 // bytes
	count := 100_000
	if testing.Short() {
		count = 10_000
	}
	var runs, collected atomic.Int64
	callback := func() { runs.Add(1) }
	throttlers := make([]*throttle.Throttler, count)

	goroutines, empty := runtime.NumGoroutine(), heap.InUse()
	for i := range throttlers {
		throttlers[i] = throttle.Must(throttle.New(throttle.Every(time.Millisecond), callback))
	}
	fresh := heap.InUse()
	var awaited sync.WaitGroup
	for i, throttler := range throttlers {
		throttler.Call() // leading
		throttler.Call() // deferred by a timer
		if i%16 == 0 {   // and waited for, a timer stopped, another one dropped
			awaited.Go(func() {
				if err := throttler.Do(context.Background()); err != nil {
					t.Errorf("Do returned %v", err)
				}
				throttler.Call()
				if err := throttler.Flush(context.Background()); err != nil {
					t.Errorf("Flush returned %v", err)
				}
				throttler.Call()
				throttler.Cancel()
			})
		}
	}
	awaited.Wait()
	for _, throttler := range throttlers {
		rest(t, throttler)
	}
	if runs := runs.Load(); runs < 2*int64(count) {
		t.Errorf("%d throttlers made %d runs", count, runs)
	}
	eventually(t, "the goroutines of the runs", func() bool { return runtime.NumGoroutine() <= goroutines })
	idle := heap.InUse()

	for i, throttler := range throttlers {
		runtime.AddCleanup(throttler, func(struct{}) { collected.Add(1) }, struct{}{})
		throttlers[i] = nil
	}
	for range 100 {
		runtime.GC()
		if collected.Load() == int64(count) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if left := int64(count) - collected.Load(); left > 0 {
		t.Errorf("of %d idle throttlers %d were not collected", count, left)
	}
	// What the runtime keeps of a goroutine that has ended, for the next one, is
	// not the throttler's: so count what is freed with it.
	freshSize, idleSize := (fresh-empty)/count, (idle-heap.InUse())/count
	runtime.KeepAlive(throttlers) // the slice is in all figures
	t.Logf("%d bytes per throttler when new, %d after its runs", freshSize, idleSize)
	if freshSize > most || idleSize > most {
		t.Errorf("a throttler weighs %d bytes when new and %d after its runs, more than %d", freshSize, idleSize, most)
	}
}

// TestThrottler_idle_collected checks that you need no Close once nothing is
// pending, if there is no parent context to watch.
func TestThrottler_idle_collected(t *testing.T) {
	closable := t.Context()
	for _, test := range []struct {
		name    string
		policy  throttle.Policy
		options []throttle.Option
		use     func(throttler *throttle.Throttler)
	}{
		{name: "new", use: func(*throttle.Throttler) {}},
		{name: "after a run", policy: throttle.Every(time.Hour), use: func(throttler *throttle.Throttler) {
			_ = throttler.Do(context.Background())
		}},
		{name: "after a deferred run", policy: throttle.Debounce(time.Millisecond, 0), use: func(throttler *throttle.Throttler) {
			_ = throttler.Do(context.Background())
		}},
		{name: "flushed", policy: throttle.Debounce(time.Hour, 0), use: func(throttler *throttle.Throttler) {
			throttler.Call()
			_ = throttler.Flush(context.Background())
		}},
		{name: "canceled", policy: throttle.Debounce(time.Hour, 0), use: func(throttler *throttle.Throttler) {
			throttler.Call()
			throttler.Cancel()
		}},
		{name: "no longer periodic", policy: throttle.Policy{MaxInterval: time.Hour}, use: func(throttler *throttle.Throttler) {
			_ = throttler.SetPolicy(throttle.Policy{})
		}},
		{name: "all options, background parent",
			options: []throttle.Option{
				throttle.WithName("dropped"), throttle.WithCallCount(), throttle.WithContext(context.Background()),
				throttle.WithErrorHandler(func(error) {}), throttle.WithObserver(func(throttle.Run) {}),
			},
			use: func(throttler *throttle.Throttler) { _ = throttler.Do(context.Background()) }},
		{name: "closed, with a parent", options: []throttle.Option{throttle.WithContext(closable)},
			use: func(throttler *throttle.Throttler) {
				_ = throttler.Do(context.Background())
				_ = throttler.Close()
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			throttler := throttle.Must(throttle.New(test.policy, func() {}, test.options...))
			test.use(throttler)
			dropped := weak.Make(throttler)
			// From here on this function does not refer to it.
			if !collectedSoon(dropped) {
				t.Error("an idle throttler that was dropped is still there")
			}
		})
	}
}

// collectedSoon collects garbage until dropped is collected. It reports false if that
// takes too long.
func collectedSoon[T any](dropped weak.Pointer[T]) bool {
	for range 1000 {
		runtime.GC()
		if dropped.Value() == nil {
			return true
		}
		time.Sleep(time.Millisecond) // a run's goroutine may have to end, a stopped timer to be forgotten
	}
	return false
}

// TestThrottler_idle_runsFirst checks that no call is lost if you drop the
// throttler: it lives until what is pending has run, and no longer.
func TestThrottler_idle_runsFirst(t *testing.T) {
	const wait = 50 * time.Millisecond
	for _, test := range []struct {
		name   string
		policy throttle.Policy
		runs   int32 // that must take place, the first of which fails
	}{
		{"a deferred call", throttle.Debounce(wait, 0), 1},
		{"a call in the window", throttle.Every(wait), 2},
		{"a retry", throttle.Policy{Retry: throttle.Backoff{Initial: wait}}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			var runs atomic.Int32
			throttler := throttle.Must(throttle.New(test.policy, func() error {
				if runs.Add(1) == 1 {
					return context.DeadlineExceeded
				}
				return nil
			}, throttle.WithErrorHandler(func(error) {})))
			throttler.Call()
			throttler.Call()
			dropped := weak.Make(throttler)
			for enough := time.Now().Add(10 * time.Second); runs.Load() < test.runs; time.Sleep(time.Millisecond) {
				runtime.GC()
				if time.Now().After(enough) {
					t.Fatalf("%d runs took place, the throttler is there: %t", runs.Load(), dropped.Value() != nil)
				}
			}
			if !collectedSoon(dropped) {
				t.Error("after its last run a dropped throttler is still there")
			}
		})
	}
}

// TestThrottler_idle_parent checks what the documentation of WithContext says: a
// context that can end refers to the throttler that it will close.
func TestThrottler_idle_parent(t *testing.T) {
	parent, end := context.WithCancel(context.Background())
	throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithContext(parent)))
	kept := weak.Make(throttler)
	for range 3 {
		runtime.GC()
	}
	if kept.Value() == nil {
		t.Fatal("nobody is left to be closed when the parent ends")
	}
	end()
	if !collectedSoon(kept) {
		t.Error("after its parent's end a throttler is still there")
	}
}

// TestThrottler_idle_closed checks that a closed throttler, which its user may keep in a
// field, keeps nothing of its callback.
func TestThrottler_idle_closed(t *testing.T) {
	for name, end := range map[string]func(*throttle.Throttler){
		"Close": func(throttler *throttle.Throttler) { _ = throttler.Close() },
		"Close, then Shutdown": func(throttler *throttle.Throttler) {
			_ = throttler.Close()
			_ = throttler.Shutdown(context.Background())
		},
		"Shutdown with a pending": func(throttler *throttle.Throttler) { throttler.Call(); _ = throttler.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			throttler, kept := newWithMemory()
			throttler.Call()
			throttler.Call()
			end(throttler)
			requireCollected(t, kept)
			runtime.KeepAlive(throttler)
		})
	}
}

// newWithMemory returns a throttler whose callback refers to memory.
func newWithMemory() (*throttle.Throttler, weak.Pointer[[1 << 10]byte]) {
	memory := new([1 << 10]byte)
	callback := func() { runtime.KeepAlive(memory) }
	return throttle.Must(throttle.New(throttle.Every(time.Hour), callback)), weak.Make(memory)
}

// TestGroup_idle_lastError checks that a Group keeps alive no error but the one that
// Stats shows.
func TestGroup_idle_lastError(t *testing.T) {
	type mistake struct {
		error
		_ [1 << 10]byte
	}
	var mu sync.Mutex // guards errs
	var errs []weak.Pointer[mistake]
	g := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(context.Context, int) error {
		err := &mistake{error: errors.New("mistake")}
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, weak.Make(err))
		return err
	}))
	for key := range 100 {
		_ = g.Do(context.Background(), key)
	}
	eventually(t, "an empty Group", func() bool { return g.Len() == 0 })
	requireCollected(t, errs[:99]...)
	require.NotNil(t, errs[99].Value())
	require.Equal(t, error(errs[99].Value()), g.Stats().LastError)
}

// nothing is a callback that does nothing.
func nothing(context.Context, int) error { return nil }

// TestGroup_idle weighs idle keys: a timer would cost each more than 100 bytes. It
// also waits until no goroutine is left while the keys are held, see warmUp.
func TestGroup_idle(t *testing.T) {
	const keys, most = 5_000, 256 // bytes
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), nothing))
	warmUp(t, g, keys)
	if err := g.SetPolicy(throttle.Every(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	emptied(t, g)
	if err := g.SetPolicy(throttle.Every(time.Hour)); err != nil {
		t.Fatal(err)
	}
	empty := heap.InUse()
	warmUp(t, g, keys)
	full := heap.InUse()
	if held := g.Len(); held != keys {
		t.Errorf("%d keys are held", held)
	}
	weight := (full - empty) / keys
	t.Logf("%d bytes per idle key", weight)
	if weight > most {
		t.Errorf("an idle key weighs %d bytes, more than %d", weight, most)
	}
	_ = g.Close()
}

// warmUp lets every key run once, and waits until the goroutines of the runs have ended.
// The runtime then has the goroutine descriptors that it never gives back.
func warmUp(t *testing.T, g *throttle.Group[int], keys int) {
	t.Helper()
	goroutines := runtime.NumGoroutine()
	for key := range keys {
		if err := g.Call(key); err != nil {
			t.Fatalf("a call was refused: %v", err)
		}
		if key%100 == 0 {
			eventually(t, "the runs", func() bool { return runtime.NumGoroutine() <= goroutines+100 })
		}
	}
	eventually(t, "the runs", func() bool { return runtime.NumGoroutine() <= goroutines })
}

func emptied(t *testing.T, g *throttle.Group[int]) {
	t.Helper()
	eventually(t, "all keys to be forgotten", func() bool {
		runtime.Gosched()
		return g.Len() == 0
	})
}

// TestGroup_idle_memory lets very many keys come and go through every kind of wait.
// It compares the heap with all of them and the heap after they are forgotten,
// while the group is still there: what the runtime keeps of goroutines that have
// ended is in both figures.
func TestGroup_idle_memory(t *testing.T) {
	const keys = 10_000
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), nothing, throttle.WithMaxConcurrent(8)))
	warmUp(t, g, 1000)
	if err := g.SetPolicy(throttle.Policy{}); err != nil {
		t.Fatal(err)
	}
	emptied(t, g)
	empty := heap.InUse()
	if err := g.SetPolicy(throttle.Every(time.Hour)); err != nil {
		t.Fatal(err)
	}
	warmUp(t, g, keys)
	for key := range keys {
		if key%3 == 0 {
			_ = g.Call(key) // a timer
		}
		if key%6 == 0 {
			g.Cancel(key) // a timer stopped
		}
	}
	full := heap.InUse()
	if err := g.SetPolicy(throttle.Policy{}); err != nil {
		t.Fatal(err)
	}
	emptied(t, g)
	left := heap.InUse()
	t.Logf("%d bytes with no key, %d more with %d keys, %d more once they are forgotten", empty, full-empty, keys, left-empty)
	if full-left < (full-empty)*95/100 {
		t.Errorf("%d keys took %d bytes, and gave %d back when they were forgotten", keys, full-empty, full-left)
	}
	runtime.KeepAlive(g)
}

// TestGroup_idle_collected checks that you need no Close once no key is held, if
// there is no parent context to watch. A timer, a goroutine or anything else that
// the group owned would keep it.
func TestGroup_idle_collected(t *testing.T) {
	ctx := context.Background()
	for name, use := range map[string]func(*throttle.Group[int]){
		"never called": func(*throttle.Group[int]) {},
		"run":          func(g *throttle.Group[int]) { _ = g.Do(ctx, 1) },
		"many keys": func(g *throttle.Group[int]) {
			for key := range 1000 {
				_ = g.Call(key)
			}
		},
		"deferred": func(g *throttle.Group[int]) {
			for range 3 {
				_ = g.Do(ctx, 1)
			}
		},
		"flushed": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Debounce(10*time.Millisecond, 0))
			_ = g.Call(1)
			_ = g.Flush(ctx, 1)
		},
		"canceled": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Policy{Interval: time.Hour, Edges: throttle.Trailing})
			_ = g.Call(1)
			g.Cancel(1)
		},
		"closed with keys": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Every(time.Hour))
			_ = g.Do(ctx, 1)
			_ = g.Call(1)
			_ = g.Call(2)
			_ = g.Close()
		},
		"window cut short": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Every(time.Hour))
			_ = g.Do(ctx, 1)
			_ = g.SetPolicy(throttle.Policy{})
		},
		"no longer periodic": func(g *throttle.Group[int]) {
			_ = g.SetPolicy(throttle.Policy{MaxInterval: time.Hour})
			_ = g.Do(ctx, 1)
			_ = g.SetPolicy(throttle.Policy{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := throttle.Must(throttle.NewGroup(throttle.Every(5*time.Millisecond), nothing, throttle.WithMaxConcurrent(2)))
			use(g)
			emptied(t, g)
			dropped := weak.Make(g)
			// From here on this function does not refer to it.
			if !collectedSoon(dropped) {
				t.Error("an empty group that was dropped is still there")
			}
		})
	}
}

// TestGroup_idle_closed checks that you need not end a Group's parent context once
// you have closed the Group.
func TestGroup_idle_closed(t *testing.T) {
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), nothing, throttle.WithContext(t.Context())))
	_ = g.Do(context.Background(), 1)
	_ = g.Close()
	dropped := weak.Make(g)
	// From here on this function does not refer to it.
	if !collectedSoon(dropped) {
		t.Error("a closed group that was dropped is still there")
	}
}

// TestGroup_idle_runsFirst checks that no call is lost if you drop the group: it
// lives until what is pending has run.
func TestGroup_idle_runsFirst(t *testing.T) {
	const keys = 20
	var runs atomic.Int32
	g := throttle.Must(throttle.NewGroup(throttle.Debounce(20*time.Millisecond, 0), func(context.Context, int) error {
		runs.Add(1)
		return nil
	}, throttle.WithMaxConcurrent(1)))
	for key := range keys {
		if err := g.Call(key); err != nil {
			t.Fatalf("a call was refused: %v", err)
		}
	}
	dropped := weak.Make(g)
	for enough := time.Now().Add(10 * time.Second); runs.Load() < keys || dropped.Value() != nil; time.Sleep(time.Millisecond) {
		runtime.GC()
		if time.Now().After(enough) {
			t.Fatalf("%d of %d runs took place, the group is there: %t", runs.Load(), keys, dropped.Value() != nil)
		}
	}
}

// TestGroup_idle_forgottenKey checks that a group which goes on keeps nothing of a
// key it has forgotten, be it in its table, in a queue or in what it waits for.
func TestGroup_idle_forgottenKey(t *testing.T) {
	type big struct{ _ [1 << 10]byte }
	const keys = 1000
	var collected atomic.Int32
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Millisecond), func(context.Context, *big) error { return nil },
		throttle.WithMaxConcurrent(4)))
	stays := new(big)
	var calling sync.WaitGroup
	for range keys {
		calling.Go(func() {
			key := new(big)
			runtime.AddCleanup(key, func(struct{}) { collected.Add(1) }, struct{}{})
			_ = g.Call(key)
			_ = g.Do(context.Background(), key)
			_ = g.Call(key)
			g.Cancel(key)
		})
	}
	calling.Wait()
	_ = g.Call(stays)
	eventually(t, "all keys to be collected", func() bool {
		runtime.GC()
		time.Sleep(time.Millisecond)
		return collected.Load() == keys
	})
	runtime.KeepAlive(stays)
	_ = g.Close()
}

// TestGroup_idle_queue checks that the queue for turns keeps nothing of a run that
// has left it, while others still wait.
func TestGroup_idle_queue(t *testing.T) {
	type big struct{ _ [1 << 10]byte }
	const keys = 100
	var collected atomic.Int32
	busy, release := make(chan struct{}, keys+1), make(chan struct{})
	g := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(context.Context, *big) error {
		busy <- struct{}{}
		<-release
		return nil
	}, throttle.WithMaxConcurrent(1)))
	_ = g.Call(new(big))
	<-busy
	stay := make([]*big, keys)
	for i := range stay {
		stay[i] = new(big)
		_ = g.Call(stay[i])
	}
	leave := make([]*big, keys)
	for i := range leave {
		leave[i] = new(big)
		runtime.AddCleanup(leave[i], func(struct{}) { collected.Add(1) }, struct{}{})
		_ = g.Call(leave[i])
	}
	for i, key := range leave {
		if leave[i] = nil; !g.Cancel(key) {
			t.Error("a key is not in the queue")
		}
	}
	eventually(t, "all keys to be collected", func() bool {
		runtime.GC()
		time.Sleep(time.Millisecond)
		return collected.Load() == keys
	})
	runtime.KeepAlive(stay)
	close(release)
	if err := g.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown returned %v", err)
	}
}

// TestGroup_idle_bubble needs no Close: a goroutine that was left would make the
// bubble fail.
func TestGroup_idle_bubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle.Must(throttle.NewGroup(throttle.Every(time.Second), func(context.Context, string) error { return nil }))
		for key := range 100 {
			if err := g.Do(context.Background(), strconv.Itoa(key)); err != nil {
				t.Errorf("Do returned %v", err)
			}
		}
		if held := g.Len(); held != 100 {
			t.Errorf("%d keys are held", held)
		}
	})
}

// A load is a heavy value.
type load [1 << 10]byte

// A loader is a Coalescer of loads. It keeps all that a user can keep of its runs.
type loader struct {
	coalescer *throttle.Coalescer[*load, *load]
	taken     atomic.Int32 // by how many runs
	fail      atomic.Int32 // how many runs are to fail

	contexts []context.Context
	seen     []throttle.Run
	stats    []throttle.Stats
}

func newLoader(t *testing.T, p throttle.Policy, options ...throttle.Option) *loader {
	t.Helper()
	l := new(loader)
	options = append(options, throttle.WithErrorHandler(func(error) {}),
		throttle.WithObserver(func(run throttle.Run) { l.seen = append(l.seen, run) }))
	l.coalescer = throttle.Must(throttle.NewCoalescer(p, throttle.Latest[*load](), l.load, options...))
	t.Cleanup(func() { finish(l.coalescer) })
	return l
}

func (l *loader) load(ctx context.Context, _ *load) error {
	l.contexts = append(l.contexts, ctx)
	l.stats = append(l.stats, l.coalescer.Stats())
	if l.taken.Add(1) <= l.fail.Load() {
		return errFailed
	}
	return nil
}

// call hands over a new load, and returns a weak pointer to it.
func (l *loader) call(t *testing.T) weak.Pointer[load] {
	t.Helper()
	value := new(load)
	require.NoError(t, l.coalescer.Call(value))
	return weak.Make(value)
}

// do hands over a new load and waits for the run.
func (l *loader) do() weak.Pointer[load] {
	value := new(load)
	_ = l.coalescer.Do(context.Background(), value)
	return weak.Make(value)
}

func (l *loader) flush() { _ = l.coalescer.Flush(context.Background()) }

// requireCollected waits until nothing refers to what pointers point to.
func requireCollected[T any](t *testing.T, pointers ...weak.Pointer[T]) {
	t.Helper()
	for _, pointer := range pointers {
		for turns := 0; pointer.Value() != nil; turns++ {
			require.Less(t, turns, 200, "something holds it")
			runtime.GC()
			time.Sleep(time.Duration(turns) * 10 * time.Microsecond) // to a goroutine that is about to end
		}
	}
}

func TestCoalescer_idle_values(t *testing.T) {
	hourly := throttle.Every(time.Hour)
	tests := []struct {
		name   string
		policy throttle.Policy
		fail   int32
		give   func(*testing.T, *loader) []weak.Pointer[load]
	}{
		{name: "delivered to Do", policy: hourly, give: func(_ *testing.T, l *loader) []weak.Pointer[load] {
			return []weak.Pointer[load]{l.do()}
		}},
		{name: "delivered to Flush", policy: throttle.Debounce(time.Hour, 0), give: func(t *testing.T, l *loader) []weak.Pointer[load] {
			value := l.call(t)
			l.flush()
			return []weak.Pointer[load]{value}
		}},
		{name: "merged away while it waits", policy: throttle.Debounce(time.Hour, 0), give: func(t *testing.T, l *loader) []weak.Pointer[load] {
			older := l.call(t)
			l.call(t)
			return []weak.Pointer[load]{older}
		}},
		{name: "delivered while another waits", policy: hourly, give: func(t *testing.T, l *loader) []weak.Pointer[load] {
			value := l.do()
			l.call(t)
			return []weak.Pointer[load]{value}
		}},
		{name: "delivered by a retry", policy: backoff(time.Millisecond, 0), fail: 2, give: func(t *testing.T, l *loader) []weak.Pointer[load] {
			value := l.call(t)
			eventually(t, "the retries", func() bool { return l.taken.Load() == 3 })
			l.flush()
			return []weak.Pointer[load]{value}
		}},
		{name: "delivered by Shutdown", policy: throttle.Debounce(time.Hour, 0), give: func(t *testing.T, l *loader) []weak.Pointer[load] {
			value := l.call(t)
			require.NoError(t, l.coalescer.Shutdown(context.Background()))
			return []weak.Pointer[load]{value}
		}},
		{name: "returned by Cancel", policy: throttle.Debounce(time.Hour, 0), give: func(t *testing.T, l *loader) []weak.Pointer[load] {
			value := l.call(t)
			l.coalescer.Cancel()
			return []weak.Pointer[load]{value}
		}},
		{name: "returned by Cancel, from a retry", policy: backoff(time.Hour, 0), fail: 1, give: func(_ *testing.T, l *loader) []weak.Pointer[load] {
			value := l.do()
			restCanceled(l.coalescer)
			return []weak.Pointer[load]{value}
		}},
		{name: "refused", policy: throttle.Policy{Interval: time.Hour, Edges: throttle.Leading}, give: func(_ *testing.T, l *loader) []weak.Pointer[load] {
			return []weak.Pointer[load]{l.do(), l.do()}
		}},
		{name: "lost by its run, as Do was told", policy: hourly, fail: 1, give: func(_ *testing.T, l *loader) []weak.Pointer[load] {
			return []weak.Pointer[load]{l.do()}
		}},
		{name: "lost by its run, as the handler was told", policy: hourly, fail: 1, give: func(t *testing.T, l *loader) []weak.Pointer[load] {
			value := l.call(t)
			l.flush()
			return []weak.Pointer[load]{value}
		}},
		{name: "dropped by Close", policy: throttle.Debounce(time.Hour, 0), give: func(t *testing.T, l *loader) []weak.Pointer[load] {
			value := l.call(t)
			_ = l.coalescer.Close()
			return []weak.Pointer[load]{value}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLoader(t, test.policy, throttle.WithName("loads"), throttle.WithContext(t.Context()))
			l.fail.Store(test.fail)
			requireCollected(t, test.give(t, l)...)
			runtime.KeepAlive(l)
		})
	}
}

// restCanceled cancels until c is idle. A run that has failed may still be in its hooks.
func restCanceled[V, A any](c *throttle.Coalescer[V, A]) {
	for stats := c.Stats(); stats.Pending || stats.Running; stats = c.Stats() {
		c.Cancel()
		runtime.Gosched()
	}
}

// TestCoalescer_idle_hooks looks while an observer is at work.
func TestCoalescer_idle_hooks(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	l := newLoader(t, throttle.Policy{}, throttle.WithObserver(func(throttle.Run) {
		close(begun)
		<-release
	}))
	value := l.call(t)
	<-begun
	requireCollected(t, value)
	close(release)
	runtime.KeepAlive(l)
}

// TestCoalescer_idle_collected tests G6: you need no Close once nothing is pending.
func TestCoalescer_idle_collected(t *testing.T) {
	states := map[string]func() *throttle.Coalescer[*load, *load]{
		"never called": func() *throttle.Coalescer[*load, *load] { return newIdle(throttle.Policy{}) },
		"inside the window": func() *throttle.Coalescer[*load, *load] {
			c := newIdle(throttle.Every(time.Hour))
			_ = c.Do(context.Background(), new(load))
			return c
		},
		"canceled": func() *throttle.Coalescer[*load, *load] {
			c := newIdle(throttle.Debounce(time.Hour, 0))
			_ = c.Call(new(load))
			c.Cancel()
			return c
		},
		"flushed": func() *throttle.Coalescer[*load, *load] {
			c := newIdle(throttle.Debounce(time.Hour, 0))
			_ = c.Call(new(load))
			_ = c.Flush(context.Background())
			return c
		},
		"to run once more": func() *throttle.Coalescer[*load, *load] {
			c := newIdle(throttle.Debounce(time.Millisecond, 0))
			_ = c.Call(new(load))
			return c
		},
	}
	for name, state := range states {
		t.Run(name, func(t *testing.T) { requireCollected(t, weak.Make(state())) })
	}
}

func newIdle(p throttle.Policy) *throttle.Coalescer[*load, *load] {
	return throttle.Must(throttle.NewCoalescer(p, throttle.Latest[*load](), func(context.Context, *load) error { return nil }))
}
