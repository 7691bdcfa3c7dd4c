package throttle_test

// This file holds what becomes of a value that no run delivers: it is kept for
// the retry, returned by Cancel, or reported as lost, once, to those who wait for
// it, else to the error handler, else to the log. Never to nobody.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// lostBy returns the values that errs tell to be lost, nil if none.
func lostBy(errs ...error) []string {
	var values []string
	for _, err := range errs {
		if lost, ok := errors.AsType[*throttle.LostError](err); ok {
			values = append(values, fmt.Sprint(lost.Value))
		}
	}
	return values
}

// A failure is a way in which a run does not succeed.
type failure struct {
	name  string
	run   scripted
	is    func(error) bool // reports whether an error tells of it
	again bool             // the run is repeated without a policy's retry too
}

func failures() []failure {
	return []failure{
		{name: "error", run: takes(0, errFailed), is: func(err error) bool { return errors.Is(err, errFailed) }},
		{name: "context.Canceled", run: takes(0, context.Canceled), is: func(err error) bool { return errors.Is(err, context.Canceled) }},
		{name: "panic", run: scriptedPanic("scripted"), is: func(err error) bool {
			panicked, ok := errors.AsType[*throttle.PanicError](err)
			return ok && panicked.Value == "scripted"
		}},
		{name: "Goexit", run: func(context.Context) error { runtime.Goexit(); return nil },
			is: func(err error) bool { return errors.Is(err, throttle.ErrGoexit) }},
		{name: "RetryIn", run: retryIn(100 * ms), again: true, is: func(err error) bool {
			_, ok := errors.AsType[*throttle.RetryError](err)
			return ok
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

// TestFailedRunsValueIsKeptOrReportedLost lets runs fail in every way, whatever
// follows, before everybody that can be told.
func TestFailedRunsValueIsKeptOrReportedLost(t *testing.T) {
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
	l := newLedger(func(ctx context.Context) error {
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

// requireLost checks that err tells of a Coalescer named batch that value is lost.
func requireLost(t *testing.T, err error, value any) {
	t.Helper()
	var lost *throttle.LostError
	require.ErrorAs(t, err, &lost)
	require.Equal(t, value, lost.Value)
	require.Equal(t, lost.Err, errors.Unwrap(lost))
	require.Equal(t, "throttle: batch: value lost: "+lost.Err.Error(), err.Error())
}

// TestEveryWaiterIsToldThatItsValueIsLost has some who wait from before the run's
// start.
func TestEveryWaiterIsToldThatItsValueIsLost(t *testing.T) {
	for _, failure := range failures() {
		if failure.again {
			continue
		}
		t.Run(failure.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger(failure.run)
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

func TestCoalescersDoIsToldTheErrorOfARunWhoseValueIsKept(t *testing.T) {
	for _, failure := range failures() {
		t.Run(failure.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger(failure.run)
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

// Not parallel: it replaces slog's default for its time.
func TestLostValueIsLoggedIfNobodyHandlesIt(t *testing.T) {
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
				l := newLedger(test.run)
				c := throttle.Must(throttle.NewCoalescer(test.policy, throttle.Append, l.take, throttle.WithName("batch")))
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

// requireRecords checks that the log has one record at level Error for each of
// want, which is in it.
func requireRecords(t *testing.T, output *bytes.Buffer, want ...string) {
	t.Helper()
	records := slices.Collect(strings.Lines(output.String()))
	require.Len(t, records, len(want))
	for i, record := range records {
		require.Contains(t, record, "level=ERROR")
		require.Contains(t, record, want[i])
	}
}

// A stage is a Coalescer in a state in which it can lose values.
type stage struct {
	*ledger

	coalescer *batcher
	parent    *slowContext
	end       context.CancelCauseFunc // of the parent
	waiters   []*waiter
}

// do hands over n as one who waits for it.
func (s *stage) do(n int) {
	s.waiters = append(s.waiters, await(func() error { return s.coalescer.Do(context.Background(), []int{n}) }))
	synctest.Wait()
}

// A lossState is a state that a Coalescer is in after 50 ms, and what becomes of
// its values from there. Numbers below 10 have been handed over by Call, others
// by Do.
type lossState struct {
	name     string
	policy   throttle.Policy
	script   []scripted
	enter    func(s *stage)
	closed   outlook
	shutDown outlook
	canceled outlook
}

// An outlook is what becomes of values.
type outlook struct {
	taken   []string // by runs, all in all
	waiters []string // told to be lost, one for each waiter, "" for one who is told of another error or none
	handler []string // told to be lost, in any order
	dropped []int    // returned by Cancel

	shutdown string // told to be lost by Shutdown
}

// call hands over n.
func (s *stage) call(n int) { _ = s.coalescer.Call([]int{n}) }

// enterSlowly makes the next run take a second between its start and its callback.
func (s *stage) enterSlowly() { s.parent.wait.Store(int64(time.Second)) }

var (
	slowHooks = 500 * ms // if the first run fails
	hourly    = throttle.Every(time.Hour)
	retries   = backoff(time.Hour, 0)
)

var lossStates = []lossState{
	{name: "idle", policy: hourly, enter: func(s *stage) { s.call(1) },
		closed: outlook{taken: []string{"0 [1]"}}, shutDown: outlook{taken: []string{"0 [1]"}}, canceled: outlook{taken: []string{"0 [1]"}}},
	{name: "pending", policy: throttle.Debounce(time.Hour, 0), enter: func(s *stage) { s.call(1); s.call(2) },
		closed: outlook{handler: []string{"[1 2]"}}, shutDown: outlook{taken: []string{"50 [1 2]"}}, canceled: outlook{dropped: []int{1, 2}}},
	{name: "pending, with waiters", policy: throttle.Debounce(time.Hour, 0), enter: func(s *stage) { s.call(1); s.do(10); s.do(20) },
		closed:   outlook{waiters: []string{"[1 10 20]", "[1 10 20]"}},
		shutDown: outlook{taken: []string{"50 [1 10 20]"}, waiters: []string{"", ""}},
		canceled: outlook{waiters: []string{"", ""}, dropped: []int{1, 10, 20}}},
	{name: "pending, to fail", policy: throttle.Debounce(time.Hour, 0), script: fails(1), enter: func(s *stage) { s.call(1) },
		closed: outlook{handler: []string{"[1]"}}, shutDown: outlook{taken: []string{"50 [1]"}, shutdown: "[1]"}, canceled: outlook{dropped: []int{1}}},

	{name: "started, not entered", policy: hourly, enter: func(s *stage) { s.enterSlowly(); s.call(1) },
		closed: outlook{handler: []string{"[1]"}}, shutDown: outlook{taken: []string{"1000 [1]"}}, canceled: outlook{taken: []string{"1000 [1]"}}},
	{name: "started, not entered, with a waiter", policy: hourly, enter: func(s *stage) { s.enterSlowly(); s.do(10) },
		closed:   outlook{waiters: []string{"[10]"}},
		shutDown: outlook{taken: []string{"1000 [10]"}, waiters: []string{""}},
		canceled: outlook{taken: []string{"1000 [10]"}, waiters: []string{""}}},
	{name: "started, not entered, and pending", policy: hourly, enter: func(s *stage) { s.enterSlowly(); s.call(1); s.call(2) },
		closed:   outlook{handler: []string{"[1]", "[2]"}},
		shutDown: outlook{taken: []string{"1000 [1]", "1000 [2]"}},
		canceled: outlook{taken: []string{"1000 [1]"}, dropped: []int{2}}},
	{name: "started, not entered, and pending, with waiters", policy: hourly, enter: func(s *stage) { s.enterSlowly(); s.do(10); s.do(20) },
		closed:   outlook{waiters: []string{"[10]", "[20]"}},
		shutDown: outlook{taken: []string{"1000 [10]", "1000 [20]"}, waiters: []string{"", ""}},
		canceled: outlook{taken: []string{"1000 [10]"}, waiters: []string{"", ""}, dropped: []int{20}}},
	{name: "retry started, not entered", policy: backoff(20*ms, 0), script: fails(1), enter: func(s *stage) { s.call(1); s.until(10); s.enterSlowly() },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "1020 [1]"}}, canceled: outlook{taken: []string{"0 [1]", "1020 [1]"}}},

	{name: "running to success", script: []scripted{takes(200*ms, nil)}, enter: func(s *stage) { s.do(10) },
		closed:   outlook{taken: []string{"0 [10]"}, waiters: []string{""}},
		shutDown: outlook{taken: []string{"0 [10]"}, waiters: []string{""}}, canceled: outlook{taken: []string{"0 [10]"}, waiters: []string{""}}},
	{name: "running to failure", policy: retries, script: []scripted{takes(200*ms, errFailed)}, enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]"}, shutdown: "[1]"},
		canceled: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}}},
	{name: "running to failure, with a waiter", policy: retries, script: []scripted{takes(200*ms, errFailed)}, enter: func(s *stage) { s.do(10) },
		closed:   outlook{taken: []string{"0 [10]"}, waiters: []string{"[10]"}},
		shutDown: outlook{taken: []string{"0 [10]"}, waiters: []string{"[10]"}, shutdown: "[10]"},
		canceled: outlook{taken: []string{"0 [10]"}, waiters: []string{"[10]"}}},
	{name: "running to RetryIn", script: []scripted{takes(200*ms, throttle.RetryIn(0))}, enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]"}, shutdown: "[1]"},
		canceled: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}}},
	{name: "running to failure, and pending", policy: retries, script: []scripted{takes(200*ms, errFailed)}, enter: func(s *stage) { s.call(1); s.until(10); s.call(2) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[2]", "[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "200 [2]"}, handler: []string{"[1]"}},
		canceled: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}, dropped: []int{2}}},

	{name: "waiting for a retry", policy: retries, script: fails(1), enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "50 [1]"}},
		canceled: outlook{taken: []string{"0 [1]"}, dropped: []int{1}}},
	{name: "waiting for a retry that fails again", policy: retries, script: fails(2), enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "50 [1]"}, shutdown: "[1]"},
		canceled: outlook{taken: []string{"0 [1]"}, dropped: []int{1}}},
	{name: "waiting for a retry, with one who waits", policy: retries, script: fails(1), enter: func(s *stage) { s.call(1); s.until(10); s.do(20) },
		closed:   outlook{taken: []string{"0 [1]"}, waiters: []string{"[1 20]"}},
		shutDown: outlook{taken: []string{"0 [1]", "50 [1 20]"}, waiters: []string{""}},
		canceled: outlook{taken: []string{"0 [1]"}, waiters: []string{""}, dropped: []int{1, 20}}},

	{name: "in the hooks, value kept", policy: retries, script: []scripted{takes(ms, errFailed)}, enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]", "501 [1]"}},
		canceled: outlook{taken: []string{"0 [1]"}, dropped: []int{1}}},
	{name: "in the hooks, value kept, and pending", policy: retries, script: []scripted{takes(ms, errFailed)}, enter: func(s *stage) { s.call(1); s.until(10); s.call(2) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1 2]"}},
		shutDown: outlook{taken: []string{"0 [1]", "501 [1 2]"}},
		canceled: outlook{taken: []string{"0 [1]"}, dropped: []int{1, 2}}},
	{name: "in the hooks, value kept, with one who waits", policy: retries, script: []scripted{takes(ms, errFailed)}, enter: func(s *stage) { s.do(10); s.do(20) },
		closed:   outlook{taken: []string{"0 [10]"}, waiters: []string{"", "[10 20]"}},
		shutDown: outlook{taken: []string{"0 [10]", "501 [10 20]"}, waiters: []string{"", ""}},
		canceled: outlook{taken: []string{"0 [10]"}, waiters: []string{"", ""}, dropped: []int{10, 20}}},
	{name: "in the hooks, value lost", script: []scripted{takes(ms, errFailed)}, enter: func(s *stage) { s.call(1) },
		closed:   outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}},
		shutDown: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}, shutdown: "[1]"}, // twice, as Shutdown came when the handler had it
		canceled: outlook{taken: []string{"0 [1]"}, handler: []string{"[1]"}}},
}

// begin returns a Coalescer in the state, at 50 ms.
func (ls *lossState) begin(t *testing.T) *stage {
	t.Helper()
	parent, end := context.WithCancelCause(context.Background())
	s := &stage{ledger: newLedger(ls.script...), parent: &slowContext{Context: parent}, end: end}
	slow := throttle.WithObserver(func(run throttle.Run) {
		if run.Err != nil && strings.HasPrefix(ls.name, "in the hooks") {
			time.Sleep(slowHooks)
		}
	})
	s.coalescer = s.ledger.coalescer(t, ls.policy, throttle.WithContext(s.parent), throttle.WithName("batch"), slow)
	t.Cleanup(func() { end(nil) })
	ls.enter(s)
	s.until(50)
	return s
}

// told returns of how many errors the handler has been told by now.
func (s *stage) told() int {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	return len(s.heard)
}

// require checks what has become of all values.
func (s *stage) require(t *testing.T, want outlook) {
	t.Helper()
	require.ElementsMatch(t, want.taken, s.taken())
	require.ElementsMatch(t, want.handler, lostBy(s.errors()...))
	var told []string
	for _, w := range s.waiters {
		lost := lostBy(w.result(t))
		told = append(told, strings.Join(lost, ""))
	}
	require.Equal(t, want.waiters, told)
	dropped, ok := s.coalescer.Cancel()
	require.False(t, ok, "%v is left", dropped)
	require.ErrorIs(t, s.coalescer.Call([]int{99}), throttle.ErrClosed)
	require.False(t, s.coalescer.Stats().Pending)
}

func TestClosedCoalescerReportsWhatIsLost(t *testing.T) {
	gone := errors.New("the parent is gone")
	ends := map[string]func(s *stage){
		"Close":  func(s *stage) { _ = s.coalescer.Close() },
		"parent": func(s *stage) { s.end(gone); synctest.Wait() },
		"Shutdown": func(s *stage) {
			ended, end := context.WithCancel(context.Background())
			end()
			_ = s.coalescer.Shutdown(ended)
		},
	}
	for _, state := range lossStates {
		for name, end := range ends {
			t.Run(state.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := state.begin(t)
					end(s)
					require.Equal(t, 50, s.elapsed(), "has waited")
					heard := s.told()
					s.until(10_000)
					for i, err := range s.errors() {
						if errors.Is(err, throttle.ErrClosed) {
							require.Less(t, i, heard, "reported after the end")
							require.Equal(t, name == "parent", errors.Is(err, gone))
						}
					}
					s.require(t, state.closed)
				})
			})
		}
	}
}

func TestShutdownOfACoalescerLosesOnlyWhatFails(t *testing.T) {
	for _, state := range lossStates {
		t.Run(state.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := state.begin(t)
				w := await(func() error { return s.coalescer.Shutdown(context.Background()) })
				s.until(10_000)
				require.Equal(t, state.shutDown.shutdown, strings.Join(lostBy(w.result(t)), ""))
				s.require(t, state.shutDown)
			})
		})
	}
}

func TestCoalescersCancelReturnsWhatItDrops(t *testing.T) {
	for _, state := range lossStates {
		t.Run(state.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := state.begin(t)
				dropped, ok := s.coalescer.Cancel()
				require.Equal(t, state.canceled.dropped, dropped)
				require.Equal(t, len(dropped) > 0, ok)
				s.until(10_000)
				_ = s.coalescer.Close()
				s.require(t, state.canceled)
			})
		})
	}
}

// TestPolicySetInTheHooksStrandsNoValueOfACoalescer changes the policy between the
// end of a run that fails at 1 ms and that of its hooks, at 501 ms: whether its
// value is kept was decided by the policy before.
func TestPolicySetInTheHooksStrandsNoValueOfACoalescer(t *testing.T) {
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
					l := newLedger(takes(ms, errFailed))
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
					_, ok := c.Cancel()
					require.False(t, ok, "a value is stranded")
				})
			})
		}
	}
}
