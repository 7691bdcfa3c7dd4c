package throttle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os/exec"
	"runtime"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestThrottler_hooks checks the order of hooks, which run after the callback and
// before the next run.
func TestThrottler_hooks(t *testing.T) {
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

// TestThrottler_hooks_panic checks that it ends the process.
func TestThrottler_hooks_panic(t *testing.T) {
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

// TestThrottler_hooks_block checks that the next run and Shutdown wait for a hook.
func TestThrottler_hooks_block(t *testing.T) {
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

func TestThrottler_hooks_goexit(t *testing.T) {
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

// TestThrottler_hooks_reentrant lets hooks call every method that does not wait.
func TestThrottler_hooks_reentrant(t *testing.T) {
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

// TestThrottler_hooks_waiter checks that the error handler does not get an error
// that a waiter gets.
func TestThrottler_hooks_waiter(t *testing.T) {
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

// TestThrottler_log is not parallel: it replaces slog's default for its time.
func TestThrottler_log(t *testing.T) {
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
		{name: "RetryIn", run: retryIn(time.Hour)},
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

// TestThrottler_log_panicValue panics with an error that panics itself when
// somebody unwraps it. The default handler must not do that: it would end the
// process.
func TestThrottler_log_panicValue(t *testing.T) {
	if !isChild() {
		output, err := runChild(t)
		require.NoError(t, err, output)
		return
	}
	output := captureLog(t)
	throttler := throttle.Must(throttle.New(throttle.Policy{}, scriptedPanic(explosive{})))
	throttler.Call()
	rest(t, throttler)
	require.Contains(t, output.String(), "callback panicked: explosive")
}

// TestGroup_hooks lets each handler and observer wait for that of the other key. It
// also checks that hooks and callbacks may call every method that does not wait.
func TestGroup_hooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *throttle.Group[int]
		touch := func() {
			g.Len()
			g.Stats()
			g.Cancel(7)
			_ = slices.Collect(g.Keys())
			if err := errors.Join(g.SetPolicy(g.Policy()), g.Call(8), g.CallWithin(9, 0)); err != nil {
				t.Errorf("the group refuses: %v", err)
			}
		}
		handlers, observers := make(chan bool), make(chan bool)
		meet := func(both chan bool) {
			touch()
			select {
			case both <- true:
			case <-both:
			}
		}
		g = throttle.Must(throttle.NewGroup(throttle.Every(time.Second), func(_ context.Context, key int) error {
			if key > 2 {
				return nil
			}
			touch()
			return errFailed
		}, throttle.WithErrorHandler(func(error) { meet(handlers) }), throttle.WithObserver(func(run throttle.Run) {
			if run.Err != nil {
				meet(observers)
			}
		})))
		require.NoError(t, g.Call(1))
		require.NoError(t, g.Call(2))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, g.Len())
		require.NoError(t, g.Shutdown(context.Background()))
	})
}

type callerKey struct{}

// callerNames returns the values of callerKey.
func callerNames(callers []context.Context) []any {
	var names []any
	for _, caller := range callers {
		names = append(names, caller.Value(callerKey{}))
	}
	return names
}

// named returns a context that callerNames knows.
func named(name any) context.Context {
	return context.WithValue(context.Background(), callerKey{}, name)
}

func TestThrottler_tracer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var begun, ended, observed []throttle.Run
		throttler := throttle.Must(throttle.New(throttle.Every(100*ms), takes(30*ms, errFailed),
			throttle.WithName("reload"), throttle.WithCallCount(),
			throttle.WithErrorHandler(func(error) { require.Len(t, begun, len(ended)+1, "begun before its callback") }),
			throttle.WithTracer(func(ctx context.Context, run throttle.Run, _ []context.Context) (context.Context, func(throttle.Run)) {
				begun = append(begun, run)
				return ctx, func(run throttle.Run) {
					require.Len(t, observed, len(ended), "ended before observers are told")
					ended = append(ended, run)
				}
			}),
			throttle.WithObserver(func(run throttle.Run) { observed = append(observed, run) })))
		for range 3 {
			throttler.Call()
		}
		time.Sleep(110 * ms)
		synctest.Wait()
		require.NoError(t, throttler.Close())
		time.Sleep(30 * ms)
		synctest.Wait()

		require.Len(t, ended, 2)
		require.Equal(t, observed, ended)
		for i, run := range ended {
			require.Equal(t, 30*ms, run.Ended.Sub(run.Started))
			require.Equal(t, throttle.ResultFailure, run.Result)
			require.Equal(t, errFailed, run.Err)
			run.Ended, run.Result, run.Err = time.Time{}, "", nil
			require.Equal(t, run, begun[i], "what is known at the start")
		}
		require.Equal(t, 100*ms, begun[1].Started.Sub(begin))
		require.Equal(t, uint64(2), begun[1].Calls)
	})
}

func TestThrottler_tracer_nested(t *testing.T) {
	type depthKey struct{}
	synctest.Test(t, func(t *testing.T) {
		var diary []string
		tracer := func(name string) throttle.Option {
			return throttle.WithTracer(func(ctx context.Context, _ throttle.Run, _ []context.Context) (context.Context, func(throttle.Run)) {
				within, _ := ctx.Value(depthKey{}).(string)
				diary = append(diary, name+" begins within "+within)
				return context.WithValue(ctx, depthKey{}, within+"/"+name), func(throttle.Run) { diary = append(diary, name+" ends") }
			})
		}
		without := throttle.WithTracer(func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
			diary = append(diary, "without context and end")
			return nil, nil //nolint:nilnil // is allowed
		})
		callback := func(ctx context.Context) { diary = append(diary, fmt.Sprint("run within ", ctx.Value(depthKey{}))) }
		want := func(run string) []string {
			return []string{
				"outer begins within ", "without context and end", "inner begins within /outer",
				run, "inner ends", "outer ends", "observer",
			}
		}
		options := []throttle.Option{
			throttle.WithObserver(func(throttle.Run) { diary = append(diary, "observer") }), tracer("outer"), without, tracer("inner"),
		}
		do := map[string]func() error{
			"run within /outer/inner": func() error {
				throttler := throttle.Must(throttle.New(throttle.Policy{}, func(ctx context.Context) error {
					callback(ctx)
					return nil
				}, options...))
				return throttler.Do(context.Background())
			},
			"run": func() error {
				throttler := throttle.Must(throttle.New(throttle.Policy{}, func() { diary = append(diary, "run") }, options...))
				return throttler.Do(context.Background())
			},
			"run within /outer/inner of key": func() error {
				group := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(ctx context.Context, key string) error {
					callback(ctx)
					diary[len(diary)-1] += " of " + key
					return nil
				}, options...))
				return group.Do(context.Background(), "key")
			},
			"run within /outer/inner with value": func() error {
				coalescer := throttle.Must(throttle.NewCoalescer(throttle.Policy{}, throttle.Latest[string](), func(ctx context.Context, value string) error {
					callback(ctx)
					diary[len(diary)-1] += " with " + value
					return nil
				}, options...))
				return coalescer.Do(context.Background(), "value")
			},
		}
		for run, do := range do {
			diary = nil
			require.NoError(t, do())
			synctest.Wait()
			require.Equal(t, want(run), diary)
		}
	})
}

// TestThrottler_tracer_callers checks that a tracer gets the contexts of all Do
// that the run covers, and no others.
func TestThrottler_tracer_callers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen [][]any
		ended := 0 // contexts of callers
		watch := throttle.WithTracer(func(_ context.Context, _ throttle.Run, callers []context.Context) (context.Context, func(throttle.Run)) {
			seen = append(seen, callerNames(callers))
			for _, caller := range callers {
				if caller.Err() != nil {
					ended++
				}
			}
			return nil, nil //nolint:nilnil // is allowed
		})
		policy := throttle.Policy{Interval: 100 * ms, Retry: throttle.Backoff{Initial: 200 * ms}}
		r := newRecorder(takes(10*ms, nil), takes(0, errFailed))
		throttler := r.throttler(t, policy, watch)
		do := func(name any) { await(func() error { return throttler.Do(named(name)) }) }

		do("leading")
		r.until(5)
		flush := await(func() error { return throttler.Flush(named("flush of the active run")) })
		r.until(20)
		throttler.Call()
		gaveUp, giveUp := context.WithCancel(named("gave up"))
		left := await(func() error { return throttler.Do(gaveUp) })
		synctest.Wait()
		do("joins")
		synctest.Wait()
		giveUp()
		r.until(150)
		require.NoError(t, flush.result(t))
		require.ErrorIs(t, left.result(t), context.Canceled)
		r.until(350) // after the retry, in its window
		for i := range 20 {
			do(i)
			synctest.Wait()
		}
		throttler.Cancel()
		for i := range 20 {
			do(100 + i)
			synctest.Wait()
		}
		r.until(500)
		first16 := make([]any, 16)
		for i := range first16 {
			first16[i] = 100 + i
		}
		do("is flushed")
		synctest.Wait()
		require.NoError(t, throttler.Flush(named("flush of a pending run")))
		do("is shut down")
		synctest.Wait()
		require.NoError(t, throttler.Shutdown(named("shutdown")))
		require.Equal(t, [][]any{{"leading"}, {"gave up", "joins"}, nil, first16, {"is flushed"}, {"is shut down"}}, seen)
		require.Equal(t, 1, ended, "callers gave up")
	})
}

// TestThrottler_tracer_manyCallers is in real time. There are fewer callers at a
// time than a run keeps.
func TestThrottler_tracer_manyCallers(t *testing.T) {
	const goroutines, each = 8, 500
	seen := map[any]int{} // without a lock: runs are synchronized with each other
	throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {},
		throttle.WithTracer(func(_ context.Context, _ throttle.Run, callers []context.Context) (context.Context, func(throttle.Run)) {
			for _, name := range callerNames(callers) {
				seen[name]++
			}
			return nil, nil //nolint:nilnil // is allowed
		})))
	var calls sync.WaitGroup
	for g := range goroutines {
		calls.Go(func() {
			for i := range each {
				if err := throttler.Do(named(g*each + i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	calls.Wait()
	require.NoError(t, throttler.Shutdown(t.Context()))
	require.Len(t, seen, goroutines*each)
	for name, times := range seen {
		require.Equal(t, 1, times, "caller %v", name)
	}
}

func TestGroup_tracer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[any][]any{}
		group := throttle.Must(throttle.NewGroup(throttle.Policy{}, nothing,
			throttle.WithTracer(func(_ context.Context, run throttle.Run, callers []context.Context) (context.Context, func(throttle.Run)) {
				seen[run.Key] = callerNames(callers)
				return nil, nil //nolint:nilnil // is allowed
			})))
		require.NoError(t, group.Do(named("a"), 1))
		require.NoError(t, group.Do(named("b"), 2))
		require.Equal(t, map[any][]any{1: {"a"}, 2: {"b"}}, seen)
	})
}

func TestCoalescer_tracer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []any
		coalescer := throttle.Must(throttle.NewCoalescer(throttle.Policy{}, throttle.Latest[int](), nothing,
			throttle.WithTracer(func(_ context.Context, run throttle.Run, callers []context.Context) (context.Context, func(throttle.Run)) {
				require.Nil(t, run.Key)
				seen = callerNames(callers)
				return nil, nil //nolint:nilnil // is allowed
			})))
		require.NoError(t, coalescer.Do(named("c"), 3))
		require.Equal(t, []any{"c"}, seen)
	})
}

// TestThrottler_tracer_ownSlice checks that each tracer gets a slice of its own.
func TestThrottler_tracer_ownSlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []any
		throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {},
			throttle.WithTracer(func(_ context.Context, _ throttle.Run, callers []context.Context) (context.Context, func(throttle.Run)) {
				clear(callers)
				return nil, nil //nolint:nilnil // is allowed
			}),
			throttle.WithTracer(func(_ context.Context, _ throttle.Run, callers []context.Context) (context.Context, func(throttle.Run)) {
				seen = callerNames(callers)
				return nil, nil //nolint:nilnil // is allowed
			})))
		require.NoError(t, throttler.Do(named("caller")))
		require.Equal(t, []any{"caller"}, seen)
	})
}

// TestThrottler_tracer_context checks that the context a tracer returns still
// counts as the run's own.
func TestThrottler_tracer_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var throttler *throttle.Throttler
		var within context.Context
		throttler = throttle.Must(throttle.New(throttle.Policy{},
			func(ctx context.Context) error {
				within = ctx //nolint:fatcontext // is looked at after the run
				return throttler.Do(ctx)
			},
			throttle.WithTracer(func(ctx context.Context, _ throttle.Run, _ []context.Context) (context.Context, func(throttle.Run)) {
				require.ErrorIs(t, throttler.Flush(ctx), throttle.ErrReentrant)
				return context.WithValue(ctx, callerKey{}, "traced"), nil
			})))
		require.ErrorIs(t, throttler.Do(context.Background()), throttle.ErrReentrant)
		require.Equal(t, "traced", within.Value(callerKey{}))
		require.Error(t, within.Err(), "ended with the run")
	})
}

func TestThrottler_tracer_goexit(t *testing.T) {
	tests := map[string]struct {
		tracer func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run))
		want   error
	}{
		"start": {func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
			runtime.Goexit()
			return nil, nil //nolint:nilnil // is not reached
		}, throttle.ErrGoexit},
		"end": {func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
			return nil, func(throttle.Run) { runtime.Goexit() }
		}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				outer := 0
				throttler := throttle.Must(throttle.New(throttle.Every(100*ms), func() {},
					throttle.WithTracer(func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
						return nil, func(throttle.Run) { outer++ }
					}),
					throttle.WithTracer(test.tracer)))
				for range 2 {
					require.ErrorIs(t, throttler.Do(context.Background()), test.want)
				}
				require.Equal(t, map[string]int{"start": 2, "end": 0}[name], outer)
				require.NoError(t, throttler.Shutdown(context.Background()))
				require.Equal(t, uint64(2), throttler.Stats().Runs)
			})
		})
	}
}

func TestThrottler_tracer_panic(t *testing.T) {
	tracers := map[string]throttle.Option{
		"start": throttle.WithTracer(func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
			panic("from the tracer")
		}),
		"end": throttle.WithTracer(func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
			return nil, func(throttle.Run) { panic("from the tracer") }
		}),
	}
	for name, tracer := range tracers {
		t.Run(name, func(t *testing.T) {
			if isChild() {
				throttle.Must(throttle.New(throttle.Policy{}, func() {}, tracer)).Call()
				select {} // a process that survives the panic ends here, with another message
			}
			output, err := runChild(t)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, output)
			require.Contains(t, output, "panic: from the tracer")
		})
	}
}

// TestThrottler_executionTrace is not parallel: the execution tracer is one for the
// process. A package of the module verify reads a trace as tools do, and checks
// more of it.
func TestThrottler_executionTrace(t *testing.T) {
	callbacks := map[string]func(opts ...throttle.Option) (*throttle.Throttler, error){
		"a callback with a context": func(opts ...throttle.Option) (*throttle.Throttler, error) {
			return throttle.New(throttle.Policy{}, func(ctx context.Context) error {
				trace.Log(ctx, "inside", "of a task")
				return nil
			}, opts...)
		},
		"a callback without": func(opts ...throttle.Option) (*throttle.Throttler, error) {
			return throttle.New(throttle.Policy{}, func() {}, opts...)
		},
		"a callback that ends its goroutine": func(opts ...throttle.Option) (*throttle.Throttler, error) {
			return throttle.New(throttle.Policy{}, runtime.Goexit, opts...)
		},
	}
	for name, build := range callbacks {
		t.Run(name, func(t *testing.T) {
			throttler := throttle.Must(build(throttle.WithName(name)))
			var recorded bytes.Buffer
			require.NoError(t, trace.Start(&recorded))
			_ = throttler.Do(t.Context())
			_ = throttler.Shutdown(t.Context())
			trace.Stop()
			for _, part := range []string{"throttle: " + name, "cause", "call"} {
				require.Contains(t, recorded.String(), part)
			}
		})
	}
}

// TestGroup_KeyError checks that errors of a Group name their key, to the handler and in
// the log, but not to a waiter.
func TestGroup_KeyError(t *testing.T) {
	run := func(_ context.Context, key any) error {
		if key == "panics" {
			panic("boom")
		}
		return errFailed
	}
	t.Run("handler", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			texts := make(map[any]string)
			g := throttle.Must(throttle.NewGroup(throttle.Policy{}, run, throttle.WithName("saver"), throttle.WithErrorHandler(func(err error) {
				var keyed *throttle.KeyError
				require.ErrorAs(t, err, &keyed)
				texts[keyed.Key] = err.Error()
			})))
			for _, key := range []any{"panics", 7, nil} {
				require.NoError(t, g.Call(key))
				synctest.Wait()
			}
			require.Equal(t, map[any]string{
				"panics": "throttle: saver: key panics: callback panicked: boom",
				7:        "throttle: saver: key 7: scripted failure",
				nil:      "throttle: saver: key <nil>: scripted failure",
			}, texts)
			require.Equal(t, errFailed, g.Do(context.Background(), 7))
			require.Equal(t, errFailed, g.Stats().LastError)
			require.NoError(t, g.Close())
		})
	})
	t.Run("log", func(t *testing.T) {
		output := captureLog(t)
		synctest.Test(t, func(t *testing.T) {
			g := throttle.Must(throttle.NewGroup(throttle.Policy{}, run))
			require.NoError(t, g.Call("panics"))
			synctest.Wait()
			require.NoError(t, g.Close())
		})
		require.Contains(t, output.String(), "key=panics")
		require.Contains(t, output.String(), `error="throttle: key panics: callback panicked: boom"`)
		require.Contains(t, output.String(), "stack=")
	})
}

// TestRun_Retry checks what observers learn about the repeat of a run.
func TestRun_Retry(t *testing.T) {
	const none = -1
	tests := []struct {
		name    string
		policy  throttle.Policy
		script  []scripted
		moments []moment
		want    []int // by run, in milliseconds; none if it is not repeated
	}{
		{name: "success", want: []int{none}, moments: calls(0)},
		{name: "failure without a backoff", script: fails(1), moments: calls(0), want: []int{none}},
		{name: "failures until it is given up", policy: giveUp, script: fails(3), moments: calls(0), want: []int{100, 300, none}},
		{name: "not inside the window", policy: retrying(throttle.Every(500*ms), 100*ms), script: fails(1), moments: calls(0), want: []int{500, none}},
		{name: "RetryIn", script: []scripted{takes(50*ms, throttle.RetryIn(300*ms))}, moments: calls(0), want: []int{350, none}},
		{name: "an eager call comes first", policy: eager(throttle.Every(100*ms), time.Second), script: []scripted{takes(50*ms, errFailed)},
			moments: calls(0, 20), want: []int{100, none}},
		{name: "while Shutdown drains", policy: backoff(100*ms, 0), script: []scripted{takes(50*ms, errFailed)},
			moments: append(calls(0), at(10, shutdown)...), want: []int{none}},
		{name: "never", policy: backoff(1<<63-1, 0), script: fails(1), moments: calls(0), want: []int{none}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(test.script...)
				throttler := r.throttler(t, test.policy)
				r.meet(throttler, test.moments)
				r.until(2000)
				requireRetries(t, r, test.want)
			})
		})
	}
	t.Run("canceled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder(nil)
			throttler := r.throttler(t, backoff(100*ms, 0))
			r.script[0] = func(context.Context) error { throttler.Cancel(); return errFailed }
			throttler.Call()
			r.until(2000)
			requireRetries(t, r, []int{none})
		})
	})
}

// requireRetries checks Run.Retry of r's runs, in milliseconds; -1 for zero.
func requireRetries(t *testing.T, r *recorder, want []int) {
	t.Helper()
	var got []int
	for _, run := range r.runs() {
		if run.Retry.IsZero() {
			got = append(got, -1)
		} else {
			got = append(got, int(run.Retry.Sub(r.begin)/ms))
		}
	}
	require.Equal(t, want, got)
}
