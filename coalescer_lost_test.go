package throttle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// lostBy returns the values of the LostErrors among errs, nil if there are none.
func lostBy(errs ...error) []string {
	var values []string
	for _, err := range errs {
		for _, lost := range reference.LostErrors(err) {
			values = append(values, fmt.Sprint(lost.Value))
		}
	}
	return values
}

// A failure is a way in which a run does not succeed.
type failure struct {
	name  string
	run   scripted
	is    func(error) bool // reports whether an error says so
	again bool             // the run is repeated without a policy's retry too
}

func failures() []failure {
	return []failure{
		{name: "error", run: takes(0, errFailed), is: func(err error) bool { return errors.Is(err, errFailed) }},
		{name: "context.Canceled", run: takes(0, context.Canceled), is: func(err error) bool { return errors.Is(err, context.Canceled) }},
		{name: "panic", run: scriptedPanic("scripted"), is: func(err error) bool {
			var panicked *throttle.PanicError
			return errors.As(err, &panicked) && panicked.Value == "scripted"
		}},
		{name: "Goexit", run: func(context.Context) error { runtime.Goexit(); return nil },
			is: func(err error) bool { return errors.Is(err, throttle.ErrGoexit) }},
		{name: "RetryIn", run: retryIn(100 * ms), again: true, is: func(err error) bool {
			var retry *throttle.RetryError
			return errors.As(err, &retry)
		}},
	}
}

// A fate decides whether a run that fails is repeated.
type fate struct {
	name    string
	policy  throttle.Policy
	disturb func(*batcher) // during the run
	keeps   bool           // the value of a run that failed
	again   bool           // the value of one that asked to run again
}

func fates() []fate {
	calm := func(*batcher) {}
	return []fate{
		{name: "no retry", disturb: calm, again: true},
		{name: "retry", policy: backoff(100*ms, 0), disturb: calm, keeps: true, again: true},
		{name: "retry, with attempts left", policy: giveUp, disturb: calm, keeps: true, again: true},
		{name: "retry, last attempt", policy: throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms, MaxAttempts: 1}}, disturb: calm, again: true},
		{name: "retry, canceled", policy: backoff(100*ms, 0), disturb: func(c *batcher) { c.Cancel() }},
		{name: "retry, closed", policy: backoff(100*ms, 0), disturb: func(c *batcher) { finish(c) }},
		{name: "retry, taken away", policy: backoff(100*ms, 0), disturb: func(c *batcher) { _ = c.SetPolicy(throttle.Policy{}) }, again: true},
		{name: "retry, given", disturb: func(c *batcher) { _ = c.SetPolicy(backoff(100*ms, 0)) }, keeps: true, again: true},
	}
}

// kept reports whether the fate keeps the value of a run that ends in f.
func (f fate) kept(by failure) bool { return !by.again && f.keeps || by.again && f.again }

// waits are the methods that can wait for a run that is active.
func waits() map[string]func(*batcher) error {
	return map[string]func(*batcher) error{
		"":         nil,
		"Flush":    func(c *batcher) error { return c.Flush(context.Background()) },
		"Shutdown": func(c *batcher) error { return c.Shutdown(context.Background()) },
		"Do, left": func(c *batcher) error {
			ctx, leave := context.WithTimeout(context.Background(), ms)
			defer leave()
			return c.Flush(ctx)
		},
	}
}

// TestCoalescer_failedRun lets runs fail in every way, under policies that keep the
// value and policies that lose it, with every kind of waiter. The value must be
// kept, or reported lost once.
func TestCoalescer_failedRun(t *testing.T) {
	for _, failure := range failures() {
		for _, fate := range fates() {
			for name, wait := range waits() {
				t.Run(strings.Join([]string{failure.name, fate.name, name}, "/"), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						failure.meet(t, fate, name, wait)
					})
				})
			}
		}
	}
}

// meet lets a run that takes 50 ms end in f.
func (f failure) meet(t *testing.T, fate fate, name string, wait func(*batcher) error) {
	l := newValueRecorder(func(ctx context.Context) error {
		time.Sleep(50 * ms)
		return f.run(ctx)
	})
	c := l.coalescer(t, fate.policy, throttle.WithName("batch"))
	require.NoError(t, c.Call([]int{1}))
	l.until(10)
	waiter := await(func() error { return nil })
	if wait != nil {
		waiter = await(func() error { return wait(c) })
	}
	l.until(20)
	go fate.disturb(c) // it may wait for the run's end
	l.until(1000)
	heard := l.errors()
	if err := waiter.result(t); name == "Flush" || name == "Shutdown" {
		require.Empty(t, heard, "there is a waiter")
		heard = []error{err}
	} else if f.again && fate.kept(f) {
		require.Empty(t, heard, "that is no failure")
		heard = []error{throttle.RetryIn(0)}
	}
	require.Len(t, heard, 1)
	require.True(t, f.is(heard[0]), "%v", heard[0])
	if fate.kept(f) && name != "Shutdown" {
		require.Empty(t, lostBy(heard...))
		require.Equal(t, []string{"0 [1]", "150 [1]"}, l.taken())
		return
	}
	requireLost(t, heard[0], []int{1})
	require.Equal(t, []string{"0 [1]"}, l.taken())
}

// requireLost checks that err is the LostError of value in a Coalescer named batch.
func requireLost(t *testing.T, err error, value any) {
	t.Helper()
	var lost *throttle.LostError
	require.ErrorAs(t, err, &lost)
	require.Equal(t, value, lost.Value)
	require.Equal(t, lost.Err, errors.Unwrap(lost))
	require.Equal(t, "throttle: batch: value lost: "+lost.Err.Error(), err.Error())
}

// TestCoalescer_LostError checks that everyone who waits for a batch gets the
// LostError.
func TestCoalescer_LostError(t *testing.T) {
	for _, failure := range failures() {
		if failure.again {
			continue
		}
		t.Run(failure.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder(failure.run)
				c := l.coalescer(t, throttle.Debounce(100*ms, 0), throttle.WithName("batch"))
				var waiters []*waiter
				for i := range 3 {
					waiters = append(waiters, await(func() error { return c.Do(context.Background(), []int{i}) }))
					synctest.Wait()
				}
				waiters = append(waiters, await(func() error { return c.Flush(context.Background()) }))
				for _, w := range waiters {
					requireLost(t, w.result(t), []int{0, 1, 2})
					require.True(t, failure.is(w.err))
				}
				require.Empty(t, l.errors())
			})
		})
	}
}

func TestCoalescer_Do_valueKept(t *testing.T) {
	for _, failure := range failures() {
		t.Run(failure.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder(failure.run)
				c := l.coalescer(t, backoff(100*ms, 0))
				do := await(func() error { return c.Do(context.Background(), []int{1}) })
				require.True(t, failure.is(do.result(t)))
				require.Empty(t, lostBy(do.err))
				l.until(1000)
				require.Equal(t, []string{"0 [1]", "100 [1]"}, l.taken())
				require.Empty(t, l.errors())
			})
		})
	}
}

// TestCoalescer_log is not parallel: it replaces slog's default for its time.
func TestCoalescer_log(t *testing.T) {
	tests := []struct {
		name   string
		policy throttle.Policy
		run    scripted
		end    func(*batcher) // during the run
		want   []string       // of each record
	}{
		{name: "kept", policy: backoff(time.Hour, 0), run: takes(50*ms, errFailed), end: func(*batcher) {},
			want: []string{`msg="throttle: run failed" name=batch error="scripted failure" cause=call attempt=1`}},
		{name: "kept, then closed", policy: backoff(time.Hour, 0), run: takes(0, errFailed), end: func(c *batcher) { _ = c.Close() },
			want: []string{`error="scripted failure"`, `msg="throttle: value lost" name=batch error="throttle: batch: value lost: throttle: batch: closed"`}},
		{name: "lost", run: takes(50*ms, errFailed), end: func(*batcher) {},
			want: []string{`msg="throttle: run failed" name=batch error="throttle: batch: value lost: scripted failure" cause=call attempt=1`}},
		{name: "lost by a panic", run: func(context.Context) error { panic("scripted") }, end: func(*batcher) {},
			want: []string{`value lost: throttle: batch: callback panicked: scripted" cause=call attempt=1 stack=`}},
		{name: "lost by the callback's heed of Close", run: takes(50*ms, context.Canceled), end: func(c *batcher) { _ = c.Close() },
			want: []string{`error="throttle: batch: value lost: context canceled"`}},
		{name: "lost by Close, and the run succeeds", run: takes(50*ms, nil), end: func(c *batcher) {
			_ = c.Call([]int{2})
			_ = c.Close()
		}, want: []string{`msg="throttle: value lost" name=batch error="throttle: batch: value lost: throttle: batch: closed"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			output := captureLog(t)
			synctest.Test(t, func(*testing.T) {
				l := newValueRecorder(test.run)
				c := throttle.Must(throttle.NewCoalescer(test.policy, lists(), l.take, throttle.WithName("batch")))
				_ = c.Call([]int{1})
				l.until(10)
				test.end(c)
				l.until(1000)
				requireRecords(t, output, test.want...)
				finish(c)
			})
		})
	}
}

// requireRecords checks that the log has one record at level Error for each of want, and
// that the record contains it.
func requireRecords(t *testing.T, output *bytes.Buffer, want ...string) {
	t.Helper()
	records := slices.Collect(strings.Lines(output.String()))
	require.Len(t, records, len(want))
	for i, record := range records {
		require.Contains(t, record, "level=ERROR")
		require.Contains(t, record, want[i])
	}
}

// TestCoalescer_SetPolicy_inHooks changes the policy between the end of a run that
// fails at 1 ms and the end of its hooks, at 501 ms. The policy before decides
// whether the run's value is kept.
func TestCoalescer_SetPolicy_inHooks(t *testing.T) {
	late, once := backoff(600*ms, 0), throttle.Policy{Retry: throttle.Backoff{Initial: 600 * ms, MaxAttempts: 1}}
	tests := []struct {
		name     string
		policies []throttle.Policy // the first is the Coalescer's own, the others are set one after the other
		cancel   bool              // at the end of the hooks
		alone    []string          // what runs take if 1 is handed over
		followed []string          // and if 2 is during the run or its hooks
		lost     []string
	}{
		{name: "the same", policies: []throttle.Policy{late, late}, alone: []string{"0 [1]", "601 [1]"}, followed: []string{"0 [1]", "601 [1 2]"}},
		{name: "no retry", policies: []throttle.Policy{late, {}}, alone: []string{"0 [1]", "501 [1]"}, followed: []string{"0 [1]", "501 [1 2]"}},
		{name: "a retry", policies: []throttle.Policy{{}, late}, alone: []string{"0 [1]"}, followed: []string{"0 [1]", "601 [2]"}, lost: []string{"[1]"}},
		{name: "no retry, and one again", policies: []throttle.Policy{late, {}, late}, alone: []string{"0 [1]", "601 [1]"}, followed: []string{"0 [1]", "601 [1 2]"}},
		{name: "a retry, and none again", policies: []throttle.Policy{{}, late, {}}, alone: []string{"0 [1]"}, followed: []string{"0 [1]", "501 [2]"}, lost: []string{"[1]"}},
		{name: "no attempt left", policies: []throttle.Policy{late, once}, alone: []string{"0 [1]", "601 [1]"}, followed: []string{"0 [1]", "601 [1 2]"}},
		{name: "attempts left", policies: []throttle.Policy{once, late}, alone: []string{"0 [1]"}, followed: []string{"0 [1]", "601 [2]"}, lost: []string{"[1]"}},
		{name: "no retry, and canceled", policies: []throttle.Policy{late, {}}, cancel: true, alone: []string{"0 [1]"}, followed: []string{"0 [1]"}},
		{name: "a retry, and canceled", policies: []throttle.Policy{{}, late}, cancel: true, alone: []string{"0 [1]"}, followed: []string{"0 [1]"}, lost: []string{"[1]"}},
	}
	for _, test := range tests {
		for follower, want := range map[string][]string{"alone": test.alone, "followed during the run": test.followed, "followed in the hooks": test.followed} {
			t.Run(test.name+"/"+follower, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newValueRecorder(takes(ms, errFailed))
					c := l.coalescer(t, test.policies[0], throttle.WithObserver(func(run throttle.Run) {
						if run.Err != nil {
							time.Sleep(slowHooks)
						}
					}))
					require.NoError(t, c.Call([]int{1}))
					synctest.Wait()
					if follower == "followed during the run" {
						require.NoError(t, c.Call([]int{2}))
					}
					for i, policy := range test.policies[1:] {
						l.until(50 + i)
						require.NoError(t, c.SetPolicy(policy))
					}
					if follower == "followed in the hooks" {
						require.NoError(t, c.Call([]int{2}))
					}
					l.until(500)
					if test.cancel {
						c.Cancel()
					}
					l.until(10_000)
					require.Equal(t, want, l.taken())
					require.Equal(t, test.lost, lostBy(l.errors()...))
					require.Empty(t, c.Cancel(), "a value is left")
				})
			})
		}
	}
}

// A panickyMerge is a merge of lists that panics, or ends its goroutine, once it is armed.
type panickyMerge struct {
	how    func()
	armed  atomic.Bool
	merges atomic.Int32
}

func (b *panickyMerge) merge(older, newer []int) []int {
	b.merges.Add(1)
	if b.armed.Swap(false) {
		b.how()
	}
	return append(older, newer...)
}

// A mergePanic is a way in which merge does not return.
type mergePanic struct {
	name string
	how  func()
	is   func(error) bool // reports whether an error says so
}

var errMerge = errors.New("merge failed")

func mergePanics() []mergePanic {
	return []mergePanic{
		{name: "panics with a text", how: func() { panic("failing") }, is: func(err error) bool {
			return strings.Contains(err.Error(), "failing")
		}},
		{name: "panics with an error", how: func() { panic(errMerge) }, is: func(err error) bool { return errors.Is(err, errMerge) }},
		{name: "panics with nil", how: func() { panic(nil) }, is: func(err error) bool { //nolint:govet // it may
			var nilPanic *runtime.PanicNilError
			return errors.As(err, &nilPanic)
		}},
		{name: "ends its goroutine", how: runtime.Goexit, is: func(err error) bool { return errors.Is(err, throttle.ErrGoexit) }},
	}
}

// endOf runs call in a goroutine of its own. It returns nil if call returned, and
// otherwise a PanicError or ErrGoexit.
func endOf(call func()) error {
	ended := make(chan error, 1)
	go func() {
		end := throttle.ErrGoexit
		defer func() {
			if value := recover(); value != nil {
				end = &throttle.PanicError{Value: value}
			}
			ended <- end
		}()
		call()
		end = nil
	}()
	return <-ended
}

// TestCoalescer_mergePanics lets merge panic, or end its goroutine, in a call: the
// caller gets the panic, and nothing else happens.
func TestCoalescer_mergePanics(t *testing.T) {
	methods := map[string]func(*batcher){
		"Call":       func(c *batcher) { _ = c.Call([]int{30}) },
		"CallWithin": func(c *batcher) { _ = c.CallWithin([]int{30}, 0) },
		"Do":         func(c *batcher) { _ = c.Do(context.Background(), []int{30}) },
	}
	policies := map[string]throttle.Policy{
		"interval":   throttle.Every(100 * ms),
		"debounce":   throttle.Debounce(80*ms, 0), // the call does not postpone the run
		"full batch": {Interval: 100 * ms, Edges: bothEdges, Quiet: 80 * ms, MaxCalls: 4},
	}
	for _, failing := range mergePanics() {
		for method, call := range methods {
			for name, policy := range policies {
				t.Run(failing.name+"/"+method+"/"+name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { failing.meetCall(t, policy, call) })
				})
			}
		}
	}
}

// meetCall lets merge panic in call while 1 and 2 wait for a run at 100 ms from
// the first.
func (b mergePanic) meetCall(t *testing.T, policy throttle.Policy, call func(*batcher)) {
	l, panickyMerge := newValueRecorder(), &panickyMerge{how: b.how}
	c := throttle.Must(throttle.NewCoalescer(policy, throttle.Merge(panickyMerge.merge), l.take))
	defer finish(c)
	require.NoError(t, c.Do(context.Background(), []int{0}))
	begin := l.elapsed()
	l.until(begin + 20)
	require.NoError(t, c.Call([]int{1}))
	require.NoError(t, c.Call([]int{2}))
	l.until(begin + 50)
	before := c.Stats()
	panickyMerge.armed.Store(true)
	end := endOf(func() { call(c) })
	require.Error(t, end)
	require.True(t, b.is(end), "%v", end)
	require.Equal(t, before, c.Stats(), "something has happened")
	l.until(begin + 99)
	require.Len(t, l.taken(), 1)
	require.NoError(t, c.Call([]int{3}))
	require.Equal(t, before.Calls+1, c.Stats().Calls)
	l.until(begin + 1000)
	require.Len(t, l.taken(), 2)
	require.Contains(t, l.taken()[1], "[1 2 3]")
}

// TestCoalescer_mergePanics_lock checks that the lock is free after merge has
// panicked, with every method.
func TestCoalescer_mergePanics_lock(t *testing.T) {
	for _, failing := range mergePanics() {
		t.Run(failing.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder()
				b := &panickyMerge{how: func() {
					time.Sleep(100*ms - 1) // to the instant before the run is due
					failing.how()
				}}
				c := throttle.Must(throttle.NewCoalescer(throttle.Debounce(100*ms, 0), throttle.Merge(b.merge), l.take))
				require.NoError(t, c.Call([]int{1}))
				b.armed.Store(true)
				require.Error(t, endOf(func() { _ = c.Call([]int{2}) }))
				require.True(t, c.Stats().Pending)
				require.NoError(t, c.SetPolicy(throttle.Debounce(100*ms, 0)))
				l.until(100)
				require.Equal(t, []string{"100 [1]"}, l.taken())
				require.NoError(t, c.Call([]int{3}))
				require.Equal(t, [][]int{{3}}, c.Cancel())
				require.NoError(t, c.Shutdown(context.Background()))
			})
		})
	}
}

// TestCoalescer_mergePanics_failedRun lets merge panic when a failed run's value
// comes back, which is in the run's goroutine.
func TestCoalescer_mergePanics_failedRun(t *testing.T) {
	for _, failing := range mergePanics() {
		for _, failure := range failures() {
			for _, waited := range []bool{false, true} {
				t.Run(fmt.Sprint(failing.name, "/", failure.name, "/waited for: ", waited), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { failing.meetReturn(t, failure, waited) })
				})
			}
		}
	}
}

// meetReturn lets a run of 50 ms that takes 1 end in failure while 2 and 3 wait,
// and merge panic then.
func (b mergePanic) meetReturn(t *testing.T, failure failure, waited bool) {
	l, panickyMerge := newValueRecorder(func(ctx context.Context) error {
		time.Sleep(50 * ms)
		return failure.run(ctx)
	}), &panickyMerge{how: b.how}
	c := throttle.Must(throttle.NewCoalescer(backoff(100*ms, 0), throttle.Merge(panickyMerge.merge), l.take, throttle.WithName("batch"),
		throttle.WithErrorHandler(l.hear), throttle.WithObserver(l.observe)))
	defer finish(c)
	do := await(func() error {
		if !waited {
			return c.Call([]int{1})
		}
		return c.Do(context.Background(), []int{1})
	})
	l.until(10)
	require.NoError(t, c.Call([]int{2}))
	require.NoError(t, c.Call([]int{3}))
	panickyMerge.armed.Store(true)
	l.until(60)
	heard := l.errors()
	if waited {
		require.Empty(t, heard)
		heard = []error{do.result(t)}
	}
	require.Len(t, heard, 1)
	require.Empty(t, lostBy(heard...))
	require.True(t, failure.is(heard[0]), "%v", heard[0])
	require.True(t, b.is(heard[0]), "%v", heard[0])
	l.until(1000)
	require.Equal(t, []string{"0 [1]", "150 [1]", "150 [2 3]"}, l.taken(), "both stay as they are")
	require.Len(t, l.runs(), 3)
	require.Equal(t, int32(2), panickyMerge.merges.Load())
	require.Equal(t, waited, len(l.errors()) == 0, "nobody else gets it")
	require.NoError(t, c.Do(context.Background(), []int{4}), "works on")
}

// TestCoalescer_mergePanics_quiet checks that what came later still waits for
// Quiet. A retry would not.
func TestCoalescer_mergePanics_quiet(t *testing.T) {
	for _, failing := range mergePanics() {
		t.Run(failing.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, b := newValueRecorder(takes(50*ms, errFailed)), &panickyMerge{how: failing.how}
				c := throttle.Must(throttle.NewCoalescer(retrying(throttle.Debounce(time.Second, 0), 100*ms), throttle.Merge(b.merge), l.take,
					throttle.WithErrorHandler(l.hear)))
				defer finish(c)
				require.NoError(t, c.CallWithin([]int{1}, 0))
				l.until(10)
				require.NoError(t, c.Call([]int{2}))
				b.armed.Store(true)
				l.until(5000)
				require.Equal(t, []string{"0 [1]", "150 [1]", "1010 [2]"}, l.taken())
				require.Empty(t, lostBy(l.errors()...))
			})
		})
	}
}

// TestCoalescer_mergePanics_twoErrors lets both the run and merge panic.
func TestCoalescer_mergePanics_twoErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newValueRecorder(func(context.Context) error {
			time.Sleep(10 * ms)
			panic(errFailed)
		})
		b := &panickyMerge{how: func() { panic(errMerge) }}
		c := throttle.Must(throttle.NewCoalescer(backoff(100*ms, 0), throttle.Merge(b.merge), l.take, throttle.WithName("batch"), throttle.WithErrorHandler(l.hear)))
		defer finish(c)
		require.NoError(t, c.Call([]int{1}))
		l.until(5)
		require.NoError(t, c.Call([]int{2}))
		b.armed.Store(true)
		l.until(50)
		heard := l.errors()
		require.Len(t, heard, 1)
		require.ErrorIs(t, heard[0], errFailed)
		require.ErrorIs(t, heard[0], errMerge)
		require.ErrorIs(t, c.Stats().LastError, errFailed)
		require.NotErrorIs(t, c.Stats().LastError, errMerge, "the run's error is the callback's")
	})
}

// TestCoalescer_mergePanics_olderValue checks what the documentation says: the
// older value stays as merge left it.
func TestCoalescer_mergePanics_olderValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken []map[string]int
		c := throttle.Must(throttle.NewCoalescer(throttle.Debounce(10*ms, 0), throttle.Merge(func(older, newer map[string]int) map[string]int {
			older["merges"]++
			panic(newer)
		}), func(_ context.Context, value map[string]int) error {
			taken = append(taken, value)
			return nil
		}))
		require.NoError(t, c.Call(map[string]int{"merges": 0}))
		require.Error(t, endOf(func() { _ = c.Call(nil) }))
		require.Error(t, endOf(func() { _ = c.Call(nil) }))
		require.NoError(t, c.Shutdown(context.Background()))
		require.Equal(t, []map[string]int{{"merges": 2}}, taken)
	})
}
