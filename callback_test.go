package throttle_test

// This file holds what a callback may do without harm: fail in every way there
// is, block, and call its own throttler.

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

func TestThrottlerWorksOnWhateverTheCallbackDoes(t *testing.T) {
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
			check: func(t *testing.T, err error) { require.Equal(t, errFailed, err, "just as it was returned") }},
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

// TestPanicWithNilIsTakenForNoGoexit holds it where GODEBUG lets recover return
// nil for it.
func TestPanicWithNilIsTakenForNoGoexit(t *testing.T) {
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
	child.Env = append(append(os.Environ(), childVariable+"=1"), environment...)
	text, err := child.CombinedOutput()
	return string(text), err
}

func TestCallbackMayBlockUntilItsContextEnds(t *testing.T) {
	block := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(block)
		throttler := r.throttler(t, throttle.Every(100*ms))
		throttler.Call()
		r.until(1000)
		throttler.Call() // is pending, and blocks nobody
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

// TestCallbackMayCallEveryMethod has the methods that would wait for the run
// return ErrReentrant at once, without effect.
func TestCallbackMayCallEveryMethod(t *testing.T) {
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
						return waits(derive(own)) // Flush does not hurry the call
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

// none is a string without a second byte, which the compiler does not know.
var none = ""

// wrong returns nil if err is what is wanted.
func wrong(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("%w instead of %w", err, want)
}

func TestReentranceIsOnlyThatOfTheActiveRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var throttler *throttle.Throttler
		var first context.Context
		outer := newRecorder(
			func(own context.Context) error {
				first = context.WithoutCancel(own) //nolint:fatcontext // kept to see that it means nothing later
				// Another throttler's run may be waited for, though not one that
				// in turn waits for this run.
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
