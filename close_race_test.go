package throttle_test

// This file holds thousands of short lives: each ends a throttler in the middle
// of everything else that can happen to it, at another moment.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
)

// A life is one throttler and those who use it until it ends.
type life struct {
	t         *testing.T
	throttler *throttle.Throttler
	counts    bool // calls are counted
	users     sync.WaitGroup
	callers   [2]lifeCaller // one calls, one calls and waits
	running   chan struct{} // closed when the first run has begun
	entered   atomic.Uint64 // runs whose callback was entered
	inside    atomic.Int32  // runs that are active
	covered   atomic.Uint64 // calls, as observers hear of them
	cause     error         // of the parent's end, if that ends it
}

// A lifeCaller is what one goroutine hands over to the callback.
type lifeCaller struct {
	newest   atomic.Uint64 // value handed over before a call
	returned atomic.Uint64 // value whose call has returned
	seen     atomic.Uint64 // value that a run has read
}

// newLife returns a throttler of a random kind, in use.
func newLife(t *testing.T, options ...throttle.Option) *life {
	const interval = 30 * time.Microsecond
	policies := []throttle.Policy{
		{},
		throttle.Every(interval),
		throttle.Every(time.Hour), // only a flush runs what is pending
		throttle.Debounce(interval, 2*interval),
		throttle.Debounce(time.Hour, 0),
		{Interval: interval, Edges: throttle.Trailing},
		{Interval: interval, From: throttle.FromEnd},
		{Interval: interval, MaxInterval: interval},
		{Interval: interval, Burst: 2},
	}
	l := &life{t: t, running: make(chan struct{})}
	options = append(options, throttle.WithObserver(func(r throttle.Run) { l.covered.Add(r.Calls) }))
	if l.counts = rand.IntN(2) == 0; l.counts {
		options = append(options, throttle.WithCallCount())
	}
	policy := policies[rand.IntN(len(policies))]
	if rand.IntN(2) == 0 {
		l.throttler = throttle.Must(throttle.New(policy, l.callback, options...))
	} else {
		l.throttler = throttle.Must(throttle.New(policy, l.callbackWithContext, options...))
	}
	return l
}

func (l *life) callback() {
	if l.entered.Add(1) == 1 {
		close(l.running)
	}
	if active := l.inside.Add(1); active != 1 {
		l.t.Errorf("%d runs are active at once", active)
	}
	for i := range l.callers {
		l.callers[i].seen.Store(l.callers[i].newest.Load())
	}
	for range rand.IntN(3) {
		runtime.Gosched() // the end of the run, too, is to meet the end of the throttler
	}
	l.inside.Add(-1)
}

func (l *life) callbackWithContext(ctx context.Context) error {
	l.callback()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, throttle.ErrClosed) && !errors.Is(cause, l.cause) {
		l.t.Errorf("the run's context ended because of %v", cause)
	}
	return nil
}

// use starts the users. They go on until they meet ErrClosed, or for a while.
func (l *life) use() {
	const calls = 40
	l.users.Go(func() {
		caller := &l.callers[0]
		for value := uint64(1); value <= calls; value++ {
			caller.newest.Store(value)
			if value == calls || rand.IntN(8) == 0 {
				l.throttler.CallWithin(0) // so that there is a first run, whatever the policy
			} else {
				l.throttler.Call()
			}
			caller.returned.Store(value)
			if value%8 == 0 {
				runtime.Gosched()
			}
		}
	})
	l.users.Go(func() {
		caller := &l.callers[1]
		for value := uint64(1); value <= calls; value++ {
			caller.newest.Store(value)
			err := l.throttler.Do(context.Background())
			switch {
			case err == nil:
				if seen := caller.seen.Load(); seen < value {
					l.t.Errorf("Do returned nil, but its run has seen %d, not %d", seen, value)
				}
				caller.returned.Store(value)
			case !errors.Is(err, throttle.ErrClosed):
				l.t.Errorf("Do returned %v", err)
				return
			case l.cause != nil && !errors.Is(err, l.cause):
				l.t.Errorf("Do returned %v, which does not tell that %v", err, l.cause)
				return
			default:
				return
			}
		}
	})
	l.users.Go(func() {
		for range rand.IntN(4) {
			if err := l.throttler.Flush(context.Background()); err != nil && !errors.Is(err, throttle.ErrClosed) {
				l.t.Errorf("Flush returned %v", err)
			}
			runtime.Gosched()
		}
	})
}

// linger lets the users come to some random point, mostly that of a run's start.
func (l *life) linger() {
	if rand.IntN(4) > 0 {
		<-l.running
	}
	for range rand.IntN(6) {
		runtime.Gosched()
	}
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
	}
}

// checkRest tells that the throttler, of which a Shutdown has returned nil, does
// nothing any more, whatever its users still do.
func (l *life) checkRest() {
	entered, stats := l.entered.Load(), l.throttler.Stats()
	if stats.Runs != entered || stats.Running || stats.Pending || !stats.Closed || !stats.Next.IsZero() {
		l.t.Errorf("after Shutdown and %d runs: %+v", entered, stats)
	}
	l.users.Wait()
	if later := l.throttler.Stats(); later.Runs != entered || later.Calls != stats.Calls || l.entered.Load() != entered {
		l.t.Errorf("after Shutdown and %d runs: %+v, and when all users had gone %+v", entered, stats, later)
	}
}

// lives lets one life after another be lived, and tells that no goroutine is
// left by them. The number depends on the machine: thousands on one like ours.
func lives(t *testing.T, live func(t *testing.T)) {
	t.Helper()
	before := runtime.NumGoroutine()
	count := 0
	for enough := time.Now().Add(budget(500 * time.Millisecond)); time.Now().Before(enough) && !t.Failed(); count++ {
		live(t)
	}
	eventually(t, "the goroutines of the throttlers", func() bool { return runtime.NumGoroutine() <= before })
	t.Logf("%d rounds", count)
}

// TestShutdownCoversOrRefuses holds G7 for Shutdown: a call that races with it is
// either covered by a run that ends before Shutdown does, or has no effect.
func TestShutdownCoversOrRefuses(t *testing.T) {
	lives(t, func(t *testing.T) {
		l := newLife(t)
		l.use()
		l.linger()
		var earlier [len(l.callers)]uint64
		for i := range l.callers {
			earlier[i] = l.callers[i].returned.Load()
		}
		if err := l.throttler.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		for i := range l.callers {
			if seen := l.callers[i].seen.Load(); seen < earlier[i] {
				t.Errorf("Shutdown returned, but only %d has been seen, not %d, whose call came before", seen, earlier[i])
			}
		}
		if accepted := l.throttler.Stats().Calls; accepted != l.covered.Load() {
			t.Errorf("Shutdown returned, with %d calls accepted and %d covered", accepted, l.covered.Load())
		}
		l.checkRest()
	})
}

// TestNothingStartsAfterClose holds G7 for Close and for the parent's end.
func TestNothingStartsAfterClose(t *testing.T) {
	gone := errors.New("the parent is gone")
	for _, test := range []struct {
		name string
		end  func(l *life, stop context.CancelCauseFunc)
	}{
		{"Close", func(l *life, _ context.CancelCauseFunc) { _ = l.throttler.Close() }},
		{"Close twice", func(l *life, _ context.CancelCauseFunc) {
			l.users.Go(func() { _ = l.throttler.Close() })
			_ = l.throttler.Close()
		}},
		{"parent", func(_ *life, stop context.CancelCauseFunc) { stop(gone) }},
		{"Shutdown out of time", func(l *life, _ context.CancelCauseFunc) {
			ended, end := context.WithCancel(context.Background())
			end()
			if err := l.throttler.Shutdown(ended); !errors.Is(err, context.Canceled) {
				l.t.Errorf("Shutdown returned %v", err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			lives(t, func(t *testing.T) {
				parent, stop := context.WithCancelCause(context.Background())
				defer stop(nil)
				l := newLife(t, throttle.WithContext(parent))
				if test.name == "parent" {
					l.cause = gone
				}
				l.use()
				l.linger()
				test.end(l, stop)
				entered, stats := l.entered.Load(), l.throttler.Stats()
				l.users.Wait()
				if err := l.throttler.Shutdown(context.Background()); err != nil {
					t.Errorf("Shutdown after the end returned %v", err)
				}
				// A run that had started may still have been on its way into
				// the callback. The parent's end does not wait for the
				// throttler to hear of it, so that the figure of Stats may
				// lack this one run.
				switch later := l.throttler.Stats().Runs; {
				case l.entered.Load() > entered+1:
					t.Errorf("%d runs entered after the end", l.entered.Load()-entered)
				case l.entered.Load() != later:
					t.Errorf("%d runs entered, Stats tells of %d", l.entered.Load(), later)
				case later != stats.Runs && l.cause == nil || later > stats.Runs+1:
					t.Errorf("%d runs started after the end", later-stats.Runs)
				}
				l.checkRest()
			})
		})
	}
}

// TestCancelOrRun tells that of a call which meets Cancel exactly one becomes
// true: Cancel reports that it was pending, and no run covers it, or a run does.
func TestCancelOrRun(t *testing.T) {
	const interval = 30 * time.Microsecond
	for _, test := range []struct {
		name   string
		policy throttle.Policy
	}{
		{"debounce", throttle.Debounce(interval, 0)},
		{"trailing only", throttle.Policy{Interval: interval, Edges: throttle.Trailing}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var runs atomic.Uint64
			throttler := throttle.Must(throttle.New(test.policy, func() { runs.Add(1) }))
			defer throttler.Close()
			var canceled, ran int
			lives(t, func(t *testing.T) {
				before := runs.Load()
				done := make(chan error)
				go func() { done <- throttler.Do(context.Background()) }()
				eventually(t, "the call", func() bool {
					stats := throttler.Stats()
					return stats.Pending || stats.Runs > before || stats.Running
				})
				for enough := time.Now().Add(time.Duration(rand.Int64N(int64(2 * interval)))); time.Now().Before(enough); {
					runtime.Gosched()
				}
				wasPending := throttler.Cancel()
				err := <-done
				rest(t, throttler)
				covered := runs.Load() - before
				switch {
				case wasPending && errors.Is(err, throttle.ErrCanceled) && covered == 0:
					canceled++
				case !wasPending && err == nil && covered == 1:
					ran++
				default:
					t.Errorf("Cancel returned %t, Do %v, and %d runs took place", wasPending, err, covered)
				}
			})
			t.Logf("%d canceled, %d ran", canceled, ran)
		})
	}
}

// TestEveryWaitEndsWhenAllComesTogether lets whatever ends a wait happen at
// once: every Do and Flush returns, with an error that one of those explains,
// nothing is left, and every run's error is heard: by those who waited for the
// run, or by the handler. Not by both, unless a Flush came to a run whose error
// the handler had got already.
func TestEveryWaitEndsWhenAllComesTogether(t *testing.T) {
	lives(t, func(t *testing.T) {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		leaving, leave := context.WithCancel(context.Background())
		defer leave()
		var heard hearing
		throttler := throttle.Must(throttle.New(throttle.Policy{
			Interval: time.Duration(rand.IntN(50)) * time.Microsecond,
			Retry:    throttle.Backoff{Initial: 10 * time.Microsecond},
		}, func(context.Context) error { return runError(heard.runs.Add(1)) },
			throttle.WithContext(parent), throttle.WithErrorHandler(heard.byHandler)))
		var working sync.WaitGroup
		explain := func(method string, err error, reasons ...error) {
			if heard.by(method, err) {
				return
			}
			for _, reason := range reasons {
				if errors.Is(err, reason) {
					return
				}
			}
			t.Errorf("%s returned %v", method, err)
		}
		for range 4 {
			working.Go(func() {
				for range 10 {
					explain("Do", throttler.Do(leaving), context.Canceled, throttle.ErrCanceled, throttle.ErrClosed)
				}
			})
		}
		for _, disturb := range []func(){
			func() { throttler.Cancel() },
			func() {
				explain("Flush", throttler.Flush(leaving), nil, context.Canceled, throttle.ErrCanceled, throttle.ErrClosed)
			},
			func() { explain("SetPolicy", throttler.SetPolicy(throttle.Policy{}), nil, throttle.ErrClosed) },
			func() {
				explain("Shutdown", throttler.Shutdown(leaving), nil, context.Canceled, throttle.ErrCanceled, throttle.ErrClosed)
			},
			func() { explain("Close", throttler.Close(), nil) },
			leave,
			stop,
		} {
			if rand.IntN(3) > 0 {
				working.Go(func() {
					for range rand.IntN(5) {
						runtime.Gosched()
					}
					disturb()
				})
			}
		}
		working.Wait()
		// The parent's end may reach the throttler only now.
		explain("Shutdown", throttler.Shutdown(context.Background()), nil, throttle.ErrClosed)
		if stats := throttler.Stats(); stats.Running || stats.Pending || !stats.Closed {
			t.Errorf("after Shutdown: %+v", stats)
		}
		heard.check(t)
	})
}

// A runError is the error of the run of this number.
type runError int32

func (e runError) Error() string { return fmt.Sprintf("error of run %d", int32(e)) }

// A hearing is who has heard of which runError.
type hearing struct {
	runs atomic.Int32 // so far, each of which has failed

	mu    sync.Mutex // guards the field below
	heard map[runError]map[string]bool
}

func (h *hearing) byHandler(err error) { h.by("handler", err) }

// by records that who has heard of err, and reports whether it is a run's.
func (h *hearing) by(who string, err error) bool {
	e, ok := errors.AsType[runError](err)
	if !ok {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.heard == nil {
		h.heard = make(map[runError]map[string]bool)
	}
	if h.heard[e] == nil {
		h.heard[e] = make(map[string]bool)
	}
	h.heard[e][who] = true
	return true
}

func (h *hearing) check(t *testing.T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for run := runError(1); run <= runError(h.runs.Load()); run++ {
		if heard := h.heard[run]; len(heard) == 0 || heard["handler"] && heard["Do"] {
			t.Errorf("%v was heard by %v", run, heard)
		}
	}
}
