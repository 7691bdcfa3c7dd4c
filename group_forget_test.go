package throttle_test

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// A keyMoment is what happens to a group's only key at one time.
type keyMoment struct {
	at int // milliseconds
	do func(*throttle.Group[string])
}

func keyAt(at int, do func(*throttle.Group[string])) []keyMoment { return []keyMoment{{at, do}} }

func keyCalls(at ...int) (moments []keyMoment) {
	for _, at := range at {
		moments = append(moments, keyMoment{at, func(g *throttle.Group[string]) { _ = g.Call("key") }})
	}
	return moments
}

func cancelKey(g *throttle.Group[string]) { g.Cancel("key") }
func flushKey(g *throttle.Group[string]) {
	await(func() error { return g.Flush(context.Background(), "key") })
}

func setGroupPolicy(p throttle.Policy) func(*throttle.Group[string]) {
	return func(g *throttle.Group[string]) { _ = g.SetPolicy(p) }
}

// A lifespan is what happens to a key, which is held from its first moment on, and when
// it is forgotten.
type lifespan struct {
	name    string
	policy  throttle.Policy
	script  []scripted
	moments []keyMoment
	ends    int // milliseconds; notAtAll
}

const notAtAll = -1

// TestGroup_forget checks that a key is forgotten at the first instant at which its
// past decides nothing, to the nanosecond.
func TestGroup_forget(t *testing.T) {
	for _, life := range slices.Concat(windowLifespans, quietLifespans, holdLifespans, changedLifespans, loadLifespans) {
		t.Run(life.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newGroupRecorder()
				r.script("key", life.script...)
				g := r.group(t, life.policy)
				for _, m := range slices.SortedStableFunc(slices.Values(life.moments), func(a, b keyMoment) int { return cmp.Compare(a.at, b.at) }) {
					r.until(m.at)
					m.do(g)
					synctest.Wait()
					require.Equal(t, life.ends != m.at, g.Len() == 1, "at %d", m.at)
				}
				if life.ends == notAtAll {
					r.until(100_000)
					require.Equal(t, 1, g.Len())
					return
				}
				if left := life.ends - r.elapsed(); left > 0 {
					time.Sleep(time.Duration(left)*ms - time.Nanosecond)
					synctest.Wait()
					require.Equal(t, 1, g.Len(), "one nanosecond before")
					time.Sleep(time.Nanosecond)
					synctest.Wait()
				}
				require.Zero(t, g.Len())
				require.Empty(t, slices.Collect(g.Keys()))
			})
		})
	}
}

// TestGroup_forget_atOnce checks that no timer is needed if that instant is now.
func TestGroup_forget_atOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroupRecorder().group(t, throttle.Policy{Interval: time.Second, Edges: throttle.Trailing})
		require.NoError(t, g.Call("key"))
		require.Equal(t, 1, g.Len())
		require.True(t, g.Cancel("key"))
		require.Zero(t, g.Len())
	})
}

var windowLifespans = []lifespan{
	{name: "without limits, at once", moments: keyCalls(0), ends: 0},
	{name: "without limits, at the run's end", script: []scripted{takes(20*ms, nil)}, moments: keyCalls(0), ends: 20},
	{name: "window", policy: throttle.Every(100 * ms), moments: keyCalls(0), ends: 100},
	{name: "window shorter than the run", policy: throttle.Every(100 * ms), script: []scripted{takes(150*ms, nil)}, moments: keyCalls(0), ends: 150},
	{name: "window after a deferred run", policy: throttle.Every(100 * ms), moments: keyCalls(0, 10, 20), ends: 200},
	{name: "window of a call that was canceled", policy: throttle.Every(100 * ms), moments: append(keyCalls(0, 10), keyAt(20, cancelKey)...), ends: 100},
	{name: "window begun anew by a flush", policy: throttle.Every(100 * ms), moments: append(keyCalls(0, 10), keyAt(30, flushKey)...), ends: 130},
	{name: "window that never ends", policy: throttle.Every(longest), moments: keyCalls(0), ends: notAtAll},
	{name: "window from the run's end", policy: throttle.Policy{Interval: 100 * ms, From: throttle.FromEnd}, script: []scripted{takes(30*ms, nil)},
		moments: keyCalls(0), ends: 130},
	{name: "trailing edge alone", policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing}, moments: keyCalls(0), ends: 200},
	{name: "trailing edge alone that never comes", policy: throttle.Policy{Interval: longest, Edges: throttle.Trailing}, moments: keyCalls(1), ends: notAtAll},
	{name: "trailing edge alone, canceled", policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Trailing},
		moments: append(keyCalls(0), keyAt(10, cancelKey)...), ends: 10},
	{name: "leading edge alone does not remember what it dropped", policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading},
		moments: keyCalls(0, 50), ends: 100},
	{name: "bucket, one token taken", policy: throttle.Policy{Interval: 100 * ms, Burst: 3}, moments: keyCalls(0), ends: 100},
	{name: "bucket, all tokens taken", policy: throttle.Policy{Interval: 100 * ms, Burst: 3}, moments: keyCalls(0, 10, 20), ends: 300},
	{name: "bucket, some tokens back", policy: throttle.Policy{Interval: 100 * ms, Burst: 3}, moments: keyCalls(0, 10, 20, 150), ends: 400},
	{name: "bucket, a run deferred", policy: throttle.Policy{Interval: 100 * ms, Burst: 2}, moments: keyCalls(0, 10, 20), ends: 300},
	{name: "bucket, flushed when empty", policy: throttle.Policy{Interval: 100 * ms, Burst: 2}, moments: append(keyCalls(0, 10, 20), keyAt(30, flushKey)...), ends: 230},
}

var quietLifespans = []lifespan{
	{name: "quiet, over with the run", policy: throttle.Debounce(100*ms, 0), moments: keyCalls(0, 50), ends: 150},
	{name: "quiet, over before the run's end", policy: throttle.Debounce(100*ms, 0), script: []scripted{takes(20*ms, nil)}, moments: keyCalls(0), ends: 120},
	{name: "quiet, called during the run", policy: throttle.Debounce(100*ms, 0), script: []scripted{takes(50*ms, nil)}, moments: keyCalls(0, 120), ends: 220},
	{name: "quiet, flushed", policy: throttle.Debounce(100*ms, 0), moments: append(keyCalls(0), keyAt(10, flushKey)...), ends: 100},
	{name: "quiet, canceled", policy: throttle.Debounce(100*ms, 0), moments: append(keyCalls(0), keyAt(10, cancelKey)...), ends: 100},
	{name: "quiet, bounded", policy: throttle.Debounce(100*ms, 150*ms), moments: keyCalls(0, 90), ends: 190},
	{name: "quiet, cut short by a full batch", policy: throttle.Policy{Quiet: 100 * ms, MaxCalls: 2}, moments: keyCalls(0, 10), ends: 110},
	{name: "quiet after the leading edge", policy: throttle.Policy{Quiet: 100 * ms, Edges: throttle.Leading | throttle.Trailing}, moments: keyCalls(0), ends: 100},
	{name: "quiet after a dropped call", policy: throttle.Policy{Quiet: 100 * ms, Edges: throttle.Leading}, moments: keyCalls(0, 50), ends: 150},
	{name: "quiet shorter than the window", policy: throttle.Policy{Quiet: 50 * ms, Interval: 100 * ms}, moments: keyCalls(0), ends: 150},
	{name: "quiet, urgent", policy: throttle.Debounce(100*ms, 0),
		moments: keyAt(0, func(g *throttle.Group[string]) { _ = g.CallWithin("key", 30*ms) }), ends: 100},
}

var holdLifespans = []lifespan{
	{name: "retry that succeeds", policy: backoff(100*ms, 0), script: fails(1), moments: keyCalls(0), ends: 100},
	{name: "retries, then given up", policy: giveUp, script: fails(3), moments: keyCalls(0), ends: 100 + 200 + 400},
	{name: "given up at once", policy: throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms, MaxAttempts: 1}}, script: fails(1), moments: keyCalls(0), ends: 100},
	{name: "given up at once, eager", policy: throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms, MaxAttempts: 1, Eager: true}}, script: fails(1),
		moments: keyCalls(0), ends: 0},
	{name: "given up at once, eager, inside the window", script: fails(1), moments: keyCalls(0), ends: 50,
		policy: throttle.Policy{Interval: 50 * ms, Retry: throttle.Backoff{Initial: 100 * ms, MaxAttempts: 1, Eager: true}}},
	{name: "retry that never comes, eager", policy: eager(throttle.Policy{}, longest), script: fails(1), moments: keyCalls(1), ends: notAtAll},
	{name: "retry canceled", policy: backoff(100*ms, 0), script: fails(1), moments: append(keyCalls(0), keyAt(10, cancelKey)...), ends: 100},
	{name: "retry canceled during the run", policy: backoff(100*ms, 0), script: []scripted{takes(50*ms, errFailed)},
		moments: append(keyCalls(0), keyAt(10, cancelKey)...), ends: 150},
	{name: "retry flushed", policy: backoff(100*ms, 0), script: fails(1), moments: append(keyCalls(0), keyAt(10, flushKey)...), ends: 10},
	{name: "failure without a backoff", script: fails(1), moments: keyCalls(0), ends: 0},
	{name: "panic without a backoff", script: []scripted{scriptedPanic("scripted")}, moments: keyCalls(0), ends: 0},
	{name: "RetryIn", script: []scripted{retryIn(100 * ms)}, moments: keyCalls(0), ends: 100},
	{name: "RetryIn canceled", script: []scripted{retryIn(100 * ms)}, moments: append(keyCalls(0), keyAt(10, cancelKey)...), ends: 100},
}

var changedLifespans = []lifespan{
	{name: "periodic runs", policy: throttle.Policy{MaxInterval: 100 * ms}, moments: keyCalls(0), ends: notAtAll},
	{name: "periodic runs given up", policy: throttle.Policy{MaxInterval: 100 * ms},
		moments: append(keyCalls(0), keyAt(250, setGroupPolicy(throttle.Policy{}))...), ends: 250},
	{name: "window shortened, over already", policy: throttle.Every(time.Second), moments: append(keyCalls(0), keyAt(50, setGroupPolicy(throttle.Every(20*ms)))...), ends: 50},
	{name: "window shortened", policy: throttle.Every(time.Second), moments: append(keyCalls(0), keyAt(50, setGroupPolicy(throttle.Every(60*ms)))...), ends: 60},
	{name: "window prolonged", policy: throttle.Every(100 * ms), moments: append(keyCalls(0), keyAt(50, setGroupPolicy(throttle.Every(time.Second)))...), ends: 1000},
	{name: "hold taken away", policy: throttle.Policy{Retry: throttle.Backoff{Initial: 100 * ms, MaxAttempts: 1}}, script: fails(1),
		moments: append(keyCalls(0), keyAt(50, setGroupPolicy(throttle.Policy{}))...), ends: 50},
}

// TestGroup_Remove removes the key "key" while it is idle, pending or running.
func TestGroup_Remove(t *testing.T) {
	removeKey := func(g *throttle.Group[string]) { g.Remove("key") }
	tests := []struct {
		name    string
		policy  throttle.Policy
		script  []scripted
		moments []keyMoment
		want    []int
		held    bool // in the end
	}{
		{name: "its window", policy: throttle.Every(100 * ms),
			moments: slices.Concat(keyCalls(0, 60), keyAt(50, removeKey)), want: []int{0, 60}},
		{name: "its bucket", policy: throttle.Policy{Interval: 200 * ms, Burst: 2},
			moments: slices.Concat(keyCalls(0, 10, 60, 70, 80), keyAt(50, removeKey)), want: []int{0, 10, 60, 70, 260}},
		{name: "what is pending", policy: throttle.Every(100 * ms),
			moments: slices.Concat(keyCalls(0, 20), keyAt(50, removeKey)), want: []int{0}},
		{name: "its backoff and its retry", policy: backoff(100*ms, 0), script: fails(1),
			moments: slices.Concat(keyCalls(0, 60), keyAt(50, removeKey)), want: []int{0, 60}},
		{name: "its Quiet", policy: throttle.Policy{Quiet: 100 * ms, Edges: throttle.Leading | throttle.Trailing},
			moments: slices.Concat(keyCalls(0, 60), keyAt(50, removeKey)), want: []int{0, 60}},
		{name: "its MaxInterval", policy: throttle.Policy{MaxInterval: 100 * ms},
			moments: slices.Concat(keyCalls(0), keyAt(150, removeKey)), want: []int{0, 100}},
		{name: "its retry, while it runs", policy: backoff(100*ms, 0), script: []scripted{takes(100*ms, errFailed)},
			moments: slices.Concat(keyCalls(0), keyAt(50, removeKey)), want: []int{0}},
		{name: "its MaxInterval, while it runs", policy: throttle.Policy{MaxInterval: 100 * ms}, script: []scripted{takes(200*ms, nil)},
			moments: slices.Concat(keyCalls(0), keyAt(50, removeKey)), want: []int{0}},
		{name: "a call while it runs starts afresh at the run's end", policy: throttle.Every(time.Second), script: []scripted{takes(100*ms, errFailed)},
			moments: slices.Concat(keyCalls(0, 60, 70), keyAt(50, removeKey)), want: []int{0, 100}},
		{name: "and has a new window", policy: throttle.Every(time.Second), script: []scripted{takes(100*ms, nil)},
			moments: slices.Concat(keyCalls(0, 60, 110), keyAt(50, removeKey)), want: []int{0, 100, 1100}},
		{name: "a call while it runs keeps its Quiet", policy: throttle.Debounce(100*ms, 0), script: []scripted{takes(200*ms, nil)},
			moments: slices.Concat(keyCalls(0, 250), keyAt(150, removeKey)), want: []int{100, 350}},
		{name: "a call while it runs keeps its deadline", policy: throttle.Debounce(100*ms, 0), script: []scripted{takes(200*ms, nil)},
			moments: slices.Concat(keyCalls(0), keyAt(150, removeKey), keyAt(250, func(g *throttle.Group[string]) { _ = g.CallWithin("key", 60*ms) })),
			want:    []int{100, 310}},
		{name: "a leading edge alone drops a call while it runs", policy: throttle.Policy{Interval: time.Second, Edges: throttle.Leading},
			script: []scripted{takes(100*ms, nil)}, moments: slices.Concat(keyCalls(0, 60, 110), keyAt(50, removeKey)), want: []int{0, 110}},
		{name: "MaxInterval counts from a call while it runs", policy: throttle.Policy{Quiet: time.Hour, MaxInterval: time.Second},
			script: []scripted{takes(100*ms, nil)}, moments: slices.Concat(keyCalls(0, 1060), keyAt(1050, removeKey)), want: []int{1000, 2060}, held: true},
		{name: "twice while it runs", policy: throttle.Every(time.Second), script: []scripted{takes(100*ms, nil)},
			moments: slices.Concat(keyCalls(0, 60), keyAt(50, removeKey), keyAt(70, removeKey)), want: []int{0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newGroupRecorder()
				r.script("key", test.script...)
				g := r.group(t, test.policy)
				for _, m := range slices.SortedStableFunc(slices.Values(test.moments), func(a, b keyMoment) int { return cmp.Compare(a.at, b.at) }) {
					r.until(m.at)
					m.do(g)
					synctest.Wait()
				}
				r.until(2500)
				require.Equal(t, test.want, r.started()["key"])
				require.Equal(t, test.held, g.Len() == 1)
			})
		})
	}
}

// TestGroup_Remove_held checks what callers see of a key that is removed while it runs.
func TestGroup_Remove_held(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		r.script("key", takes(100*ms, nil))
		g := r.group(t, throttle.Policy{Interval: time.Hour, Edges: throttle.Leading}, throttle.WithMaxKeys(1))
		require.False(t, g.Remove("key"), "it is not held")
		do := await(func() error { return g.Do(context.Background(), "key") })
		r.until(50)
		require.True(t, g.Remove("key"))
		require.True(t, g.Remove("key"), "it is held still")
		require.Equal(t, 1, g.Len())
		require.ErrorIs(t, g.Call("other"), throttle.ErrTooManyKeys)
		stats, held := g.KeyStats("key")
		require.True(t, held && stats.Running && !stats.Pending)
		require.True(t, stats.Next.IsZero())
		var dropped *throttle.ThrottledError
		require.ErrorAs(t, g.Do(context.Background(), "key"), &dropped)
		require.Zero(t, dropped.RetryAfter, "only the active run stands in its way")
		r.until(100)
		require.NoError(t, do.result(t))
		require.Zero(t, g.Len())
		require.False(t, g.Remove("key"))
		require.NoError(t, g.Call("other"))
	})
}

// TestGroup_Remove_waiters checks that waiters learn that their call was dropped, also
// one that waits for a turn.
func TestGroup_Remove_waiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		r.script("busy", takes(100*ms, nil))
		g := r.group(t, throttle.Policy{}, throttle.WithMaxConcurrent(1))
		require.NoError(t, g.Call("busy"))
		synctest.Wait()
		do := await(func() error { return g.Do(context.Background(), "key") })
		synctest.Wait()
		require.True(t, g.Remove("key"))
		require.ErrorIs(t, do.result(t), throttle.ErrCanceled)
		require.Equal(t, 1, g.Len())
		require.NoError(t, g.Call("key"))
		require.NoError(t, g.Shutdown(context.Background()))
		require.Equal(t, []string{"busy", "key"}, r.ordered())
	})
}
