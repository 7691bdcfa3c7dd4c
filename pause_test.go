package throttle_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func pause(throttler *throttle.Throttler)  { throttler.Pause() }
func resume(throttler *throttle.Throttler) { throttler.Resume() }

func awaitWait(throttler *throttle.Throttler) *waiter {
	return await(func() error { return throttler.Wait(context.Background()) })
}

func TestThrottler_Pause(t *testing.T) { playAll(t, pauseTimelines) }

// paused adds a pause from 50 to 500.
func paused(moments ...moment) []moment {
	return slices.Concat(moments, at(50, pause), at(500, resume))
}

var pauseTimelines = []timeline{
	{name: "a call waits", moments: paused(calls(100, 200)...), want: []int{500}},
	{name: "a deferred run waits", policy: throttle.Every(100 * ms), moments: paused(calls(0, 20)...), want: []int{0, 500}},
	{name: "the active run goes on", script: []scripted{takes(100*ms, nil)}, moments: paused(calls(40)...), want: []int{40}},
	{name: "a retry waits", policy: backoff(100*ms, 0), script: fails(1), moments: paused(calls(0)...), want: []int{0, 500}},
	{name: "RetryIn waits", script: []scripted{retryIn(100 * ms)}, moments: paused(calls(0)...), want: []int{0, 500}},
	{name: "MaxInterval waits, and counts on",
		policy: throttle.Policy{MaxInterval: 300 * ms}, moments: paused(), until: 1200, want: []int{500, 800, 1100}},
	{name: "a flush waits", policy: throttle.Debounce(time.Hour, 0), moments: paused(append(calls(0), at(100, flush)...)...), want: []int{500}},
	{name: "windows go on", policy: throttle.Every(600 * ms), moments: paused(calls(0, 100)...), want: []int{0, 600}},
	{name: "Quiet goes on", policy: throttle.Debounce(600*ms, 0), moments: paused(calls(0)...), want: []int{600}},
	{name: "what Quiet made due is due at Resume", policy: throttle.Debounce(100*ms, 0), moments: paused(calls(0)...), want: []int{500}},
	{name: "a leading edge alone keeps one call and drops those inside the window",
		policy: throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading}, moments: paused(calls(0, 60, 200, 300)...), want: []int{0, 500}},
	{name: "Cancel drops what waits", moments: paused(append(calls(100), at(200, cancel)...)...), want: []int{}},
}

// TestThrottler_Pause_waiters checks that a request whose context ends still stands at
// Resume.
func TestThrottler_Pause_waiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		throttler := r.throttler(t, throttle.Debounce(time.Hour, 0), throttle.WithPaused())
		throttler.Call()
		ctx, end := context.WithTimeout(context.Background(), 100*ms)
		defer end()
		require.ErrorIs(t, throttler.Flush(ctx), context.DeadlineExceeded)
		do := awaitDo(throttler)
		r.until(200)
		require.False(t, do.returned())
		stats := throttler.Stats()
		require.True(t, stats.Paused && stats.Pending && !stats.Running)
		require.Equal(t, 0, int(stats.Next.Sub(r.begin)/ms), "the flush was asked for then")
		throttler.Resume()
		require.NoError(t, do.result(t))
		require.Equal(t, []int{200}, r.started())
		require.False(t, throttler.Stats().Paused)
	})
}

func TestThrottler_WithPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		throttler := r.throttler(t, throttle.Policy{MaxInterval: time.Second}, throttle.WithPaused())
		r.until(600)
		require.True(t, throttler.Stats().Paused)
		throttler.Resume()
		r.until(1999)
		require.Equal(t, []int{1000}, r.started(), "MaxInterval counts from construction")
	})
}

func TestThrottler_Wait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var throttler *throttle.Throttler
		r := newRecorder(
			takes(100*ms, errFailed),
			func(ctx context.Context) error { return throttler.Wait(ctx) },
			takes(100*ms, nil))
		throttler = r.throttler(t, throttle.Policy{})
		require.NoError(t, throttler.Wait(context.Background()), "nothing runs")
		ended, end := context.WithCancel(context.Background())
		end()
		require.ErrorIs(t, throttler.Wait(ended), context.Canceled)

		throttler.Call()
		r.until(10)
		throttler.Pause()
		throttler.Call()
		wait := awaitWait(throttler)
		brief, leave := context.WithTimeout(context.Background(), 10*ms)
		defer leave()
		require.ErrorIs(t, throttler.Wait(brief), context.DeadlineExceeded)
		r.until(99)
		require.False(t, wait.returned())
		r.until(100)
		require.Equal(t, errFailed, wait.result(t), "the pending run does not concern it")
		require.Empty(t, r.errors(), "a waiter took the error")

		do := awaitDo(throttler)
		synctest.Wait()
		throttler.Resume()
		require.ErrorIs(t, do.result(t), throttle.ErrReentrant)

		throttler.Call()
		r.until(110)
		shutdown := awaitShutdown(throttler)
		synctest.Wait()
		require.False(t, awaitWait(throttler).returned(), "Shutdown waits for the same run")
		r.until(200)
		require.NoError(t, shutdown.result(t))
		require.ErrorIs(t, throttler.Wait(context.Background()), throttle.ErrClosed)
	})
}

// requirePaused checks that err says that a pause made Shutdown drop something.
func requirePaused(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, throttle.ErrClosed)
	require.ErrorIs(t, err, throttle.ErrPaused)
}

// TestThrottler_Pause_shutdown shuts down a paused throttler, and pauses one that
// drains.
func TestThrottler_Pause_shutdown(t *testing.T) {
	tests := []struct {
		name    string
		policy  throttle.Policy
		script  []scripted
		calls   []moment
		dropped bool
	}{
		{name: "nothing pending"},
		{name: "a call is pending", policy: throttle.Debounce(time.Hour, 0), calls: calls(0), dropped: true},
		{name: "a retry is pending", policy: backoff(time.Hour, 0), script: fails(1), calls: calls(0), dropped: true},
		{name: "a run is active", script: []scripted{takes(300*ms, nil)}, calls: calls(0)},
		{name: "a run is active and a call pending", script: []scripted{takes(300*ms, nil)}, calls: calls(0, 10), dropped: true},
		{name: "a run is active that will fail", policy: backoff(time.Hour, 0), script: []scripted{takes(300*ms, context.Canceled)}, calls: calls(0)},
	}
	for _, test := range tests {
		for _, drains := range []bool{false, true} {
			if drains && (len(test.script) == 0 || len(test.calls) < 2) {
				continue // it would be over before the pause
			}
			name := test.name
			if drains {
				name += ", paused as it drains"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRecorder(test.script...)
					throttler := r.throttler(t, test.policy, throttle.WithName("reload"))
					r.meet(throttler, test.calls)
					r.until(20)
					before := r.started()
					if !drains {
						throttler.Pause()
					}
					flush := awaitFlush(throttler)
					synctest.Wait()
					shutdown := awaitShutdown(throttler)
					synctest.Wait()
					if drains {
						throttler.Pause()
						throttler.Resume() // too late
					}
					active := r.active.Load() > 0
					if active {
						r.until(299)
						require.False(t, shutdown.returned())
						r.until(300)
					}
					err := shutdown.result(t)
					if test.dropped {
						requirePaused(t, err)
						require.EqualError(t, err, "throttle: reload: closed: paused")
						requirePaused(t, flush.result(t))
					} else {
						require.NotErrorIs(t, err, throttle.ErrClosed)
					}
					requireClosed(t, throttler)
					r.until(10_000)
					require.Equal(t, before, r.started())
				})
			})
		}
	}
}

// TestCoalescer_Pause_shutdown checks that a value dropped by a pause is reported to
// Shutdown, in every state in which a value waits.
func TestCoalescer_Pause_shutdown(t *testing.T) {
	t.Run("waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newValueRecorder()
			c := l.coalescer(t, throttle.Policy{}, throttle.WithPaused())
			require.NoError(t, c.Call([]int{1}))
			err := c.Shutdown(context.Background())
			requirePaused(t, err)
			require.Equal(t, []string{"[1]"}, lostBy(err))
			require.Empty(t, l.errors())
		})
	})
	for _, drains := range []bool{false, true} {
		t.Run("kept by a failed run whose hooks are at work", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newValueRecorder(fails(1)...)
				c := l.coalescer(t, backoff(time.Hour, 0), throttle.WithObserver(func(throttle.Run) { time.Sleep(time.Second) }))
				require.NoError(t, c.Call([]int{1}))
				synctest.Wait()
				if !drains {
					c.Pause()
				}
				shutdown := await(func() error { return c.Shutdown(context.Background()) })
				synctest.Wait()
				c.Pause()
				l.until(999)
				require.False(t, shutdown.returned())
				l.until(1000)
				requirePaused(t, shutdown.result(t))
				require.Equal(t, []string{"[1]"}, lostBy(shutdown.err))
				require.Equal(t, []string{"0 [1]"}, l.taken())
				require.Equal(t, []error{errFailed}, l.errors())
			})
		})
	}
}

func TestGroup_Pause(t *testing.T) {
	for _, limited := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newGroupRecorder()
			r.script("a", takes(100*ms, nil))
			opts := []throttle.Option{throttle.WithMaxKeys(3)}
			if limited {
				opts = append(opts, throttle.WithMaxConcurrent(1))
			}
			g := r.group(t, throttle.Every(200*ms), opts...)
			for _, key := range []string{"a", "b", "a"} {
				require.NoError(t, g.Call(key))
				synctest.Wait()
			}
			r.until(10)
			g.Pause()
			before := r.started()
			require.NoError(t, g.Call("c"))
			require.ErrorIs(t, g.Call("d"), throttle.ErrTooManyKeys, "a pending key counts")
			wait := await(func() error { return g.Wait(context.Background()) })
			r.until(99)
			require.False(t, wait.returned())
			r.until(100)
			require.NoError(t, wait.result(t))
			require.True(t, g.Stats().Paused)
			stats, held := g.KeyStats("c")
			require.True(t, held && stats.Paused && stats.Pending)
			r.until(10_000)
			require.Equal(t, before, r.started())
			_, held = g.KeyStats("b")
			require.Equal(t, limited, held, "an idle key is forgotten")
			g.Resume()
			require.Equal(t, []int{0, 10_000}, r.started()["a"])
			require.Equal(t, []int{10_000}, r.started()["c"])
			r.until(20_000)
			require.Zero(t, g.Len())
			require.False(t, g.Stats().Paused)
		})
	}
}

func TestGroup_Pause_shutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		g := r.group(t, throttle.Policy{}, throttle.WithPaused())
		for _, key := range []string{"a", "b", "c"} {
			require.NoError(t, g.Call(key))
		}
		do := await(func() error { return g.Do(context.Background(), "a") })
		synctest.Wait()
		err := g.Shutdown(context.Background())
		requirePaused(t, err)
		require.Equal(t, []string{"throttle: closed: paused"}, joined(err), "once, not per key")
		requirePaused(t, do.result(t))
		require.Zero(t, g.Len())
		require.Empty(t, r.started())
	})
}

func TestGroup_Wait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroupRecorder()
		var g *throttle.Group[string]
		r.script("a", takes(50*ms, errFailed))
		r.script("b", takes(100*ms, nil))
		r.script("own", func(ctx context.Context) error { return g.Wait(ctx) })
		g = r.group(t, throttle.Policy{})
		require.NoError(t, g.Wait(context.Background()), "nothing runs")
		require.NoError(t, g.Call("a"))
		require.NoError(t, g.Call("b"))
		require.ErrorIs(t, g.Do(context.Background(), "own"), throttle.ErrReentrant)
		wait := await(func() error { return g.Wait(context.Background()) })
		brief, leave := context.WithTimeout(context.Background(), 70*ms)
		defer leave()
		err := g.Wait(brief)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, errFailed)
		r.until(99)
		require.False(t, wait.returned())
		r.until(100)
		var keyed *throttle.KeyError
		require.ErrorAs(t, wait.result(t), &keyed)
		require.Equal(t, "a", keyed.Key)
		require.NoError(t, g.Close())
		require.ErrorIs(t, g.Wait(context.Background()), throttle.ErrClosed)
	})
}
