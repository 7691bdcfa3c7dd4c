package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// A groupRecorder is a Group's callback that follows a script per key, one entry per
// run, and then succeeds at once. It records what happens.
type groupRecorder struct {
	begin  time.Time
	active atomic.Int32
	most   atomic.Int32 // of runs active at once, of all keys

	mu      sync.Mutex // guards the fields below
	scripts map[string][]scripted
	starts  map[string][]int // by key, in milliseconds since begin
	order   []string         // of starts: the keys
	inside  map[string]int   // runs active, by key
	overlap bool             // runs of one key have been active at once
	heard   []error          // what the error handler got
}

func newGroupRecorder() *groupRecorder {
	return &groupRecorder{
		begin: time.Now(), scripts: make(map[string][]scripted), starts: make(map[string][]int), inside: make(map[string]int),
	}
}

// script sets what the runs of key do.
func (r *groupRecorder) script(key string, runs ...scripted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scripts[key] = runs
}

// group returns a Group of r's. The test's end closes it, and waits for its runs.
func (r *groupRecorder) group(t *testing.T, p throttle.Policy, opts ...throttle.Option) *throttle.Group[string] {
	t.Helper()
	g, err := throttle.NewGroup(p, r.run, append([]throttle.Option{throttle.WithErrorHandler(r.hear)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = g.Close()
		_ = g.Shutdown(context.Background())
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.overlap {
			t.Error("runs of one key overlap")
		}
	})
	return g
}

func (r *groupRecorder) run(ctx context.Context, key string) error {
	for active := r.active.Add(1); ; {
		if most := r.most.Load(); active <= most || r.most.CompareAndSwap(most, active) {
			break
		}
	}
	defer r.active.Add(-1)
	script := r.enter(key)
	defer r.leave(key)
	return script(ctx)
}

// enter returns what the run has to do.
func (r *groupRecorder) enter(key string) scripted {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts[key] = append(r.starts[key], r.elapsed())
	r.order = append(r.order, key)
	r.inside[key]++
	r.overlap = r.overlap || r.inside[key] > 1
	if n := len(r.starts[key]) - 1; n < len(r.scripts[key]) {
		return r.scripts[key][n]
	}
	return takes(0, nil)
}

func (r *groupRecorder) leave(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside[key]--
}

// hear is the error handler.
func (r *groupRecorder) hear(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, errors.Unwrap(err)) // of the *KeyError
}

// elapsed returns the milliseconds since begin.
func (r *groupRecorder) elapsed() int { return int(time.Since(r.begin) / ms) }

// until lets time pass until at, in milliseconds since begin.
func (r *groupRecorder) until(at int) {
	time.Sleep(time.Until(r.begin.Add(time.Duration(at) * ms)))
	synctest.Wait()
}

// started returns when runs of the keys have started.
func (r *groupRecorder) started() map[string][]int {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	starts := maps.Clone(r.starts)
	for key := range starts {
		starts[key] = slices.Clone(starts[key])
	}
	return starts
}

// ordered returns the keys in the order in which their runs have started.
func (r *groupRecorder) ordered() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.order)
}

// errors returns what the error handler got.
func (r *groupRecorder) errors() []error {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heard)
}

// TestGroup_keys lets all kinds of things happen to one key, while another is
// called at 0 and 10 as if it were alone.
func TestGroup_keys(t *testing.T) {
	every := throttle.Every(100 * ms)
	retry := retrying(every, 300*ms)
	nothing := func(*throttle.Group[string]) {}
	tests := []struct {
		name   string
		policy throttle.Policy
		script []scripted                    // of the one key's runs
		at20   func(*throttle.Group[string]) // what happens to it then
		one    []int                         // its starts
	}{
		{name: "window", policy: every, at20: nothing, one: []int{0, 100}},
		{name: "long run", policy: every, script: []scripted{takes(time.Second, nil)}, at20: nothing, one: []int{0, 1000}},
		{name: "failure", policy: every, script: fails(2), at20: nothing, one: []int{0, 100}},
		{name: "failure with a retry", policy: retry, script: fails(1), at20: nothing, one: []int{0, 300}},
		{name: "panic", policy: retry, script: []scripted{scriptedPanic("scripted")}, at20: nothing, one: []int{0, 300}},
		{name: "Goexit", policy: retry, script: []scripted{goexit}, at20: nothing, one: []int{0, 300}},
		{name: "RetryIn", policy: every, script: []scripted{retryIn(500 * ms)}, at20: nothing, one: []int{0, 500}},
		{name: "Cancel", policy: every, at20: cancelKey, one: []int{0}},
		{name: "Flush", policy: every, at20: flushKey, one: []int{0, 20}},
		{name: "CallWithin", policy: every, at20: func(g *throttle.Group[string]) { _ = g.CallWithin("key", 0) }, one: []int{0, 100}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newGroupRecorder()
				r.script("key", test.script...)
				g := r.group(t, test.policy)
				for _, at := range []int{0, 10} {
					r.until(at)
					require.NoError(t, g.Call("key"))
					require.NoError(t, g.Call("other"))
				}
				r.until(20)
				test.at20(g)
				r.until(10_000)
				require.Equal(t, map[string][]int{"key": test.one, "other": {0, 100}}, r.started())
				require.Zero(t, g.Len())
			})
		})
	}
}

func TestGroup_concurrentRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 300
		r := newGroupRecorder()
		g := r.group(t, throttle.Every(50*ms))
		for key := range keys {
			r.script(strconv.Itoa(key), takes(100*ms, nil), takes(100*ms, nil))
		}
		for key := range keys {
			require.NoError(t, g.Call(strconv.Itoa(key)))
		}
		synctest.Wait()
		require.Equal(t, int32(keys), r.active.Load())
		require.Equal(t, keys, g.Len())
		for key := range keys {
			require.NoError(t, g.Call(strconv.Itoa(key)))
		}
		r.until(1000)
		for key, starts := range r.started() {
			require.Equal(t, []int{0, 100}, starts, "of %s", key)
		}
		require.Zero(t, g.Len())
	})
}

func TestGroup_methods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		r := newGroupRecorder()
		r.script("done", takes(50*ms, errFailed))
		r.script("flushed", takes(50*ms, errFailed))
		g := r.group(t, throttle.Debounce(time.Second, 0))
		do := await(func() error { return g.Do(ctx, "done") })
		canceled := await(func() error { return g.Do(ctx, "canceled") })
		for _, key := range []string{"flushed", "canceled"} {
			require.NoError(t, g.Call(key))
		}
		require.NoError(t, g.CallWithin("urgent", 100*ms))
		require.NoError(t, g.CallWithin("overdue", -1))
		r.until(10)
		flush := await(func() error { return g.Flush(ctx, "flushed") })
		require.True(t, g.Cancel("canceled"))
		require.False(t, g.Cancel("canceled"))
		require.Equal(t, throttle.ErrCanceled, canceled.result(t))
		r.until(60)
		require.Equal(t, errFailed, flush.result(t))
		r.until(1049)
		require.False(t, do.returned())
		r.until(1050)
		require.Equal(t, errFailed, do.result(t))
		require.Equal(t, map[string][]int{"done": {1000}, "flushed": {10}, "urgent": {100}, "overdue": {0}}, r.started())
		require.Empty(t, r.errors(), "the waiters got them")
	})
}

func TestGroup_keyNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, end := context.WithCancel(context.Background())
		end()
		g := newGroupRecorder().group(t, throttle.Every(time.Second))
		require.NoError(t, g.Flush(context.Background(), "none"))
		require.Equal(t, context.Canceled, g.Flush(ended, "none"))
		require.False(t, g.Cancel("none"))
		require.Zero(t, g.Len())
		require.Equal(t, throttle.Stats{}, g.Stats())
	})
}

func TestGroup_Do_contextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		r.script("key", takes(0, nil), takes(0, errFailed))
		g := r.group(t, throttle.Every(100*ms))
		require.NoError(t, g.Do(context.Background(), "key"))
		ctx, end := context.WithTimeout(context.Background(), 50*ms)
		defer end()
		require.Equal(t, context.DeadlineExceeded, g.Do(ctx, "key"))
		r.until(100)
		require.Equal(t, []int{0, 100}, r.started()["key"])
		require.Equal(t, []error{errFailed}, r.errors())
	})
}

// TestGroup_refusals checks which error a call gets if several apply, and that a
// refused call leaves no key behind.
func TestGroup_refusals(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	for _, test := range []struct {
		name                         string
		close                        bool
		ctx                          context.Context
		held                         error // what Do of a key that is held returns
		call, do, flush, flushOfHeld error // of one that is not, and would be too many
	}{
		{name: "too many keys", ctx: context.Background(), call: throttle.ErrTooManyKeys, do: throttle.ErrTooManyKeys},
		{name: "context ended", ctx: ended, call: throttle.ErrTooManyKeys, do: context.Canceled, held: context.Canceled,
			flush: context.Canceled, flushOfHeld: context.Canceled},
		{name: "closed", ctx: context.Background(), close: true, call: throttle.ErrClosed, do: throttle.ErrClosed, held: throttle.ErrClosed,
			flush: throttle.ErrClosed, flushOfHeld: throttle.ErrClosed},
		{name: "closed and context ended", ctx: ended, close: true, call: throttle.ErrClosed, do: throttle.ErrClosed, held: throttle.ErrClosed,
			flush: throttle.ErrClosed, flushOfHeld: throttle.ErrClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newGroupRecorder()
				r.script("held", takes(100*ms, nil))
				g := r.group(t, throttle.Policy{}, throttle.WithMaxKeys(1))
				require.NoError(t, g.Call("held"))
				synctest.Wait()
				if test.close {
					require.NoError(t, g.Close())
				}
				require.Equal(t, test.call, g.Call("new"))
				require.Equal(t, test.call, g.CallWithin("new", 0))
				require.Equal(t, test.do, g.Do(test.ctx, "new"))
				require.Equal(t, test.flush, g.Flush(test.ctx, "new"))
				require.Equal(t, []string{"held"}, slices.Collect(g.Keys()))
				require.Equal(t, test.flushOfHeld, g.Flush(test.ctx, "held"))
				require.Equal(t, test.held, g.Do(test.ctx, "held"))
				r.until(1000)
				require.Zero(t, g.Len())
				require.NotContains(t, r.started(), "new")
			})
		})
	}
}

func TestGroup_Do_endedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, end := context.WithCancel(context.Background())
		end()
		r := newGroupRecorder()
		g := r.group(t, throttle.Debounce(time.Second, 0))
		require.Equal(t, context.Canceled, g.Do(ended, "key"))
		require.Zero(t, g.Len())
		r.until(10_000)
		require.Empty(t, r.started())
	})
}

func TestGroup_maxKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		g := r.group(t, throttle.Every(100*ms), throttle.WithMaxKeys(5), throttle.WithMaxKeys(2))
		require.NoError(t, g.Call("a"))
		r.until(50)
		require.NoError(t, g.Call("b"))
		require.Equal(t, throttle.ErrTooManyKeys, g.Call("c"))
		require.NoError(t, g.Call("a"), "held already")
		require.NoError(t, g.CallWithin("b", 0))
		require.NoError(t, g.Flush(context.Background(), "c"))
		r.until(199)
		require.Equal(t, throttle.ErrTooManyKeys, g.Do(context.Background(), "c"))
		r.until(200) // a, which ran at 0 and 100, is forgotten
		require.Equal(t, []string{"b"}, slices.Collect(g.Keys()))
		require.NoError(t, g.Call("c"))
		require.Equal(t, throttle.ErrTooManyKeys, g.CallWithin("a", 0))
		r.until(249)
		require.Equal(t, throttle.ErrTooManyKeys, g.Call("d"))
		r.until(250) // b, which ran at 50 and 150
		require.NoError(t, g.Call("d"))
		r.until(1000)
		require.Equal(t, map[string][]int{"a": {0, 100}, "b": {50, 150}, "c": {200}, "d": {250}}, r.started())
		require.Zero(t, g.Len())
	})
}

func TestGroup_errorTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *throttle.Group[string]
		r := newGroupRecorder()
		r.script("reentrant", func(own context.Context) error { return g.Do(own, "reentrant") })
		r.script("panics", scriptedPanic("scripted"))
		r.script("goexit", goexit)
		g = r.group(t, throttle.Policy{Interval: time.Second, Edges: throttle.Leading}, throttle.WithName("reload"), throttle.WithMaxKeys(4))
		do := func(key string) error { return g.Do(context.Background(), key) }
		require.EqualError(t, do("panics"), "throttle: reload: callback panicked: scripted")
		require.EqualError(t, do("goexit"), "throttle: reload: callback called runtime.Goexit")
		require.EqualError(t, do("reentrant"), "throttle: reload: callback would wait for itself")
		require.EqualError(t, do("panics"), "throttle: reload: call dropped inside the window, retry after 1s")
		require.NoError(t, do("fourth"))
		require.EqualError(t, do("fifth"), "throttle: reload: too many keys")
		require.EqualError(t, g.SetPolicy(throttle.Policy{Quiet: -1}), "throttle: reload: Quiet -1ns: must not be negative")
		require.NoError(t, g.Close())
		require.EqualError(t, g.Call("fifth"), "throttle: reload: closed")
		require.EqualError(t, g.SetPolicy(throttle.Policy{}), "throttle: reload: closed")
	})
}

func TestGroup_Keys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		g := r.group(t, throttle.Every(100*ms))
		var want []string
		for key := range 500 {
			want = append(want, fmt.Sprintf("%03d", key))
			require.NoError(t, g.Call(want[key]))
		}
		synctest.Wait()
		require.Equal(t, want, slices.Sorted(g.Keys()))
		require.Equal(t, want, slices.Sorted(g.Keys()), "once more")

		seen := 0
		for range g.Keys() {
			seen++
			if seen == 7 {
				break
			}
		}
		require.Equal(t, 7, seen)

		r.until(100)
		require.Zero(t, g.Len())
		for range g.Keys() {
			t.Error("a key that is not held")
		}
	})
}

// TestGroup_Keys_loop uses the group in the loop's body, and ends it there. Keys
// may then yield anything, but the loop must end.
func TestGroup_Keys_loop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		r := newGroupRecorder()
		g := r.group(t, throttle.Debounce(100*ms, 0))
		for key := range 100 {
			require.NoError(t, g.Call(strconv.Itoa(key)))
		}
		looped := make(map[string]bool)
		for key := range g.Keys() {
			require.False(t, looped[key], "%s comes twice", key)
			looped[key] = true
			require.NoError(t, g.Call(key))
			if len(key) == 1 {
				require.NoError(t, g.Flush(ctx, key))
			} else {
				require.True(t, g.Cancel(key))
			}
			require.NoError(t, g.Call("new"))
			require.NoError(t, g.SetPolicy(g.Policy()))
			require.Positive(t, g.Len())
			for range g.Keys() {
				break
			}
		}
		delete(looped, "new")
		require.Len(t, looped, 100)
		for range g.Keys() {
			require.NoError(t, g.Close())
		}
		require.Len(t, r.started(), 10)
	})
}

func TestGroup_SetPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		g := r.group(t, throttle.Every(time.Second))
		for key := range 100 {
			require.NoError(t, g.Call(fmt.Sprint("pending ", key)))
			require.NoError(t, g.Call(fmt.Sprint("idle ", key)))
		}
		r.until(10)
		for key := range 100 {
			require.NoError(t, g.Call(fmt.Sprint("pending ", key)))
		}
		r.until(50)
		next := throttle.Every(200 * ms)
		require.NoError(t, g.SetPolicy(next))
		require.Equal(t, next, g.Policy())
		require.NoError(t, g.Call("new"))
		require.NoError(t, g.Call("idle 7"))
		r.until(199)
		require.Equal(t, 201, g.Len())
		r.until(200)
		require.Equal(t, 102, g.Len(), "all that is pending runs, and 99 are forgotten")
		require.NoError(t, g.Call("new"))
		r.until(10_000)
		starts := r.started()
		for key := range 100 {
			require.Equal(t, []int{0, 200}, starts[fmt.Sprint("pending ", key)])
		}
		require.Equal(t, []int{0, 200}, starts["idle 7"])
		require.Equal(t, []int{0}, starts["idle 8"])
		require.Equal(t, []int{50, 250}, starts["new"])
	})
}

func TestGroup_SetPolicy_refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		g := r.group(t, throttle.Every(100*ms))
		require.NoError(t, g.Call("key"))
		require.NoError(t, g.Call("key"))
		err := g.SetPolicy(throttle.Policy{Interval: -1, Burst: -1})
		require.Equal(t, []string{"Burst", "Interval"}, refusals(t, err))
		require.Equal(t, throttle.Every(100*ms), g.Policy())
		require.NoError(t, g.Close())
		require.Equal(t, throttle.ErrClosed, g.SetPolicy(throttle.Policy{}))
		require.Equal(t, throttle.Every(100*ms), g.Policy())
		require.Error(t, g.SetPolicy(throttle.Policy{Quiet: -1}))
	})
}

// TestGroup_SetPolicy_periodic also checks that a key is held for ever with them,
// and only then.
func TestGroup_SetPolicy_periodic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		g := r.group(t, throttle.Every(100*ms))
		require.NoError(t, g.Call("held"))
		require.NoError(t, g.Call("forgotten"))
		r.until(50)
		require.NoError(t, g.Call("held"))
		r.until(150)
		require.NoError(t, g.SetPolicy(throttle.Policy{Interval: 100 * ms, MaxInterval: 300 * ms}))
		r.until(999)
		require.Equal(t, map[string][]int{"held": {0, 100, 400, 700}, "forgotten": {0}}, r.started())
		require.Equal(t, []string{"held"}, slices.Collect(g.Keys()))
		require.NoError(t, g.SetPolicy(throttle.Every(100*ms)))
		synctest.Wait()
		require.Zero(t, g.Len())
	})
}

// TestGroup_New checks that NewGroup reports all problems at once.
func TestGroup_New(t *testing.T) {
	var noContext context.Context
	g, err := throttle.NewGroup[int](throttle.Policy{Interval: -1, Quiet: -1}, nil,
		nil, throttle.WithName("reload"), throttle.WithContext(noContext), throttle.WithErrorHandler(nil), throttle.WithObserver(nil), throttle.WithTracer(nil),
		throttle.WithMaxConcurrent(0), throttle.WithMaxKeys(-1))
	require.Nil(t, g)
	require.Equal(t, []string{
		"Interval", "Option", "Quiet", "WithContext", "WithErrorHandler", "WithMaxConcurrent", "WithMaxKeys", "WithObserver", "WithTracer", "callback",
	}, refusals(t, err))
	require.Contains(t, err.Error(), "throttle: reload: WithMaxConcurrent 0: must be at least 1\n")
	require.Contains(t, err.Error(), "throttle: reload: WithMaxKeys -1: must be at least 1\n")
	require.Contains(t, err.Error(), "throttle: reload: callback <nil>: must not be nil")

	for _, wrong := range []int{0, -1, math.MinInt} {
		_, err := throttle.NewGroup(throttle.Policy{}, func(context.Context, int) error { return nil }, throttle.WithMaxKeys(wrong))
		require.Equal(t, []*throttle.PolicyError{{Field: "WithMaxKeys", Value: wrong, Reason: "must be at least 1"}}, policyErrors(t, err))
		_, err = throttle.NewGroup(throttle.Policy{}, func(context.Context, int) error { return nil }, throttle.WithMaxConcurrent(wrong))
		require.Equal(t, []*throttle.PolicyError{{Field: "WithMaxConcurrent", Value: wrong, Reason: "must be at least 1"}}, policyErrors(t, err))
	}
}

// TestGroup_options checks that the other forms refuse the options of a Group.
func TestGroup_options(t *testing.T) {
	for field, option := range map[string]throttle.Option{"WithMaxKeys": throttle.WithMaxKeys(3), "WithMaxConcurrent": throttle.WithMaxConcurrent(3)} {
		want := []*throttle.PolicyError{{Field: field, Value: 3, Reason: "applies to a Group or a KeyedCoalescer only"}}
		throttler, err := throttle.New(throttle.Policy{}, func() {}, option)
		require.Nil(t, throttler)
		require.Equal(t, want, policyErrors(t, err))
		coalescer, err := throttle.NewCoalescer(throttle.Policy{}, throttle.Latest[int](), func(context.Context, int) error { return nil }, option)
		require.Nil(t, coalescer)
		require.Equal(t, want, policyErrors(t, err))
		for range 2 { // an option may be used twice
			_, err := throttle.NewGroup(throttle.Policy{}, func(context.Context, int) error { return nil }, option, option)
			require.NoError(t, err)
		}
	}
}

// TestGroup_options_shared uses one option for two groups, each of which must have
// turns of its own.
func TestGroup_options_shared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := throttle.WithMaxConcurrent(1)
		r := newGroupRecorder()
		r.script("a", takes(100*ms, nil))
		r.script("b", takes(100*ms, nil))
		require.NoError(t, r.group(t, throttle.Policy{}, one).Call("a"))
		require.NoError(t, r.group(t, throttle.Policy{}, one).Call("b"))
		r.until(1000)
		require.Equal(t, map[string][]int{"a": {0}, "b": {0}}, r.started())
	})
}

// TestGroup_uncomparableKey uses keys of an interface type: the compiler cannot
// check that these are comparable. The panic must leave no lock held.
func TestGroup_uncomparableKey(t *testing.T) {
	ctx := context.Background()
	var runs atomic.Int32
	g := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(context.Context, any) error { runs.Add(1); return nil }))
	unfit := any([]int{1})
	for name, method := range map[string]func(){
		"Call": func() { _ = g.Call(unfit) }, "CallWithin": func() { _ = g.CallWithin(unfit, 0) }, "Do": func() { _ = g.Do(ctx, unfit) },
		"Flush": func() { _ = g.Flush(ctx, unfit) }, "Cancel": func() { g.Cancel(unfit) },
	} {
		t.Run(name, func(t *testing.T) { require.Panics(t, method) })
	}
	require.Zero(t, g.Len())
	for key := range 1000 { // in every shard
		require.NoError(t, g.Do(ctx, key))
		require.NoError(t, g.Do(ctx, strconv.Itoa(key)), "the same text is another key")
	}
	require.NoError(t, g.Shutdown(ctx))
	require.Equal(t, int32(2000), runs.Load())
}

// TestGroup_equalHashes has so many keys pending that a hash of 32 bits cannot tell them
// all apart: some five pairs of them are equal, or one every other time under -short.
// Nothing is due, so the keys cost little.
func TestGroup_equalHashes(t *testing.T) {
	keys := 200_000
	if testing.Short() {
		keys = 70_000
	}
	g := throttle.Must(throttle.NewGroup(throttle.Policy{Interval: longest, Edges: throttle.Trailing}, nothing))
	refused := false
	for key := range keys {
		refused = g.Call(key) != nil || refused
	}
	require.False(t, refused)
	require.Equal(t, keys, g.Len())
	held := slices.Sorted(g.Keys())
	require.Len(t, slices.Compact(held), keys)
	require.NoError(t, g.Close())
	require.Zero(t, g.Len())
}

// TestGroup_nan checks what the documentation of NewGroup says about NaN.
func TestGroup_nan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		g := throttle.Must(throttle.NewGroup(throttle.Every(100*ms), func(context.Context, float64) error { runs.Add(1); return nil }))
		for range 100 {
			require.NoError(t, g.Call(math.NaN()))
		}
		require.NoError(t, g.Call(0))
		require.NoError(t, g.Call(math.Copysign(0, -1)), "zero has two signs, and is one key")
		synctest.Wait()
		require.Equal(t, 101, g.Len())
		require.Len(t, slices.Collect(g.Keys()), 101)
		require.Equal(t, int32(101), runs.Load())
		require.False(t, g.Cancel(math.NaN()))
		time.Sleep(100 * ms)
		synctest.Wait()
		require.Equal(t, 1, g.Len(), "0 was called twice")
		time.Sleep(100 * ms)
		synctest.Wait()
		require.Zero(t, g.Len())
	})
}

// TestGroup_reentrant checks that a run may wait for another key, but gets
// ErrReentrant for its own.
func TestGroup_reentrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *throttle.Group[string]
		errs := make(map[string]error)
		r := newGroupRecorder()
		r.script("inner", takes(50*ms, errFailed))
		r.script("outer", func(own context.Context) error {
			ctx, end := context.WithTimeout(own, time.Minute)
			defer end()
			errs["Do"], errs["Flush"], errs["Shutdown"] = g.Do(ctx, "outer"), g.Flush(ctx, "outer"), g.Shutdown(ctx)
			errs["Do of another"], errs["Flush of another"] = g.Do(ctx, "inner"), g.Flush(ctx, "inner")
			return nil
		})
		g = r.group(t, throttle.Every(time.Second))
		require.NoError(t, g.Do(context.Background(), "outer"))
		require.Equal(t, map[string]error{
			"Do": throttle.ErrReentrant, "Flush": throttle.ErrReentrant, "Shutdown": throttle.ErrReentrant,
			"Do of another": errFailed, "Flush of another": nil,
		}, errs)
		r.until(10_000)
		require.Equal(t, map[string][]int{"outer": {0}, "inner": {0}}, r.started(), "what was refused had no effect")
		require.False(t, g.Stats().Closed)
	})
}

// TestGroup_reentrant_afterRun checks that only the active run's context causes
// ErrReentrant, whether or not the key was forgotten since.
func TestGroup_reentrant_afterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		contexts := make(chan context.Context, 3)
		r := newGroupRecorder()
		remember := func(own context.Context) error { contexts <- context.WithoutCancel(own); return nil }
		r.script("key", remember)
		g := r.group(t, throttle.Policy{})
		require.NoError(t, g.Do(context.Background(), "key"))
		over := <-contexts
		synctest.Wait()
		require.Zero(t, g.Len())
		require.NoError(t, g.Do(over, "key"))
		require.NoError(t, g.Flush(over, "key"))
		require.NoError(t, g.Shutdown(over))
		require.Equal(t, []int{0, 0}, r.started()["key"])
	})
}

func TestGroup_runContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		contexts := make(chan context.Context, 2)
		g := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(ctx context.Context, _ int) error {
			contexts <- ctx
			time.Sleep(100 * ms)
			return nil
		}, throttle.WithContext(context.WithValue(context.Background(), key{}, "value"))))
		require.NoError(t, g.Call(1))
		time.Sleep(50 * ms)
		require.NoError(t, g.Call(2))
		one, two := <-contexts, <-contexts
		require.Equal(t, "value", one.Value(key{}))
		time.Sleep(60 * ms)
		synctest.Wait()
		require.Equal(t, context.Canceled, context.Cause(one))
		require.NoError(t, two.Err(), "the end of one run is not another's")
		time.Sleep(time.Second)
		require.NoError(t, g.Close())
	})
}
