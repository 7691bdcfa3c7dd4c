package throttle_test

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

// A life is one throttler and the goroutines that use it until it ends.
type life struct {
	t         *testing.T
	throttler *throttle.Throttler
	counts    bool // calls are counted
	users     sync.WaitGroup
	callers   [2]handover   // one calls, one calls and waits
	running   chan struct{} // closed when the first run has begun
	entered   atomic.Uint64 // runs whose callback was entered
	inside    overlap
	covered   atomic.Uint64 // calls, as the observer counts them
	cause     error         // of the parent's end, if that ends the throttler
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
	defer l.inside.enter(l.t, 1)()
	for i := range l.callers {
		l.callers[i].read()
	}
	yield(3) // so that the end of the run, too, meets the end of the throttler
}

func (l *life) callbackWithContext(ctx context.Context) error {
	l.callback()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, throttle.ErrClosed) && !errors.Is(cause, l.cause) {
		l.t.Errorf("the run's context ended because of %v", cause)
	}
	return nil
}

// use starts the users. They go on for a while, at most until they get ErrClosed.
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
				l.t.Errorf("Do returned %v, which does not wrap %v", err, l.cause)
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

// checkRest checks that the throttler does nothing once Shutdown has returned nil,
// whatever its users still do.
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

// TestThrottler_Shutdown_race checks G7 for Shutdown: a call that races with it is
// either covered by a run that ends before Shutdown does, or has no effect.
func TestThrottler_Shutdown_race(t *testing.T) {
	playRounds(t, rounds(200), func(t *testing.T) {
		l := newLife(t)
		l.use()
		linger(l.running)
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

// TestThrottler_Close_race checks G7 for Close and for the parent's end.
func TestThrottler_Close_race(t *testing.T) {
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
			playRounds(t, rounds(100), func(t *testing.T) {
				parent, stop := context.WithCancelCause(context.Background())
				defer stop(nil)
				l := newLife(t, throttle.WithContext(parent))
				if test.name == "parent" {
					l.cause = gone
				}
				l.use()
				linger(l.running)
				test.end(l, stop)
				entered, stats := l.entered.Load(), l.throttler.Stats()
				l.users.Wait()
				// The parent has ended, but nothing may have closed the throttler yet. Shutdown
				// then still waits for what is pending, which is dropped.
				err := l.throttler.Shutdown(context.Background())
				if droppedNow := l.cause != nil && errors.Is(err, l.cause); err != nil && !droppedNow {
					t.Errorf("Shutdown after the end returned %v", err)
				}
				// A run that had started may still have been on its way into
				// the callback. The parent's end does not wait until the
				// throttler has noticed, so Stats may lack this one run.
				switch later := l.throttler.Stats().Runs; {
				case l.entered.Load() > entered+1:
					t.Errorf("%d runs entered after the end", l.entered.Load()-entered)
				case l.entered.Load() != later:
					t.Errorf("%d runs entered, Stats counts %d", l.entered.Load(), later)
				case later != stats.Runs && l.cause == nil || later > stats.Runs+1:
					t.Errorf("%d runs started after the end", later-stats.Runs)
				}
				l.checkRest()
			})
		})
	}
}

// TestThrottler_Cancel_race checks that a call which meets Cancel has one fate: either
// Cancel reports that it was pending and no run covers it, or a run does.
func TestThrottler_Cancel_race(t *testing.T) {
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
			playRounds(t, rounds(200), func(t *testing.T) {
				before := runs.Load()
				done := make(chan error)
				go func() { done <- throttler.Do(context.Background()) }()
				eventually(t, "the call to be noticed", func() bool {
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

// TestThrottler_Do_race has everything that can end a wait happen at once. Every Do and
// Flush returns, with an error that one of these causes explains, and nothing is left.
// Every run's error reaches the goroutines that waited for the run, or the handler. It
// reaches both only if Flush found a run whose error the handler had already.
func TestThrottler_Do_race(t *testing.T) {
	playRounds(t, rounds(100), func(t *testing.T) {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		leaving, leave := context.WithCancel(context.Background())
		defer leave()
		var errs runErrors
		throttler := throttle.Must(throttle.New(throttle.Policy{
			Interval: time.Duration(rand.IntN(50)) * time.Microsecond,
			Retry:    throttle.Backoff{Initial: 10 * time.Microsecond},
		}, func(context.Context) error { return runError(errs.runs.Add(1)) },
			throttle.WithContext(parent), throttle.WithErrorHandler(errs.handle)))
		var working sync.WaitGroup
		explain := func(method string, err error, reasons ...error) {
			if errs.add(method, err) {
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
					yield(5)
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
		errs.check(t)
	})
}

// A runError is the error of the run of this number.
type runError int32

func (e runError) Error() string { return fmt.Sprintf("error of run %d", int32(e)) }

// runErrors records where the error of each run has arrived.
type runErrors struct {
	runs atomic.Int32 // so far, each of which has failed

	mu      sync.Mutex // guards the field below
	arrived map[runError]map[string]bool
}

func (r *runErrors) handle(err error) { r.add("handler", err) }

// add records that err has arrived at receiver, and reports whether it is a run's.
func (r *runErrors) add(receiver string, err error) bool {
	var run runError
	if !errors.As(err, &run) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.arrived == nil {
		r.arrived = make(map[runError]map[string]bool)
	}
	if r.arrived[run] == nil {
		r.arrived[run] = make(map[string]bool)
	}
	r.arrived[run][receiver] = true
	return true
}

func (r *runErrors) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for run := runError(1); run <= runError(r.runs.Load()); run++ {
		if arrived := r.arrived[run]; len(arrived) == 0 || arrived["handler"] && arrived["Do"] {
			t.Errorf("%v arrived at %v", run, arrived)
		}
	}
}
