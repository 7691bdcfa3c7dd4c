package throttle_test

// This file holds when and how merge is called: on what, in which order, and what
// happens if it panics or ends its goroutine.

import (
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
)

// pair is a merge that shows what was merged with what.
func pair(older, newer string) string { return "(" + older + " " + newer + ")" }

// A pairStep is what happens to a Coalescer of pairs.
type pairStep func(*testing.T, *throttle.Coalescer[string])

// handsOver hands over values in this order.
func handsOver(values ...string) pairStep {
	return func(t *testing.T, c *throttle.Coalescer[string]) {
		for _, value := range values {
			require.NoError(t, c.Call(value))
		}
	}
}

func TestValuesMergeInTheOrderOfTheirCalls(t *testing.T) {
	drop := func(_ *testing.T, c *throttle.Coalescer[string]) { c.Cancel() }
	tests := []struct {
		name   string
		script []scripted
		steps  []pairStep // one every 100 ms, nil if nothing happens
		want   []string   // what runs take, at least 200 ms apart
	}{
		{name: "one value is handed on as it is",
			steps: []pairStep{handsOver("a")}, want: []string{"a"}},
		{name: "each call's value is the newer",
			steps: []pairStep{handsOver("a", "b", "c", "d")}, want: []string{"a", "((b c) d)"}},
		{name: "what a run has taken is no more merged",
			steps: []pairStep{handsOver("a", "b", "c"), nil, nil, handsOver("d", "e")}, want: []string{"a", "(b c)", "(d e)"}},
		{name: "a failed run's value is the older of each that comes later", script: fails(1),
			steps: []pairStep{handsOver("a"), handsOver("b", "c")}, want: []string{"a", "((a b) c)"}},
		{name: "a failed run's value is the older of all that came during the run", script: []scripted{takes(150*ms, errFailed)},
			steps: []pairStep{handsOver("a"), handsOver("b", "c"), handsOver("d")}, want: []string{"a", "((a (b c)) d)"}},
		{name: "and again", script: []scripted{takes(150*ms, errFailed), takes(150*ms, errFailed)},
			steps: []pairStep{handsOver("a"), handsOver("b"), nil, handsOver("c")}, want: []string{"a", "(a b)", "((a b) c)"}},
		{name: "what Cancel has returned is no more merged", script: []scripted{takes(250*ms, nil)},
			steps: []pairStep{handsOver("a", "b"), drop, handsOver("c", "d")}, want: []string{"a", "(c d)"}},
		{name: "what was lost is no more merged", script: []scripted{takes(150*ms, errFailed)},
			steps: []pairStep{handsOver("a"), drop, handsOver("c")}, want: []string{"a", "c"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(test.script...)
				var taken []string // without a lock: runs are synchronized with each other, and the last with Shutdown
				c := throttle.Must(throttle.NewCoalescer(retrying(throttle.Every(200*ms), 100*ms), pair, func(ctx context.Context, value string) error {
					taken = append(taken, value)
					return r.run(ctx)
				}, throttle.WithErrorHandler(r.hear)))
				for i, step := range test.steps {
					r.until(i * 100)
					if step != nil {
						step(t, c)
					}
				}
				r.until(10_000)
				finish(c)
				require.Equal(t, test.want, taken)
			})
		})
	}
}

func TestMergeIsNotCalledForACallThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		merges := 0
		r := newRecorder(fails(1)...)
		c := throttle.Must(throttle.NewCoalescer(retrying(throttle.Policy{Edges: throttle.Leading}, time.Second), func(older, newer int) int {
			merges++
			return older + newer
		}, func(ctx context.Context, _ int) error { return r.run(ctx) }, throttle.WithErrorHandler(r.hear)))
		ended, end := context.WithCancel(context.Background())
		end()
		require.NoError(t, c.Call(1))
		r.until(10) // the value waits for the retry
		require.ErrorIs(t, c.Call(2), throttle.ErrThrottled)
		require.ErrorIs(t, c.Do(ended, 3), context.Canceled)
		require.NoError(t, c.Shutdown(context.Background()))
		require.ErrorIs(t, c.Call(4), throttle.ErrClosed)
		require.Zero(t, merges)
		require.Equal(t, []int{0, 10}, r.started())
	})
}

func TestReadyMadeMerges(t *testing.T) {
	require.Equal(t, 2, throttle.Latest(1, 2))
	require.NoError(t, throttle.Latest(errFailed, nil))
	tests := []struct{ older, newer, want []int }{
		{},
		{older: []int{1}, want: []int{1}},
		{newer: []int{1}, want: []int{1}},
		{older: []int{1, 2}, newer: []int{3, 4}, want: []int{1, 2, 3, 4}},
	}
	for _, test := range tests {
		require.Equal(t, test.want, throttle.Append(test.older, test.newer))
	}
	clipped := slices.Clip([]int{1, 2})
	first, second := throttle.Append(clipped, []int{3}), throttle.Append(clipped, []int{4})
	require.Equal(t, []int{1, 2, 3, 1, 2, 4}, slices.Concat(first, second))
}

// A breaker is a merge of lists that breaks once it is armed.
type breaker struct {
	how    func()
	armed  atomic.Bool
	merges atomic.Int32
}

func (b *breaker) merge(older, newer []int) []int {
	b.merges.Add(1)
	if b.armed.Swap(false) {
		b.how()
	}
	return append(older, newer...)
}

// A breakage is a way in which merge does not return.
type breakage struct {
	name string
	how  func()
	is   func(error) bool // reports whether an error tells of it
}

var errBroken = errors.New("merge is broken")

func breakages() []breakage {
	return []breakage{
		{name: "panics with a text", how: func() { panic("broken") }, is: func(err error) bool {
			return strings.Contains(err.Error(), "broken")
		}},
		{name: "panics with an error", how: func() { panic(errBroken) }, is: func(err error) bool { return errors.Is(err, errBroken) }},
		{name: "panics with nil", how: func() { panic(nil) }, is: func(err error) bool { //nolint:govet // it may
			_, ok := errors.AsType[*runtime.PanicNilError](err)
			return ok
		}},
		{name: "ends its goroutine", how: runtime.Goexit, is: func(err error) bool { return errors.Is(err, throttle.ErrGoexit) }},
	}
}

// endOf runs call in a goroutine of its own and returns as what it has ended: nil
// if call has returned.
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

// TestCallWhoseMergeBreaksWasNotMade lets merge break in a call: the caller feels
// it, and nothing else has happened.
func TestCallWhoseMergeBreaksWasNotMade(t *testing.T) {
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
	for _, broken := range breakages() {
		for method, call := range methods {
			for name, policy := range policies {
				t.Run(broken.name+"/"+method+"/"+name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { broken.meetCall(t, policy, call) })
				})
			}
		}
	}
}

// meetCall lets merge break in call while 1 and 2 wait for a run at 100 ms from
// the first.
func (b breakage) meetCall(t *testing.T, policy throttle.Policy, call func(*batcher)) {
	l, breaker := newLedger(), &breaker{how: b.how}
	c := throttle.Must(throttle.NewCoalescer(policy, breaker.merge, l.take))
	defer finish(c)
	require.NoError(t, c.Do(context.Background(), []int{0}))
	begin := l.elapsed()
	l.until(begin + 20)
	require.NoError(t, c.Call([]int{1}))
	require.NoError(t, c.Call([]int{2}))
	l.until(begin + 50)
	before := c.Stats()
	breaker.armed.Store(true)
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

// TestBrokenMergeHoldsNobodyUp asks for the lock, in every method, once a call's
// merge has broken.
func TestBrokenMergeHoldsNobodyUp(t *testing.T) {
	for _, broken := range breakages() {
		t.Run(broken.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger()
				b := &breaker{how: func() {
					time.Sleep(100*ms - 1) // to the instant before the run is due
					broken.how()
				}}
				c := throttle.Must(throttle.NewCoalescer(throttle.Debounce(100*ms, 0), b.merge, l.take))
				require.NoError(t, c.Call([]int{1}))
				b.armed.Store(true)
				require.Error(t, endOf(func() { _ = c.Call([]int{2}) }))
				require.True(t, c.Stats().Pending)
				require.NoError(t, c.SetPolicy(throttle.Debounce(100*ms, 0)))
				l.until(100)
				require.Equal(t, []string{"100 [1]"}, l.taken())
				require.NoError(t, c.Call([]int{3}))
				dropped, _ := c.Cancel()
				require.Equal(t, []int{3}, dropped)
				require.NoError(t, c.Shutdown(context.Background()))
			})
		})
	}
}

// TestFailedRunsValueThatCannotBeMergedIsLost lets merge break when a failed run's
// value comes back, which is in the run's goroutine.
func TestFailedRunsValueThatCannotBeMergedIsLost(t *testing.T) {
	for _, broken := range breakages() {
		for _, failure := range failures() {
			for _, waited := range []bool{false, true} {
				t.Run(fmt.Sprint(broken.name, "/", failure.name, "/waited for: ", waited), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { broken.meetReturn(t, failure, waited) })
				})
			}
		}
	}
}

// meetReturn lets a run of 50 ms that takes 1 end in failure while 2 and 3 wait,
// and merge break then.
func (b breakage) meetReturn(t *testing.T, failure failure, waited bool) {
	l, breaker := newLedger(func(ctx context.Context) error {
		time.Sleep(50 * ms)
		return failure.run(ctx)
	}), &breaker{how: b.how}
	c := throttle.Must(throttle.NewCoalescer(backoff(100*ms, 0), breaker.merge, l.take, throttle.WithName("batch"),
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
	breaker.armed.Store(true)
	l.until(60)
	heard := l.errors()
	if waited {
		require.Empty(t, heard)
		heard = []error{do.result(t)}
	}
	require.Len(t, heard, 1)
	requireLost(t, heard[0], []int{1})
	require.True(t, failure.is(heard[0]), "%v", heard[0])
	require.True(t, b.is(heard[0]), "%v", heard[0])
	l.until(1000)
	require.Equal(t, []string{"0 [1]", "150 [2 3]"}, l.taken(), "what came later waits for the backoff, and runs once")
	require.Len(t, l.runs(), 2)
	require.Equal(t, int32(2), breaker.merges.Load())
	require.Equal(t, waited, len(l.errors()) == 0, "nobody else is told")
	require.NoError(t, c.Do(context.Background(), []int{4}), "works on")
}

// TestBrokenMergeHastensNothing has what came later wait for quiet, which a retry
// would not.
func TestBrokenMergeHastensNothing(t *testing.T) {
	for _, broken := range breakages() {
		t.Run(broken.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, b := newLedger(takes(50*ms, errFailed)), &breaker{how: broken.how}
				c := throttle.Must(throttle.NewCoalescer(retrying(throttle.Debounce(time.Second, 0), 100*ms), b.merge, l.take,
					throttle.WithErrorHandler(l.hear)))
				defer finish(c)
				require.NoError(t, c.CallWithin([]int{1}, 0))
				l.until(10)
				require.NoError(t, c.Call([]int{2}))
				b.armed.Store(true)
				l.until(5000)
				require.Equal(t, []string{"0 [1]", "1010 [2]"}, l.taken())
				require.Equal(t, []string{"[1]"}, lostBy(l.errors()...))
			})
		})
	}
}

// TestBrokenMergeTellsOfBothFailures has the run's own panic beside merge's.
func TestBrokenMergeTellsOfBothFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(func(context.Context) error {
			time.Sleep(10 * ms)
			panic(errFailed)
		})
		b := &breaker{how: func() { panic(errBroken) }}
		c := throttle.Must(throttle.NewCoalescer(backoff(100*ms, 0), b.merge, l.take, throttle.WithName("batch"), throttle.WithErrorHandler(l.hear)))
		defer finish(c)
		require.NoError(t, c.Call([]int{1}))
		l.until(5)
		require.NoError(t, c.Call([]int{2}))
		b.armed.Store(true)
		l.until(50)
		heard := l.errors()
		require.Len(t, heard, 1)
		require.ErrorIs(t, heard[0], errFailed)
		require.ErrorIs(t, heard[0], errBroken)
		require.ErrorIs(t, c.Stats().LastError, errFailed)
		require.NotErrorIs(t, c.Stats().LastError, errBroken, "the run's error is the callback's")
	})
}

// TestOlderValueIsAsABrokenMergeHasLeftIt tells what the documentation says.
func TestOlderValueIsAsABrokenMergeHasLeftIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken []map[string]int
		c := throttle.Must(throttle.NewCoalescer(throttle.Debounce(10*ms, 0), func(older, newer map[string]int) map[string]int {
			older["merges"]++
			panic(newer)
		}, func(_ context.Context, value map[string]int) error {
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
