package throttle_test

// This file holds the guarantees G1 to G9, a test for each. Those that are about
// when runs start are held in storms: random calls, in fake time, of a callback
// that fails in every way.

import (
	"context"
	"fmt"
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

// A storm is what was seen of one.
type storm struct {
	policy throttle.Policy
	begin  time.Time
	runs   []throttle.Run // in order
	calls  []time.Time    // in order
	most   int32          // runs active at once
}

var stormPolicies = map[string]throttle.Policy{
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
	"bucket, debounce": {Interval: 200 * ms, Burst: 3, Quiet: 10 * ms, MaxWait: 30 * ms},
}

// inStorms lets check judge a storm under each policy. end, if not nil, comes
// while calls still do.
func inStorms(t *testing.T, end func(*throttle.Throttler), check func(*testing.T, *storm)) {
	for name, policy := range stormPolicies {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &storm{policy: policy, begin: time.Now()}
				s.rage(end)
				require.Greater(t, len(s.runs), 10)
				check(t, s)
			})
		})
	}
}

func (s *storm) rage(end func(*throttle.Throttler)) {
	const callers, rounds, most = 4, 150, 30 * int64(ms)
	random := rand.New(rand.NewPCG(1, 2)) // of the callback, which needs no lock for it
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
				if random.IntN(10) == 0 { // a lull
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

// TestRunsNeverOverlap holds G1. With the race detector on it also holds that a
// run's end is synchronized before the next one's start.
func TestRunsNeverOverlap(t *testing.T) {
	inStorms(t, nil, func(t *testing.T, s *storm) {
		require.Equal(t, int32(1), s.most)
		for i, run := range s.runs[1:] {
			require.False(t, run.Started.Before(s.runs[i].Ended))
		}
	})
}

// TestRunsKeepTheInterval holds G2.
func TestRunsKeepTheInterval(t *testing.T) {
	inStorms(t, nil, func(t *testing.T, s *storm) {
		burst := max(s.policy.Burst, 1)
		for i, first := range s.runs {
			for n, run := range s.runs[i+1:] {
				span := run.Started.Sub(first.Started)
				if s.policy.From == throttle.FromEnd {
					span = run.Started.Sub(first.Ended)
				}
				require.GreaterOrEqual(t, span, time.Duration(n+2-burst)*s.policy.Interval)
			}
		}
	})
}

// TestNoCallIsLost holds G3.
func TestNoCallIsLost(t *testing.T) {
	inStorms(t, nil, func(t *testing.T, s *storm) {
		covered := uint64(0)
		for _, run := range s.runs {
			covered += run.Calls
		}
		require.Equal(t, uint64(len(s.calls)), covered)
		last := s.runs[len(s.runs)-1]
		require.False(t, last.Started.Before(s.calls[len(s.calls)-1]))
	})
}

// TestNoRunIsIdle holds G4.
func TestNoRunIsIdle(t *testing.T) {
	inStorms(t, nil, func(t *testing.T, s *storm) {
		previous := throttle.Run{Started: s.begin}
		for _, run := range s.runs {
			switch run.Cause {
			case throttle.CauseFlush: // covers a call or stands for a retry
			case throttle.CauseCall:
				require.NotZero(t, run.Calls)
			case throttle.CauseRetry:
				require.Error(t, previous.Err)
				require.NotZero(t, s.policy.Retry.Initial)
			case throttle.CauseInterval:
				require.NotZero(t, s.policy.MaxInterval)
				require.GreaterOrEqual(t, run.Started.Sub(previous.Started), s.policy.MaxInterval)
			default:
				t.Errorf("cause %v", run.Cause)
			}
			previous = run
		}
	})
}

// TestRunsStartWhenTheyAreDue holds G5: in fake time there is no lateness, so
// runs start at their due time or at the end of the run before.
func TestRunsStartWhenTheyAreDue(t *testing.T) {
	latest := func(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
	inStorms(t, nil, func(t *testing.T, s *storm) {
		previous := throttle.Run{Started: s.begin.Add(-time.Hour)}
		for _, run := range s.runs {
			require.True(t, run.Started.Equal(latest(run.Due, previous.Ended)))
			if s.policy == throttle.Every(100*ms) {
				// Where the due time is plain, it is checked too.
				uncovered := s.calls[slices.IndexFunc(s.calls, func(at time.Time) bool { return at.After(previous.Started) })]
				require.True(t, run.Started.Equal(latest(uncovered, previous.Started.Add(100*ms), previous.Ended)))
			}
			previous = run
		}
	})
}

// TestNothingIsOwnedWhenNothingIsPending holds G6: what owns a goroutine or a
// timer, or is known to a parent context, is not collected.
func TestNothingIsOwnedWhenNothingIsPending(t *testing.T) {
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
				runtime.Gosched() // to a run that is about to end
			}
			t.Error("something holds it")
		})
	}
}

// TestNothingStartsAfterTheEnd holds G7.
func TestNothingStartsAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(*throttle.Throttler){
		"Close":    stop,
		"Shutdown": func(throttler *throttle.Throttler) { _ = throttler.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			var begun, ended time.Time
			inStorms(t, func(throttler *throttle.Throttler) {
				begun = time.Now()
				end(throttler)
				ended = time.Now()
			}, func(t *testing.T, s *storm) {
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

// TestCallIsSynchronizedBeforeItsRun holds the plain part of G8, by the race
// detector: what a call that makes a run pending has written, its run may read
// without a lock, and what a run has written, who waited for it.
func TestCallIsSynchronizedBeforeItsRun(t *testing.T) {
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

// TestCallThatFindsARunPendingTakesNoLock holds the other part of G8, that such a call
// synchronizes nothing: it returns while somebody has the lock, in a Group too.
func TestCallThatFindsARunPendingTakesNoLock(t *testing.T) {
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
			throttler.Call() // maybe at once
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

// requireReturns fails the test if do, which may go on in the background, does not
// return soon.
func requireReturns(t *testing.T, do func()) {
	t.Helper()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		do()
	}()
	select {
	case <-returned:
	case <-time.After(10 * time.Second):
		t.Fatal("the call waits for the lock")
	}
}
