package throttle_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// methodsWithClock returns the methods that need the clock, of a Throttler and a Group.
func methodsWithClock(throttler *throttle.Throttler, g *throttle.Group[int]) map[string]func() {
	ctx := context.Background()
	return map[string]func(){
		"Call":             throttler.Call,
		"CallWithin":       func() { throttler.CallWithin(time.Hour) },
		"Do":               func() { _ = throttler.Do(ctx) },
		"Flush":            func() { _ = throttler.Flush(ctx) },
		"Cancel":           func() { throttler.Cancel() },
		"Pause":            throttler.Pause,
		"Resume":           throttler.Resume,
		"SetPolicy":        func() { _ = throttler.SetPolicy(throttle.Policy{}) },
		"Shutdown":         func() { _ = throttler.Shutdown(ctx) },
		"Close":            func() { _ = throttler.Close() },
		"Group.Call":       func() { _ = g.Call(1) },
		"Group.Call again": func() { _ = g.Call(0) },
		"Group.Do":         func() { _ = g.Do(ctx, 1) },
		"Group.Flush":      func() { _ = g.Flush(ctx, 0) },
		"Group.Cancel":     func() { g.Cancel(0) },
		"Group.Remove":     func() { g.Remove(0) },
		"Group.Pause":      g.Pause,
		"Group.SetPolicy":  func() { _ = g.SetPolicy(throttle.Policy{}) },
		"Group.Shutdown":   func() { _ = g.Shutdown(ctx) },
		"Group.Close":      func() { _ = g.Close() },
	}
}

// TestThrottler_bubble uses throttlers across the border of a synctest bubble: each
// method panics, and has changed nothing.
func TestThrottler_bubble(t *testing.T) {
	runs := make(chan string, 10)
	build := func() (*throttle.Throttler, *throttle.Group[int]) {
		policy := throttle.Every(time.Hour)
		throttler := throttle.Must(throttle.New(policy, func() { runs <- "throttler" }))
		g := throttle.Must(throttle.NewGroup(policy, func(context.Context, int) error {
			runs <- "group"
			return nil
		}))
		require.NoError(t, throttler.Do(context.Background()))
		require.NoError(t, g.Do(context.Background(), 0))
		<-runs
		<-runs
		return throttler, g
	}
	requirePanics := func(t *testing.T, throttler *throttle.Throttler, g *throttle.Group[int]) {
		for name, method := range methodsWithClock(throttler, g) {
			require.PanicsWithValue(t, throttle.ForeignClock, method, name)
		}
	}
	requireUnchanged := func(t *testing.T, throttler *throttle.Throttler, g *throttle.Group[int]) {
		stats := throttler.Stats()
		require.False(t, stats.Pending || stats.Running || stats.Closed || stats.Paused)
		require.Equal(t, throttle.Every(time.Hour), throttler.Policy())
		require.Equal(t, throttle.Every(time.Hour), g.Policy())
		stats = g.Stats()
		require.False(t, stats.Pending || stats.Running || stats.Closed || stats.Paused)
		require.Equal(t, 1, g.Len())
		throttler.Call()
		require.NoError(t, g.Call(0))
		require.NoError(t, throttler.Shutdown(context.Background()))
		require.NoError(t, g.Shutdown(context.Background()))
		require.ElementsMatch(t, []string{"throttler", "group"}, []string{<-runs, <-runs})
	}
	t.Run("built outside", func(t *testing.T) {
		throttler, g := build()
		synctest.Test(t, func(t *testing.T) { requirePanics(t, throttler, g) })
		requireUnchanged(t, throttler, g)
	})
	t.Run("built inside", func(t *testing.T) {
		work, done := make(chan func()), make(chan struct{})
		go func() { // stays outside
			defer close(done)
			(<-work)()
		}()
		synctest.Test(t, func(t *testing.T) {
			throttler, g := build()
			work <- func() { requirePanics(t, throttler, g) }
			<-done
			requireUnchanged(t, throttler, g)
		})
	})
	t.Run("what needs no clock", func(t *testing.T) {
		throttler := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {}, throttle.WithPaused()))
		throttler.Call()
		synctest.Test(t, func(t *testing.T) {
			throttler.Call() // it finds a run pending
			require.True(t, throttler.Stats().Pending, "metrics may be collected anywhere")
		})
		require.NoError(t, throttler.Close())
	})
}
