package throttle_test

// This file holds what error handlers and observers are told, in which order,
// and what they may do.

import (
	"bytes"
	"context"
	"errors"
	"log"
	"log/slog"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestHooksAreCalledInOrderAfterTheCallbackAndBeforeTheNextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var diary []string // without a lock: runs are synchronized with each other
		note := func(line string) {
			diary = append(diary, line)
			time.Sleep(10 * ms)
		}
		throttler := throttle.Must(throttle.New(throttle.Policy{},
			func() error {
				note("run")
				return errFailed
			},
			throttle.WithObserver(func(throttle.Run) { note("first observer") }),
			throttle.WithErrorHandler(func(error) { note("a handler that another replaces") }),
			throttle.WithObserver(func(throttle.Run) { note("second observer") }),
			throttle.WithErrorHandler(func(err error) { note("handler: " + err.Error()) })))
		throttler.Call()
		time.Sleep(5 * ms)
		throttler.Call()
		require.Equal(t, errFailed, throttler.Shutdown(context.Background()))
		require.Equal(t, []string{
			"run", "handler: scripted failure", "first observer", "second observer",
			"run", "first observer", "second observer", // its error is for Shutdown
		}, diary)
	})
}

func TestHookThatPanicsEndsTheProcess(t *testing.T) {
	hooks := map[string]throttle.Option{
		"handler":                    throttle.WithErrorHandler(func(error) { panic("from the hook") }),
		"handler that panics again":  throttle.WithErrorHandler(func(err error) { panic(err) }),
		"observer":                   throttle.WithObserver(func(throttle.Run) { panic("from the hook") }),
		"observer that panics again": throttle.WithObserver(func(run throttle.Run) { panic(run.Err) }),
	}
	for name, hook := range hooks {
		t.Run(name, func(t *testing.T) {
			if isChild() {
				throttler := throttle.Must(throttle.New(throttle.Policy{}, scriptedPanic("from the callback"), hook))
				throttler.Call()
				select {} // a process that survives the panic ends here, with another message
			}
			output, err := runChild(t)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, output)
			require.Equal(t, 2, exit.ExitCode(), output)
			if strings.Contains(name, "again") {
				require.Contains(t, output, "panic: throttle: callback panicked: from the callback")
				return
			}
			require.Contains(t, output, "panic: from the hook")
		})
	}
}

func TestHookThatBlocksHoldsUpTheNextRunAndShutdown(t *testing.T) {
	for _, hook := range []func(release chan struct{}) throttle.Option{
		func(release chan struct{}) throttle.Option {
			return throttle.WithErrorHandler(func(error) { <-release })
		},
		func(release chan struct{}) throttle.Option {
			return throttle.WithObserver(func(throttle.Run) { <-release })
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			r := newRecorder(fails(1)...)
			throttler := r.throttler(t, throttle.Every(100*ms), hook(release))
			throttler.Call()
			r.until(500)
			throttler.Call()
			shutdown := awaitShutdown(throttler)
			r.until(1000)
			require.False(t, shutdown.returned())
			require.True(t, throttler.Stats().Running)
			require.Equal(t, []int{0}, r.started())
			close(release)
			require.NoError(t, shutdown.result(t))
			require.Equal(t, []int{0, 1000}, r.started())
		})
	}
}

func TestThrottlerWorksOnAfterAHookEndsItsGoroutine(t *testing.T) {
	for _, hook := range []throttle.Option{
		throttle.WithErrorHandler(func(error) { runtime.Goexit() }),
		throttle.WithObserver(func(throttle.Run) { runtime.Goexit() }),
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder(takes(0, errFailed), takes(0, errFailed), takes(0, nil))
			throttler := r.throttler(t, throttle.Every(100*ms), hook)
			throttler.Call()
			r.until(10)
			require.False(t, throttler.Stats().Running)
			require.Equal(t, errFailed, throttler.Do(context.Background()))
			require.NoError(t, throttler.Do(context.Background()))
			require.NoError(t, throttler.Shutdown(context.Background()))
			require.Equal(t, []int{0, 100, 200}, r.started())
		})
	}
}

func TestHooksMayCallEveryMethodThatDoesNotWait(t *testing.T) {
	for _, hook := range []func(do func()) throttle.Option{
		func(do func()) throttle.Option { return throttle.WithErrorHandler(func(error) { do() }) },
		func(do func()) throttle.Option { return throttle.WithObserver(func(throttle.Run) { do() }) },
	} {
		synctest.Test(t, func(t *testing.T) {
			var throttler *throttle.Throttler
			var once sync.Once
			r := newRecorder(fails(2)...)
			throttler = r.throttler(t, throttle.Every(100*ms), hook(func() {
				once.Do(func() {
					throttler.Call()
					if !throttler.Cancel() || !throttler.Stats().Running || throttler.SetPolicy(throttle.Every(200*ms)) != nil {
						t.Error("no good")
					}
					throttler.CallWithin(0)
				})
			}))
			throttler.Call()
			r.until(1000)
			require.Equal(t, []int{0, 200}, r.started())
			require.Equal(t, throttle.Every(200*ms), throttler.Policy())
		})
	}
}

func TestErrorThatIsWaitedForIsNotHandled(t *testing.T) {
	methods := map[string]func(*throttle.Throttler) *waiter{"Do": awaitDo, "Flush": awaitFlush, "Shutdown": awaitShutdown}
	for name, method := range methods {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(takes(100*ms, errFailed), fails(1)[0])
				throttler := r.throttler(t, throttle.Policy{})
				throttler.Call()
				r.until(10)
				throttler.Call()
				w := method(throttler)
				r.until(200)
				require.Equal(t, errFailed, w.result(t))
				require.Equal(t, []error{errFailed}, r.errors(), "the first run's")
			})
		})
	}
}

// Not parallel: it replaces slog's default for its time.
func TestErrorsThatNobodyHandlesAreLogged(t *testing.T) {
	wrapped := errors.Join(errors.New("stopped"), context.Canceled)
	tests := []struct {
		name  string
		run   scripted
		close bool // during the run
		want  []string
	}{
		{name: "success", run: takes(0, nil)},
		{name: "error", run: takes(0, errFailed),
			want: []string{"level=ERROR", "msg=\"throttle: run failed\"", "name=reload", "cause=call", "error=\"scripted failure\""}},
		{name: "panic", run: scriptedPanic("scripted"),
			want: []string{"level=ERROR", "name=reload", "cause=call", "callback panicked: scripted", "stack=", "scriptedPanic"}},
		{name: "Goexit", run: func(context.Context) error { runtime.Goexit(); return nil },
			want: []string{"level=ERROR", "callback called runtime.Goexit"}},
		{name: "RetryIn", run: retryIn(time.Hour), want: []string{"level=ERROR", "retry in 1h0m0s"}},
		{name: "context.Canceled", run: takes(0, context.Canceled), want: []string{"level=ERROR", "context canceled"}},
		{name: "context.Canceled after Close", run: takes(50*ms, context.Canceled), close: true},
		{name: "wrapped context.Canceled after Close", run: takes(50*ms, wrapped), close: true},
		{name: "error after Close", run: takes(50*ms, errFailed), close: true, want: []string{"level=ERROR", "error=\"scripted failure\""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			output := captureLog(t)
			synctest.Test(t, func(_ *testing.T) {
				begin := time.Now()
				throttler := throttle.Must(throttle.New(throttle.Policy{}, test.run, throttle.WithName("reload")))
				throttler.Call()
				time.Sleep(10 * ms)
				if test.close {
					_ = throttler.Close()
				}
				time.Sleep(time.Until(begin.Add(time.Second)))
				synctest.Wait()
				_ = throttler.Close()
			})
			if len(test.want) == 0 {
				require.Empty(t, output.String())
				return
			}
			require.Equal(t, 1, strings.Count(output.String(), "\n"), "one record")
			for _, part := range test.want {
				require.Contains(t, output.String(), part)
			}
			require.Equal(t, test.name == "panic", strings.Contains(output.String(), "stack="))
		})
	}
}

// captureLog makes slog's default write to what it returns until the test ends.
func captureLog(t *testing.T) *bytes.Buffer {
	t.Helper()
	logger, writer, flags := slog.Default(), log.Writer(), log.Flags()
	t.Cleanup(func() {
		slog.SetDefault(logger)
		log.SetOutput(writer) // SetDefault has diverted this
		log.SetFlags(flags)
	})
	output := new(bytes.Buffer)
	slog.SetDefault(slog.New(slog.NewTextHandler(output, nil)))
	return output
}
