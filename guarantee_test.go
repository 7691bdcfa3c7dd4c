package throttle_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// A traffic is a throttler's record of random calls, in fake time, of a callback that
// fails in every way.
type traffic struct {
	policy throttle.Policy
	begin  time.Time
	runs   []throttle.Run // in order
	calls  []time.Time    // in order
	most   int32          // runs active at once
}

var trafficPolicies = map[string]throttle.Policy{
	"no limit":         {},
	"interval":         throttle.Every(100 * ms),
	"trailing":         {Interval: 100 * ms, Edges: throttle.Trailing},
	"from the end":     {Interval: 50 * ms, From: throttle.FromEnd},
	"bucket":           {Interval: 100 * ms, Burst: 4},
	"debounce":         throttle.Debounce(20*ms, 70*ms),
	"both":             {Interval: 60 * ms, Quiet: 20 * ms, Edges: throttle.Leading | throttle.Trailing, MaxCalls: 7},
	"periodic":         {Interval: 60 * ms, MaxInterval: 90 * ms, Quiet: 30 * ms},
	"retry":            {Interval: 10 * ms, Retry: throttle.Backoff{Initial: 30 * ms, Max: 100 * ms, MaxAttempts: 3, Jitter: 0.5}},
	"eager retry":      {Interval: 40 * ms, Retry: throttle.Backoff{Initial: 50 * ms, Eager: true}},
	"load":             {Interval: 40 * ms, Burst: 3, MaxLoad: 0.5, Retry: throttle.Backoff{Initial: 10 * ms, Eager: true}},
	"periodic, jitter": {Quiet: 30 * ms, MaxInterval: 90 * ms, Jitter: 0.5},
	"bucket, debounce": {Interval: 200 * ms, Burst: 3, Quiet: 10 * ms, MaxWait: 30 * ms},
}

// underTraffic plays random calls under each policy, and calls check with the record.
// It calls end, if not nil, while calls still come.
func underTraffic(t *testing.T, end func(*throttle.Throttler), check func(*testing.T, *traffic)) {
	for name, policy := range trafficPolicies {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &traffic{policy: policy, begin: time.Now()}
				s.play(end)
				require.Greater(t, len(s.runs), 10)
				check(t, s)
			})
		})
	}
}

func (s *traffic) play(end func(*throttle.Throttler)) {
	const callers, rounds, most = 4, 150, 30 * int64(ms)
	random := rand.New(rand.NewPCG(1, 2)) // used by the callback alone, which needs no lock
	var active atomic.Int32
	callback := func() error {
		s.most = max(s.most, active.Add(1))
		defer active.Add(-1)
		time.Sleep(time.Duration(random.Int64N(2 * most)))
		switch random.IntN(10) {
		case 0:
			return errFailed
		case 1:
			panic("scripted")
		case 2:
			runtime.Goexit()
		}
		return nil
	}
	throttler := throttle.Must(throttle.New(s.policy, callback, throttle.WithCallCount(), throttle.WithErrorHandler(func(error) {}),
		throttle.WithObserver(func(run throttle.Run) { s.runs = append(s.runs, run) })))

	calls := make([][]time.Time, callers)
	var group sync.WaitGroup
	for caller := range callers {
		random := rand.New(rand.NewPCG(3, uint64(caller)))
		group.Go(func() {
			for range rounds {
				if random.IntN(10) == 0 { // a pause
					time.Sleep(200 * ms)
				}
				time.Sleep(time.Duration(random.Int64N(most)))
				calls[caller] = append(calls[caller], time.Now())
				if random.IntN(4) == 0 {
					throttler.CallWithin(time.Duration(random.Int64N(most)))
				} else {
					throttler.Call()
				}
			}
		})
	}
	if end != nil {
		time.Sleep(2 * time.Second)
		end(throttler)
	}
	group.Wait()
	s.calls = slices.SortedFunc(slices.Values(slices.Concat(calls...)), time.Time.Compare)
	time.Sleep(time.Minute)
	_ = throttler.Close()
	_ = throttler.Shutdown(context.Background())
}

// TestG1_NoOverlap checks that runs never overlap. Under the race detector it also
// checks that a run's end is synchronized before the next run's start.
func TestG1_NoOverlap(t *testing.T) {
	underTraffic(t, nil, func(t *testing.T, s *traffic) {
		require.Equal(t, int32(1), s.most)
		for i, run := range s.runs[1:] {
			require.False(t, run.Started.Before(s.runs[i].Ended))
		}
	})
}

// TestG2_Spacing checks every pair of runs.
func TestG2_Spacing(t *testing.T) {
	underTraffic(t, nil, func(t *testing.T, s *traffic) {
		burst := max(s.policy.Burst, 1)
		for i, first := range s.runs {
			if s.policy.MaxLoad > 0 && i > 0 {
				last := s.runs[i-1]
				load := float64(last.Ended.Sub(last.Started)) / float64(first.Started.Sub(last.Started))
				require.LessOrEqual(t, load, s.policy.MaxLoad+1e-6) // the rest is cut to whole nanoseconds
			}
			for n, run := range s.runs[i+1:] {
				span := run.Started.Sub(first.Started)
				if s.policy.From == throttle.FromEnd {
					span = run.Started.Sub(first.Ended)
				}
				if least := time.Duration(n+2-burst) * s.policy.Interval; span < least { // require is slow for so many pairs
					t.Fatalf("run %d started %v after run %d, %v is the least", i+1+n, span, i, least)
				}
			}
		}
	})
}

// TestG3_NoLostCall checks that runs cover all calls, the last one included.
func TestG3_NoLostCall(t *testing.T) {
	underTraffic(t, nil, func(t *testing.T, s *traffic) {
		covered := uint64(0)
		for _, run := range s.runs {
			covered += run.Calls
		}
		require.Equal(t, uint64(len(s.calls)), covered)
		last := s.runs[len(s.runs)-1]
		require.False(t, last.Started.Before(s.calls[len(s.calls)-1]))
	})
}

// TestG4_NoIdleRun checks that each run has a reason.
func TestG4_NoIdleRun(t *testing.T) {
	underTraffic(t, nil, func(t *testing.T, s *traffic) {
		previous := throttle.Run{Started: s.begin}
		for _, run := range s.runs {
			switch run.Cause {
			case throttle.CauseFlush: // covers a call, or is an early retry
			case throttle.CauseCall:
				require.NotZero(t, run.Calls)
			case throttle.CauseRetry:
				require.Error(t, previous.Err)
				require.NotZero(t, s.policy.Retry.Initial)
			case throttle.CauseInterval:
				require.NotZero(t, s.policy.MaxInterval)
				least := float64(s.policy.MaxInterval) * (1 - s.policy.Jitter)
				require.GreaterOrEqual(t, float64(run.Started.Sub(previous.Started)), least)
			default:
				t.Errorf("cause %v", run.Cause)
			}
			previous = run
		}
	})
}

// TestG5_Punctual checks that runs start at their due time or at the end of the run
// before. In fake time, timers are not late.
func TestG5_Punctual(t *testing.T) {
	latest := func(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
	underTraffic(t, nil, func(t *testing.T, s *traffic) {
		previous := throttle.Run{Started: s.begin.Add(-time.Hour)}
		for _, run := range s.runs {
			require.True(t, run.Started.Equal(latest(run.Due, previous.Ended)))
			if s.policy == throttle.Every(100*ms) {
				// Under this policy the due time is easy to compute.
				uncovered := s.calls[slices.IndexFunc(s.calls, func(at time.Time) bool { return at.After(previous.Started) })]
				require.True(t, run.Started.Equal(latest(uncovered, previous.Started.Add(100*ms), previous.Ended)))
			}
			previous = run
		}
	})
}

// TestG6_NothingWhenIdle checks that an idle throttler is collected. It would not be if
// it owned a goroutine or a timer, or if a parent context knew it.
func TestG6_NothingWhenIdle(t *testing.T) {
	ctx := t.Context()
	build := func(p throttle.Policy, script scripted, options ...throttle.Option) *throttle.Throttler {
		options = append(options, throttle.WithErrorHandler(func(error) {}))
		return throttle.Must(throttle.New(p, script, options...))
	}
	hourly := throttle.Every(time.Hour)
	states := map[string]func() *throttle.Throttler{
		"never called": func() *throttle.Throttler { return build(hourly, takes(0, nil)) },
		"without options": func() *throttle.Throttler {
			throttler := throttle.Must(throttle.New(hourly, func() {}))
			_ = throttler.Do(ctx)
			return throttler
		},
		"inside the window": func() *throttle.Throttler {
			throttler := build(hourly, takes(0, nil))
			_ = throttler.Do(ctx)
			return throttler
		},
		"inside the hold, given up": func() *throttle.Throttler {
			throttler := build(throttle.Policy{Retry: throttle.Backoff{Initial: time.Hour, MaxAttempts: 1}}, takes(0, errFailed))
			_ = throttler.Do(ctx)
			return throttler
		},
		"flushed": func() *throttle.Throttler {
			throttler := build(throttle.Debounce(time.Hour, 0), takes(0, nil))
			throttler.Call()
			_ = throttler.Flush(ctx)
			return throttler
		},
		"canceled": func() *throttle.Throttler {
			throttler := build(throttle.Debounce(time.Hour, 0), takes(0, nil))
			throttler.Call()
			throttler.Cancel()
			return throttler
		},
		"retry canceled": func() *throttle.Throttler {
			throttler := build(retrying(throttle.Policy{}, time.Hour), takes(0, errFailed))
			_ = throttler.Do(ctx)
			throttler.Cancel()
			return throttler
		},
		"periodic no more": func() *throttle.Throttler {
			throttler := build(throttle.Policy{MaxInterval: time.Hour}, takes(0, nil))
			_ = throttler.SetPolicy(hourly)
			return throttler
		},
		"closed while pending": func() *throttle.Throttler {
			throttler := build(throttle.Policy{Quiet: time.Hour, MaxInterval: time.Hour}, takes(0, nil))
			throttler.Call()
			_ = throttler.Close()
			return throttler
		},
		"closed before its parent": func() *throttle.Throttler {
			throttler := build(hourly, takes(0, nil), throttle.WithContext(ctx), throttle.WithName("reload"))
			_ = throttler.Do(ctx)
			_ = throttler.Close()
			return throttler
		},
		"shut down before its parent": func() *throttle.Throttler {
			throttler := build(hourly, takes(0, nil), throttle.WithContext(ctx))
			throttler.Call()
			_ = throttler.Shutdown(ctx)
			return throttler
		},
	}
	for name, state := range states {
		t.Run(name, func(t *testing.T) {
			throttler := weak.Make(state())
			for range 1000 {
				runtime.GC()
				if throttler.Value() == nil {
					return
				}
				runtime.Gosched() // for a run that is about to end
			}
			t.Error("the throttler is still reachable")
		})
	}
}

// TestG7_CloseIsFinal ends a throttler while calls go on.
func TestG7_CloseIsFinal(t *testing.T) {
	for name, end := range map[string]func(*throttle.Throttler){
		"Close":    stop,
		"Shutdown": func(throttler *throttle.Throttler) { _ = throttler.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			var begun, ended time.Time
			underTraffic(t, func(throttler *throttle.Throttler) {
				begun = time.Now()
				end(throttler)
				ended = time.Now()
			}, func(t *testing.T, s *traffic) {
				last := s.runs[len(s.runs)-1]
				require.False(t, last.Started.After(ended))
				require.True(t, s.calls[len(s.calls)-1].After(ended), "the calls go on")
				if name == "Shutdown" {
					require.False(t, last.Ended.After(ended))
					earlier := slices.IndexFunc(s.calls, func(at time.Time) bool { return !at.Before(begun) })
					require.False(t, last.Started.Before(s.calls[earlier-1]), "a call is not covered")
				}
			})
		})
	}
}

// TestG8_MemoryModel checks, by the race detector, that a call which makes a run pending
// is synchronized before that run, and the run before the return of a method that
// waited for it. So neither needs a lock.
func TestG8_MemoryModel(t *testing.T) {
	methods := map[string]func(*throttle.Throttler) error{
		"Do": func(throttler *throttle.Throttler) error { return throttler.Do(context.Background()) },
		"Call": func(throttler *throttle.Throttler) error {
			throttler.Call()
			return throttler.Flush(context.Background())
		},
		"CallWithin": func(throttler *throttle.Throttler) error {
			throttler.CallWithin(0)
			return throttler.Flush(context.Background())
		},
	}
	for name, ask := range methods {
		for _, policy := range []throttle.Policy{{}, throttle.Every(10 * ms), throttle.Debounce(10*ms, 0)} {
			t.Run(fmt.Sprint(name, policy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var asked, done int // without a lock
					throttler := throttle.Must(throttle.New(policy, func() { done = asked }))
					for asked = range 50 {
						require.NoError(t, ask(throttler))
						require.Equal(t, asked, done)
					}
					require.NoError(t, throttler.Close())
				})
			})
		}
	}
}

// TestG8_NoLockWhenPending checks that a call which finds a run pending synchronizes
// nothing: it returns while another goroutine holds the lock. A Group is no different.
func TestG8_NoLockWhenPending(t *testing.T) {
	counted := []throttle.Option{throttle.WithCallCount()}
	for _, test := range []struct {
		name    string
		policy  throttle.Policy
		options []throttle.Option
	}{
		{"in the window", throttle.Every(time.Hour), nil},
		{"counted", throttle.Every(time.Hour), counted},
		{"quiet", throttle.Debounce(time.Hour, 0), nil},
		{"of a full batch", throttle.Policy{Interval: time.Hour, Edges: throttle.Trailing, MaxCalls: 1}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			throttler := throttle.Must(throttle.New(test.policy, func() {}, test.options...))
			throttler.Call() // the first may run at once
			throttler.Call()
			throttler.Locked(func() { requireReturns(t, func() { throttler.Call() }) })
			require.NoError(t, throttler.Close())
			throttler.Locked(func() { requireReturns(t, func() { throttler.Call() }) })

			group := throttle.Must(throttle.NewGroup(test.policy, nothing, test.options...))
			require.NoError(t, group.Call(1))
			require.NoError(t, group.Call(1))
			group.Locked(1, func() { requireReturns(t, func() { _ = group.Call(1) }) })
			require.NoError(t, group.Close())
		})
	}
}

// requireReturns fails the test if do does not return. do may go on in the background.
func requireReturns(t *testing.T, do func()) {
	t.Helper()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		do()
	}()
	select {
	case <-returned:
	case <-time.After(time.Minute):
		t.Fatal("the call waits for the lock")
	}
}

// TestG9_NoForeignCodeUnderLock takes the lock from another goroutine wherever the
// throttler runs code that is not its own. It does so in real time, because a goroutine
// that waits for a mutex stops a synctest bubble.
func TestG9_NoForeignCodeUnderLock(t *testing.T) {
	methods := map[string]func(*throttle.Throttler, context.Context) error{
		"Do":       (*throttle.Throttler).Do,
		"Flush":    (*throttle.Throttler).Flush,
		"Shutdown": (*throttle.Throttler).Shutdown,
	}
	for name, method := range methods {
		t.Run(name+" until the run's end", func(t *testing.T) {
			p := newProbe(t)
			w := p.await(t.Context(), method)
			close(p.release)
			require.Error(t, <-w)
			p.endParent()
		})
		t.Run(name+" until its context's end", func(t *testing.T) {
			p := newProbe(t)
			ctx, leave := context.WithCancel(t.Context())
			w := p.await(ctx, method)
			leave()
			require.Equal(t, context.Canceled, <-w)
			close(p.release)
			p.endParent()
		})
		t.Run(name+" until the parent's end", func(t *testing.T) {
			p := newProbe(t)
			w := p.await(t.Context(), method)
			p.endParent()
			close(p.release)
			require.Error(t, <-w)
		})
	}
}

// A probe is a throttler whose callback, hooks, contexts and errors all try to take its
// lock.
type probe struct {
	t         *testing.T
	throttler *throttle.Throttler
	ready     chan struct{} // closed once throttler is set
	release   chan struct{} // closed to let runs end
	waits     chan struct{} // sent to when a method begins to wait
	end       context.CancelFunc
	held      atomic.Bool // the lock was held once; further waits would show the same
}

// newProbe returns a probe whose throttler has an active run.
func newProbe(t *testing.T) *probe {
	t.Helper()
	parent, end := context.WithCancel(t.Context())
	p := &probe{t: t, ready: make(chan struct{}), release: make(chan struct{}), waits: make(chan struct{}, 1), end: end}
	entered := make(chan struct{}, 9)
	p.throttler = throttle.Must(throttle.New(throttle.Policy{},
		func(context.Context) error {
			p.touch("callback")
			entered <- struct{}{}
			<-p.release
			return probingError{p}
		},
		throttle.WithContext(probingContext{parent, p, "parent"}),
		throttle.WithErrorHandler(func(err error) {
			p.touch("handler")
			slog.New(slog.DiscardHandler).Error("run failed", "error", err)
		}),
		throttle.WithObserver(func(throttle.Run) { p.touch("observer") }),
		throttle.WithTracer(func(ctx context.Context, _ throttle.Run, _ []context.Context) (context.Context, func(throttle.Run)) {
			p.touch("tracer")
			return probingContext{ctx, p, "traced"}, func(throttle.Run) { p.touch("end of a trace") }
		})))
	close(p.ready)
	t.Cleanup(func() { _ = p.throttler.Shutdown(context.Background()) })
	p.throttler.Call()
	<-entered
	return p
}

// touch reports an error if the lock is held.
func (p *probe) touch(where string) {
	select {
	case <-p.ready:
	default:
		return // New has not returned it yet
	}
	if p.held.Load() {
		return
	}
	taken := make(chan struct{})
	go func() {
		p.throttler.Stats()
		close(taken)
	}()
	select {
	case <-taken:
	case <-time.After(time.Minute):
		p.held.Store(true)
		p.t.Errorf("%s: the lock is held", where)
	}
}

// await calls method with a context that probes, and returns once it waits.
func (p *probe) await(ctx context.Context, method func(*throttle.Throttler, context.Context) error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- method(p.throttler, probingContext{ctx, p, "context"}) }()
	<-p.waits
	return result
}

// endParent ends the parent context and returns once that has closed the throttler.
func (p *probe) endParent() {
	p.end()
	for !p.throttler.Stats().Closed {
		runtime.Gosched()
	}
}

// A probingContext tries to take the lock in every method.
type probingContext struct {
	context.Context
	probe *probe
	name  string
}

func (c probingContext) Deadline() (time.Time, bool) {
	c.probe.touch(c.name + ".Deadline")
	return c.Context.Deadline()
}

func (c probingContext) Done() <-chan struct{} {
	c.probe.touch(c.name + ".Done")
	if c.name == "context" {
		select {
		case c.probe.waits <- struct{}{}:
		default:
		}
	}
	return c.Context.Done()
}

func (c probingContext) Err() error {
	c.probe.touch(c.name + ".Err")
	return c.Context.Err()
}

func (c probingContext) Value(key any) any {
	c.probe.touch(c.name + ".Value")
	return c.Context.Value(key)
}

// A probingError tries to take the lock in every method.
type probingError struct{ probe *probe }

func (e probingError) Error() string {
	e.probe.touch("error.Error")
	return "probing"
}

func (e probingError) As(any) bool {
	e.probe.touch("error.As")
	return false
}

func (e probingError) Is(error) bool {
	e.probe.touch("error.Is")
	return false
}
