package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestThrottler_Do_error checks that every waiter gets the error of the run that covers
// it.
func TestThrottler_Do_error(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := errors.New("second")
		r := newRecorder(takes(50*ms, errFailed), takes(50*ms, second))
		throttler := r.throttler(t, throttle.Every(100*ms))
		first := awaitDo(throttler)
		r.until(10)
		var waiters []*waiter
		for range 100 {
			waiters = append(waiters, awaitDo(throttler), awaitFlushLater(r, throttler, 120))
		}
		r.until(50)
		require.Equal(t, errFailed, first.result(t))
		r.until(149)
		for _, w := range waiters {
			require.False(t, w.returned())
		}
		r.until(150)
		for _, w := range waiters {
			require.Equal(t, second, w.result(t))
		}
		require.Equal(t, []int{0, 100}, r.started())
		require.Empty(t, r.errors())
	})
}

// awaitFlushLater flushes at the given millisecond since r.begin.
func awaitFlushLater(r *recorder, throttler *throttle.Throttler, at int) *waiter {
	return await(func() error {
		time.Sleep(time.Until(r.begin.Add(time.Duration(at) * ms)))
		return throttler.Flush(context.Background())
	})
}

// TestThrottler_Do_activeRun checks that Do waits for a run of its own.
func TestThrottler_Do_activeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(50*ms, errFailed), takes(50*ms, nil))
		throttler := r.throttler(t, throttle.Policy{})
		throttler.Call()
		r.until(49)
		do := awaitDo(throttler)
		r.until(99)
		require.False(t, do.returned())
		r.until(100)
		require.NoError(t, do.result(t))
		require.Equal(t, []int{0, 50}, r.started())
	})
}

// TestThrottler_Do_activeHooks checks that Do does not join a run whose callback has
// returned while its hooks still run. Flush waits for such a run.
func TestThrottler_Do_activeHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(fails(1)...)
		throttler := r.throttler(t, throttle.Policy{}, throttle.WithObserver(func(throttle.Run) { time.Sleep(100 * ms) }))
		throttler.Call()
		r.until(50)
		flush := awaitFlush(throttler)
		require.False(t, flush.returned())
		do := awaitDo(throttler)
		r.until(100)
		require.Equal(t, errFailed, flush.result(t))
		require.False(t, do.returned())
		r.until(200)
		require.NoError(t, do.result(t))
		require.Equal(t, []int{0, 100}, r.started())
	})
}

// TestThrottler_Do_leave checks that a waiter whose context ends disturbs no other.
func TestThrottler_Do_leave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(0, nil), takes(50*ms, errFailed))
		throttler := r.throttler(t, throttle.Every(100*ms))
		throttler.Call()
		r.until(10)
		stays := awaitDo(throttler)
		var leavers []*waiter
		leaves := []int{20, 99, 120, 149} // before the run and during it
		for _, at := range leaves {
			ctx, leave := context.WithDeadline(context.Background(), r.begin.Add(time.Duration(at)*ms))
			defer leave()
			leavers = append(leavers, await(func() error { return throttler.Do(ctx) }))
		}
		for i, w := range leavers {
			r.until(leaves[i] - 1)
			require.False(t, w.returned())
			r.until(leaves[i])
			require.Equal(t, context.DeadlineExceeded, w.result(t))
			require.False(t, stays.returned())
		}
		r.until(150)
		require.Equal(t, errFailed, stays.result(t))
		r.until(1000)
		require.Equal(t, []int{0, 100}, r.started())
		require.Empty(t, r.errors())
	})
}

// TestThrottler_Do_allLeave checks that the handler gets an error if all waiters left.
func TestThrottler_Do_allLeave(t *testing.T) {
	methods := map[string]func(*throttle.Throttler, context.Context) error{
		"Do":    (*throttle.Throttler).Do,
		"Flush": (*throttle.Throttler).Flush,
	}
	for name, method := range methods {
		for when, leaves := range map[string]int{"before the run": 50, "during the run": 150} {
			t.Run(name+" left "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRecorder(takes(100*ms, nil), takes(100*ms, errFailed))
					throttler := r.throttler(t, throttle.Policy{})
					throttler.Call()
					r.until(10)
					throttler.Call()
					var waiters []*waiter
					for range 3 {
						ctx, leave := context.WithDeadline(context.Background(), r.begin.Add(time.Duration(leaves)*ms))
						defer leave()
						waiters = append(waiters, await(func() error { return method(throttler, ctx) }))
					}
					r.until(leaves)
					for _, w := range waiters {
						require.Equal(t, context.DeadlineExceeded, w.result(t))
					}
					r.until(1000)
					require.Equal(t, []int{0, 100}, r.started(), "the calls are covered all the same")
					require.Equal(t, []error{errFailed}, r.errors())
				})
			})
		}
	}
}

// TestThrottler_Do_leaveTooLate ends a waiter's context between the callback's return
// and the end of the run. The waiter has claimed the error by then, so Do returns it.
func TestThrottler_Do_leaveTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(50*ms, errFailed))
		throttler := r.throttler(t, throttle.Policy{}, throttle.WithObserver(func(throttle.Run) { time.Sleep(time.Second) }))
		ctx, leave := context.WithTimeout(context.Background(), 100*ms)
		defer leave()
		require.Equal(t, errFailed, throttler.Do(ctx))
		require.Equal(t, 100, r.elapsed())
		r.until(2000)
		require.Empty(t, r.errors())
	})
}

func TestThrottler_Do_endedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		throttler := r.throttler(t, throttle.Policy{Interval: time.Second}, throttle.WithCallCount())
		ended, end := context.WithCancel(context.Background())
		end()
		require.Equal(t, context.Canceled, throttler.Do(ended))
		require.Equal(t, context.Canceled, throttler.Flush(ended))
		require.Zero(t, throttler.Stats().Calls)
		throttler.Call()
		r.until(10)
		throttler.Call()
		require.Equal(t, context.Canceled, throttler.Do(ended))
		require.Equal(t, context.Canceled, throttler.Flush(ended))
		require.Equal(t, []int{0}, r.started(), "nothing runs early")
		require.Equal(t, uint64(2), throttler.Stats().Calls)
		require.NoError(t, throttler.Close())
		require.Equal(t, throttle.ErrClosed, throttler.Do(ended))
		require.Equal(t, throttle.ErrClosed, throttler.Flush(ended))
	})
}

// TestThrottler_Do_dropped checks that a waiter gets the reason why its call was dropped.
func TestThrottler_Do_dropped(t *testing.T) {
	gone := errors.New("gone")
	drops := []struct {
		name string
		drop func(throttler *throttle.Throttler, endParent context.CancelCauseFunc)
		want []error
		text string
	}{
		{"Cancel", func(throttler *throttle.Throttler, _ context.CancelCauseFunc) { throttler.Cancel() },
			[]error{throttle.ErrCanceled}, "throttle: reload: call canceled"},
		{"Close", func(throttler *throttle.Throttler, _ context.CancelCauseFunc) { stop(throttler) },
			[]error{throttle.ErrClosed}, "throttle: reload: closed"},
		{"parent", func(_ *throttle.Throttler, end context.CancelCauseFunc) { end(gone) },
			[]error{throttle.ErrClosed, gone}, "throttle: reload: closed: gone"},
	}
	for _, drop := range drops {
		t.Run(drop.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, endParent := context.WithCancelCause(context.Background())
				defer endParent(nil)
				r := newRecorder(takes(100*ms, errFailed))
				throttler := r.throttler(t, throttle.Every(time.Second), throttle.WithName("reload"), throttle.WithContext(parent))
				active := awaitDo(throttler)
				r.until(10)
				waiters := []*waiter{awaitDo(throttler), awaitDo(throttler)}
				synctest.Wait()
				waiters = append(waiters, awaitFlush(throttler))
				r.until(50)
				drop.drop(throttler, endParent)
				for _, w := range waiters {
					err := w.result(t)
					for _, want := range drop.want {
						require.ErrorIs(t, err, want)
					}
					require.EqualError(t, err, drop.text)
				}
				require.False(t, active.returned())
				r.until(10_000)
				require.Equal(t, errFailed, active.result(t), "its run was not dropped")
				require.Equal(t, []int{0}, r.started())
			})
		})
	}
}

// TestThrottler_Flush checks that Flush waits until every earlier call is covered.
func TestThrottler_Flush(t *testing.T) {
	tests := []struct {
		name    string
		policy  throttle.Policy
		script  []scripted
		moments []moment // in order, before 50 ms
		err     error
		took    int // milliseconds at which Flush returns
	}{
		{name: "nothing called", took: 50},
		{name: "all covered", moments: calls(0), took: 50},
		{name: "window closed", policy: throttle.Every(time.Second), script: fails(1), moments: calls(0), took: 50},
		{name: "active run", script: []scripted{takes(200*ms, nil)}, moments: calls(0), took: 200},
		{name: "active run that fails", script: []scripted{takes(200*ms, errFailed)}, moments: calls(0), err: errFailed, took: 200},
		{name: "active run that will be retried", policy: backoff(time.Second, 0), script: []scripted{takes(200*ms, errFailed)},
			moments: calls(0), err: errFailed, took: 200},
		{name: "active run and a pending one", script: []scripted{takes(200*ms, errFailed), takes(100*ms, nil)}, moments: calls(0, 10), took: 300},
		{name: "active run and a pending one that fails", policy: throttle.Debounce(time.Second, 0), moments: append(at(0, callWithin(0)), calls(10)...),
			script: []scripted{takes(200*ms, nil), takes(100*ms, errFailed)}, err: errFailed, took: 300},
		{name: "pending run", policy: throttle.Debounce(time.Second, 0), script: []scripted{takes(100*ms, errFailed)}, moments: calls(0), err: errFailed, took: 150},
		{name: "waiting retry", policy: backoff(time.Second, 0), script: []scripted{takes(0, errFailed), takes(100*ms, nil)}, moments: calls(0), took: 150},
		{name: "periodic run to come", policy: throttle.Policy{MaxInterval: time.Second}, took: 50},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(test.script...)
				throttler := r.throttler(t, test.policy)
				r.meet(throttler, test.moments)
				r.until(50)
				require.Equal(t, test.err, throttler.Flush(context.Background()))
				require.Equal(t, test.took, r.elapsed())
			})
		})
	}
}

// TestThrottler_callbackFails checks that the throttler goes on after every way in which
// a callback can fail.
func TestThrottler_callbackFails(t *testing.T) {
	panicked := func(value any) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			var p *throttle.PanicError
			require.ErrorAs(t, err, &p)
			require.Equal(t, value, p.Value)
			require.EqualError(t, err, fmt.Sprintf("throttle: reload: callback panicked: %v", value))
			require.Contains(t, string(p.Stack), "scriptedPanic", "the stack of the panic")
		}
	}
	goexit := func(t *testing.T, err error) {
		require.ErrorIs(t, err, throttle.ErrGoexit)
		require.EqualError(t, err, "throttle: reload: callback called runtime.Goexit")
	}
	tests := []struct {
		name   string
		script scripted
		check  func(*testing.T, error)
		panics uint64
	}{
		{name: "returns an error", script: takes(0, errFailed),
			check: func(t *testing.T, err error) { require.Equal(t, errFailed, err, "unchanged") }},
		{name: "panics", script: scriptedPanic("scripted"), check: panicked("scripted"), panics: 1},
		{name: "panics with an error", script: scriptedPanic(errFailed), panics: 1,
			check: func(t *testing.T, err error) {
				panicked(errFailed)(t, err)
				require.ErrorIs(t, err, errFailed)
			}},
		{name: "panics with nil", script: scriptedPanic(nil), panics: 1,
			check: func(t *testing.T, err error) {
				var p *throttle.PanicError
				var nilPanic *runtime.PanicNilError
				require.ErrorAs(t, err, &p)
				require.ErrorAs(t, err, &nilPanic)
			}},
		{name: "panics in the runtime", script: func(context.Context) error { return errors.New(none[1:2]) }, panics: 1,
			check: func(t *testing.T, err error) {
				var fault runtime.Error
				require.ErrorAs(t, err, &fault)
			}},
		{name: "ends its goroutine", script: func(context.Context) error { runtime.Goexit(); return nil }, check: goexit},
		{name: "ends its goroutine from a panic", check: goexit,
			script: func(context.Context) error { defer runtime.Goexit(); panic("scripted") }},
		{name: "panics while its goroutine ends", check: goexit,
			script: func(context.Context) error {
				defer func() { _ = recover() }()
				defer panic("scripted")
				runtime.Goexit()
				return nil
			}},
		{name: "fails a test", check: goexit,
			script: func(context.Context) error {
				new(testing.T).FailNow()
				return nil
			}},
		{name: "returns an error that panics when it is looked into", script: takes(0, explosive{}), panics: 1,
			check: func(t *testing.T, err error) {
				var p *throttle.PanicError
				require.ErrorAs(t, err, &p)
				require.Equal(t, "explosive", p.Value)
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(test.script, takes(0, nil), test.script)
				throttler := r.throttler(t, throttle.Every(100*ms), throttle.WithName("reload"))
				do := awaitDo(throttler)
				test.check(t, do.result(t))
				require.Empty(t, r.errors(), "the waiter has it")
				require.Equal(t, do.err, throttler.Stats().LastError)

				r.until(10)
				throttler.Call()
				r.until(500)
				require.NoError(t, throttler.Stats().LastError)
				throttler.Call()
				require.Equal(t, []int{0, 100, 500}, r.started())
				require.Len(t, r.errors(), 1)
				test.check(t, r.errors()[0])

				stats := throttler.Stats()
				require.Equal(t, [3]uint64{3, 2, 2 * test.panics}, [3]uint64{stats.Runs, stats.Failures, stats.Panics})
				require.False(t, stats.Running)
			})
		})
	}
}

func scriptedPanic(value any) scripted {
	return func(context.Context) error { panic(value) }
}

// explosive is an error that panics under errors.As.
type explosive struct{}

func (explosive) Error() string { return "explosive" }
func (explosive) As(any) bool   { panic("explosive") }

// TestThrottler_panicNil checks that panic(nil) is not taken for Goexit when GODEBUG
// makes recover return nil for it.
func TestThrottler_panicNil(t *testing.T) {
	if !isChild() {
		output, err := runChild(t, "GODEBUG=panicnil=1")
		require.NoError(t, err, output)
		return
	}
	throttler := throttle.Must(throttle.New(throttle.Policy{}, scriptedPanic(nil)))
	for range 2 {
		var p *throttle.PanicError
		require.ErrorAs(t, throttler.Do(context.Background()), &p)
		require.Nil(t, p.Value)
		require.NoError(t, p.Unwrap())
	}
}

// childVariable is set in the environment of a child process of this test binary.
const childVariable = "THROTTLE_TEST_CHILD"

func isChild() bool { return os.Getenv(childVariable) != "" }

// runChild runs the calling test again in a child process.
func runChild(t *testing.T, environment ...string) (output string, err error) {
	t.Helper()
	parts := strings.Split(t.Name(), "/")
	for i, part := range parts {
		parts[i] = "^" + part + "$"
	}
	child := exec.Command(os.Args[0], "-test.run="+strings.Join(parts, "/"), "-test.count=1")
	// The race detector otherwise sleeps for a second at exit.
	child.Env = append(append(os.Environ(), childVariable+"=1", "GORACE=atexit_sleep_ms=0"), environment...)
	text, err := child.CombinedOutput()
	return string(text), err
}

func TestThrottler_callbackBlocks(t *testing.T) {
	block := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(block)
		throttler := r.throttler(t, throttle.Every(100*ms))
		throttler.Call()
		r.until(1000)
		throttler.Call() // is pending, and does not block
		throttler.CallWithin(0)
		stats := throttler.Stats()
		require.True(t, stats.Running)
		require.True(t, stats.Pending)
		require.True(t, throttler.Cancel())
		require.NoError(t, throttler.SetPolicy(throttle.Every(200*ms)))
		require.NoError(t, throttler.Close())
		synctest.Wait()
		require.False(t, throttler.Stats().Running)
		require.Equal(t, []error{context.Canceled}, r.errors())
		require.Equal(t, []int{0}, r.started())
	})
}

// TestThrottler_reentrant calls every method from the callback. Those that would wait
// for the run return ErrReentrant at once, without effect.
func TestThrottler_reentrant(t *testing.T) {
	type key struct{}
	contexts := map[string]func(context.Context) context.Context{
		"its context": func(own context.Context) context.Context { return own },
		"a context derived from it": func(own context.Context) context.Context {
			ctx, end := context.WithTimeout(context.WithValue(own, key{}, 0), time.Hour)
			context.AfterFunc(own, end)
			return ctx
		},
		"an ended context derived from it": func(own context.Context) context.Context {
			ctx, end := context.WithCancel(own)
			end()
			return ctx
		},
		"a context that only has its values": context.WithoutCancel,
	}
	for name, derive := range contexts {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var throttler *throttle.Throttler
				policy := throttle.Policy{Interval: 100 * ms, Quiet: 10 * ms, Edges: throttle.Leading | throttle.Trailing}
				waits := func(ctx context.Context) error {
					return errors.Join(
						wrong(throttler.Do(ctx), throttle.ErrReentrant),
						wrong(throttler.Flush(ctx), throttle.ErrReentrant),
						wrong(throttler.Shutdown(ctx), throttle.ErrReentrant))
				}
				r := newRecorder(
					func(own context.Context) error {
						err := waits(derive(own))
						if stats := throttler.Stats(); stats.Pending || stats.Closed || stats.Calls != 1 || !stats.Running {
							return fmt.Errorf("had an effect: %+v", stats)
						}
						return errors.Join(err, throttler.SetPolicy(throttler.Policy()))
					},
					func(own context.Context) error {
						throttler.Call()
						if !throttler.Cancel() {
							return errors.New("no call to cancel")
						}
						throttler.Call()
						throttler.CallWithin(time.Millisecond)
						return waits(derive(own)) // Flush does not make the call due
					})
				throttler = r.throttler(t, policy, throttle.WithCallCount(), throttle.WithName("reload"))
				require.NoError(t, throttler.Do(context.Background()))
				r.until(500)
				require.NoError(t, throttler.Do(context.Background()))
				r.until(1000)
				require.Equal(t, []int{0, 500, 600}, r.started())
				require.Empty(t, r.errors())
			})
		})
	}
}

// none has no second byte, but the compiler does not know that.
var none = ""

// wrong returns nil if err is want.
func wrong(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("%w instead of %w", err, want)
}

func TestThrottler_reentrant_otherRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var throttler *throttle.Throttler
		var first context.Context
		outer := newRecorder(
			func(own context.Context) error {
				first = context.WithoutCancel(own) //nolint:fatcontext // kept to check that it means nothing later
				// A callback may wait for the run of another throttler, unless that
				// run waits for this one.
				inner := newRecorder(func(inner context.Context) error {
					return wrong(throttler.Do(inner), throttle.ErrReentrant)
				})
				return inner.throttler(t, throttle.Policy{}, throttle.WithContext(own)).Do(own)
			},
			takes(100*ms, nil))
		throttler = outer.throttler(t, throttle.Policy{})
		require.NoError(t, throttler.Do(context.Background()))
		require.NoError(t, throttler.Do(first), "that run is over")
		require.Equal(t, 100, outer.elapsed())
		require.Equal(t, []int{0, 0}, outer.started())
	})
}
