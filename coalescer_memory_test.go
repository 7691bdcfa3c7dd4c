package throttle_test

// This file shows that a Coalescer keeps no value that it has given away, and is
// itself kept by nothing once it is idle.

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// A load is a value that is heavy enough to be missed.
type load [1 << 10]byte

// A loader is a Coalescer of loads and all that a user can keep of its runs.
type loader struct {
	coalescer *throttle.Coalescer[*load]
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
	l.coalescer = throttle.Must(throttle.NewCoalescer(p, throttle.Latest, l.load, options...))
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

// call hands over a new load, and returns what does not keep it.
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

func TestCoalescerKeepsNoValueThatItHasGivenAway(t *testing.T) {
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

// restCanceled cancels until there is nothing more to be canceled, as a run that
// has failed may still be in its hooks.
func restCanceled[T any](c *throttle.Coalescer[T]) {
	for stats := c.Stats(); stats.Pending || stats.Running; stats = c.Stats() {
		c.Cancel()
		runtime.Gosched()
	}
}

// TestCoalescersHooksKeepNoDeliveredValue has an observer at work.
func TestCoalescersHooksKeepNoDeliveredValue(t *testing.T) {
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

// TestDroppedCoalescerIsCollected holds G6: no Close is needed once nothing is
// pending.
func TestDroppedCoalescerIsCollected(t *testing.T) {
	states := map[string]func() *throttle.Coalescer[*load]{
		"never called": func() *throttle.Coalescer[*load] { return newIdle(throttle.Policy{}) },
		"inside the window": func() *throttle.Coalescer[*load] {
			c := newIdle(throttle.Every(time.Hour))
			_ = c.Do(context.Background(), new(load))
			return c
		},
		"canceled": func() *throttle.Coalescer[*load] {
			c := newIdle(throttle.Debounce(time.Hour, 0))
			_ = c.Call(new(load))
			c.Cancel()
			return c
		},
		"flushed": func() *throttle.Coalescer[*load] {
			c := newIdle(throttle.Debounce(time.Hour, 0))
			_ = c.Call(new(load))
			_ = c.Flush(context.Background())
			return c
		},
		"to run once more": func() *throttle.Coalescer[*load] {
			c := newIdle(throttle.Debounce(time.Millisecond, 0))
			_ = c.Call(new(load))
			return c
		},
	}
	for name, state := range states {
		t.Run(name, func(t *testing.T) { requireCollected(t, weak.Make(state())) })
	}
}

func newIdle(p throttle.Policy) *throttle.Coalescer[*load] {
	return throttle.Must(throttle.NewCoalescer(p, throttle.Latest, func(context.Context, *load) error { return nil }))
}
