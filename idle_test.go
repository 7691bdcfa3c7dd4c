package throttle_test

// This file shows that an idle throttler owns nothing: no goroutine, no timer,
// no memory but its own, and no reference that keeps it alive.

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/throttle-go/throttle"
)

// TestIdleThrottlersOwnNothing holds G6 with 100 000 throttlers, each of which
// has been through every kind of wait and run.
//
// Goroutines can be counted. Timers cannot: no profile and no metric of the
// runtime tells of them. Two observations stand in for a count. A timer costs
// memory, more than 100 bytes: what the throttlers weigh after their runs is
// no more than what New has allocated. And the runtime's heap of timers keeps
// alive what its timers' functions refer to: that every single throttler is
// collected shows that no timer, no goroutine and nothing else refers to one.
func TestIdleThrottlersOwnNothing(t *testing.T) {
	const most = 384 // bytes
	count := 100_000
	if testing.Short() {
		count = 10_000
	}
	var runs, collected atomic.Int64
	callback := func() { runs.Add(1) }
	throttlers := make([]*throttle.Throttler, count)

	goroutines, empty := runtime.NumGoroutine(), heapInUse()
	for i := range throttlers {
		throttlers[i] = throttle.Must(throttle.New(throttle.Every(time.Millisecond), callback))
	}
	fresh := heapInUse()
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
	idle := heapInUse()

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
	freshSize, idleSize := (fresh-empty)/count, (idle-heapInUse())/count
	runtime.KeepAlive(throttlers) // the slice is in all figures
	t.Logf("%d bytes per throttler when new, %d after its runs", freshSize, idleSize)
	if freshSize > most || idleSize > most {
		t.Errorf("a throttler weighs %d bytes when new and %d after its runs, more than %d", freshSize, idleSize, most)
	}
}

// heapInUse returns the bytes of all objects that are alive.
func heapInUse() int {
	var stats runtime.MemStats
	// The second collection frees what the first one only found to be dead, and
	// what a pool held over one.
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// TestDroppedThrottlerIsCollected tells that no Close is needed once nothing is
// pending and there is no parent context to watch.
func TestDroppedThrottlerIsCollected(t *testing.T) {
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
			// From here on this function refers to it no more.
			if !collectedSoon(dropped) {
				t.Error("an idle throttler that was dropped is still there")
			}
		})
	}
}

// collectedSoon collects garbage until dropped is part of it, or reports false
// after a while.
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

// TestDroppedThrottlerRunsFirst tells that being dropped loses no call: the
// throttler lives until what is pending has run, and no longer.
func TestDroppedThrottlerRunsFirst(t *testing.T) {
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

// TestParentKeepsThrottler tells what the documentation of WithContext says: a
// context that can end refers to the throttler that it will close.
func TestParentKeepsThrottler(t *testing.T) {
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
