// Package migrating_test runs what docs/MIGRATING.md shows, side by side in fake time, and shows
// where ours differs from theirs.
package migrating_test

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

const ms = time.Millisecond

// TestMigrating_code checks that the page shows the code of this package, which runs.
func TestMigrating_code(t *testing.T) {
	page, err := os.ReadFile("../../docs/MIGRATING.md")
	require.NoError(t, err)
	code, err := os.ReadFile("pairs_test.go")
	require.NoError(t, err)
	blocks := snippet.Blocks(string(page))
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		assert.Contains(t, string(code), "\n"+block, "in pairs_test.go")
	}
}

// A log records the runs of a callback, which takes some time.
type log struct {
	begun time.Time
	takes time.Duration

	mu sync.Mutex // guards the fields below
	// +checklocks:mu
	starts []time.Duration
	// +checklocks:mu
	active int
	// +checklocks:mu
	overlap bool
}

func newLog(takes time.Duration) *log { return &log{begun: time.Now(), takes: takes} }

// run is the callback.
func (l *log) run() {
	l.note(1)
	time.Sleep(l.takes)
	l.note(-1)
}

func (l *log) note(more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if more > 0 {
		l.starts = append(l.starts, time.Since(l.begun))
		l.overlap = l.overlap || l.active > 0
	}
	l.active += more
}

// require requires that runs have started at these times, and whether any overlapped.
func (l *log) require(t *testing.T, overlap bool, starts ...time.Duration) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Equal(t, starts, l.starts)
	require.Equal(t, overlap, l.overlap)
}

// calls makes calls at these times since begun.
func calls(begun time.Time, call func(), at ...time.Duration) {
	for _, d := range at {
		time.Sleep(time.Until(begun.Add(d)))
		call()
		synctest.Wait()
	}
}

// side is one side of a pair: it makes a throttle for save, and returns how to call and end it.
type side func(t *testing.T, save func()) (call, end func())

// ours is the side of a Throttler.
func ours(build func(save func()) (*throttle.Throttler, error)) side {
	return func(t *testing.T, save func()) (call, end func()) {
		t.Helper()
		throttler, err := build(save)
		require.NoError(t, err)
		return throttler.Call, func() { require.NoError(t, throttler.Shutdown(t.Context())) }
	}
}

// theirs is the side of a function that nobody can end.
func theirs(build func(save func()) (call func())) side {
	return func(_ *testing.T, save func()) (call, end func()) { return build(save), func() {} }
}

// TestMigrating_pairs plays the same calls on both sides.
func TestMigrating_pairs(t *testing.T) {
	bep := theirs(func(save func()) func() { return bepDebounce(100*ms, save) })
	debounce := ours(func(save func()) (*throttle.Throttler, error) { return throttleDebounce(100*ms, 300*ms, save) })
	sometimes := theirs(func(f func()) func() { return rateSometimes(100*ms, f) })
	byHand := theirs(func(save func()) func() { return (&handMade{interval: 100 * ms, save: save}).call })
	every := ours(func(save func()) (*throttle.Throttler, error) { return throttleEvery(100*ms, save) })
	leading := ours(func(save func()) (*throttle.Throttler, error) { return throttleLeading(100*ms, save) })
	flag := func(t *testing.T, save func()) (call, end func()) {
		t.Helper()
		var dirty atomic.Bool
		stop := make(chan struct{})
		go tickerWithFlag(100*ms, &dirty, save, stop)
		return func() { dirty.Store(true) }, func() { close(stop) }
	}
	steady := make([]time.Duration, 20)
	for i := range steady {
		steady[i] = time.Duration(i) * 40 * ms
	}
	for _, c := range []struct {
		name    string
		side    side
		takes   time.Duration
		calls   []time.Duration
		starts  []time.Duration
		overlap bool
		rest    time.Duration // before the end
	}{
		{"bep: a slow run overlaps the next", bep, 150 * ms, at(0, 120), at(100, 220), true, time.Second},
		{"throttle: the next run waits", debounce, 150 * ms, at(0, 120), at(100, 250), false, time.Second},
		{"bep: steady calls starve the run", bep, 0, steady, at(860), false, time.Second},
		{"throttle: maxWait bounds that", debounce, 0, steady, at(300, 620, 860), false, time.Second},
		{"bep: the last call is lost at the end", bep, 0, at(0), nil, false, 0},
		{"throttle: Shutdown runs it", debounce, 0, at(0), at(0), false, 0},

		{"lo: calls in the window are lost", theirs(func(f func()) func() { return loThrottle(100*ms, f) }), 0, at(0, 30, 60), at(0), false, time.Second},
		{"throttle: a run at the window's end covers them", every, 0, at(0, 30, 60), at(0, 100), false, time.Second},
		{"rate.Sometimes: calls in the window are dropped", sometimes, 0, at(0, 30, 60, 130), at(0, 130), false, time.Second},
		{"throttle: with the leading edge alone, too", leading, 0, at(0, 30, 60, 130), at(0, 130), false, time.Second},

		{"by hand: a call during the run is lost", byHand, 50 * ms, at(0, 20), at(0), false, time.Second},
		{"throttle: it is covered", every, 50 * ms, at(0, 20), at(0, 100), false, time.Second},

		{"ticker: a first call waits", flag, 0, at(10, 20), at(100), false, time.Second},
		{"throttle: it runs at once", every, 0, at(10, 20), at(10, 110), false, time.Second},
		{"ticker: the last call is lost at the end", flag, 0, at(10), nil, false, 10 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog(c.takes)
				call, end := c.side(t, l.run)
				calls(l.begun, call, c.calls...)
				time.Sleep(c.rest)
				end()
				synctest.Wait()
				l.require(t, c.overlap, c.starts...)
				time.Sleep(time.Second) // theirs may still have timers
			})
		})
	}
}

// at returns times in milliseconds.
func at(all ...int) []time.Duration {
	times := make([]time.Duration, len(all))
	for i, n := range all {
		times[i] = time.Duration(n) * ms
	}
	return times
}

// TestMigrating_blocking shows that rate.Sometimes and lo hold a lock while the callback runs, so
// that other callers wait. This is in real time: fake time stands still while a goroutine waits for
// a lock.
func TestMigrating_blocking(t *testing.T) {
	for name, c := range map[string]struct {
		side  side
		waits bool
	}{
		"rate.Sometimes": {theirs(func(f func()) func() { return rateSometimes(time.Hour, f) }), true},
		"lo":             {theirs(func(f func()) func() { return loThrottle(time.Hour, f) }), true},
		"throttle":       {ours(func(f func()) (*throttle.Throttler, error) { return throttleLeading(time.Hour, f) }), false},
	} {
		t.Run(name, func(t *testing.T) {
			const takes = 100 * ms
			started, proceed := make(chan struct{}), make(chan struct{})
			call, end := c.side(t, func() {
				close(started)
				<-proceed
			})
			go call()
			<-started
			var returned atomic.Bool
			var calling sync.WaitGroup
			calling.Go(func() {
				call()
				returned.Store(true)
			})
			if c.waits {
				time.Sleep(takes)
				assert.False(t, returned.Load())
			} else {
				calling.Wait()
			}
			close(proceed)
			calling.Wait()
			end()
		})
	}
}

// TestMigrating_runner shows a bounded runner whose failed run is repeated.
func TestMigrating_runner(t *testing.T) {
	const pause, retry, atLeast = time.Second, 5 * time.Second, time.Minute
	failOnce := func(l *log) func() error {
		return func() error {
			l.run()
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.starts) == 2 {
				return errSync
			}
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100 * ms)
		asked, stop := make(chan struct{}, 1), make(chan struct{})
		go boundedRunner(pause, retry, atLeast, failOnce(l), asked, stop)
		call := func() { asked <- struct{}{} }
		calls(l.begun, call, at(0, 50)...)
		time.Sleep(70 * time.Second)
		calls(l.begun, call, at(71_000, 71_050)...)
		close(stop) // the last call is lost
		time.Sleep(time.Minute)
		l.require(t, false, at(0, 1100, 6200, 66_300, 71_000)...)
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100 * ms)
		throttler, err := throttleRunner(pause, retry, atLeast, failOnce(l))
		require.NoError(t, err)
		calls(l.begun, throttler.Call, at(0, 50)...)
		time.Sleep(70 * time.Second)
		calls(l.begun, throttler.Call, at(71_000, 71_050)...)
		require.NoError(t, throttler.Shutdown(t.Context())) // runs it
		l.require(t, false, at(0, 1100, 6200, 66_300, 71_000, 71_100)...)
	})
}

// TestMigrating_values shows what happens to values when a collecting loop ends. Chance decides
// whether the loop loses them or applies them after the end.
func TestMigrating_values(t *testing.T) {
	var lost, late int
	for range 50 {
		synctest.Test(t, func(*testing.T) {
			var applied [][]string
			theirs, stop := &trigger{wake: make(chan struct{}, 1)}, make(chan struct{})
			go theirs.run(100*ms, func(reasons []string) { applied = append(applied, reasons) }, stop)
			theirs.call("a")
			synctest.Wait()
			theirs.call("b")
			close(stop)
			time.Sleep(time.Second)
			synctest.Wait()
			if len(applied) == 1 {
				lost++
			} else {
				late++
			}
		})
	}
	require.Positive(t, lost)
	require.Positive(t, late)
	synctest.Test(t, func(t *testing.T) {
		var applied [][]string
		ours, err := throttleTrigger(100*ms, func(_ context.Context, reasons []string) error {
			applied = append(applied, reasons)
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, ours.Call("a"))
		synctest.Wait()
		require.NoError(t, ours.Call("b"))
		require.NoError(t, ours.Call("c"))
		require.NoError(t, ours.Shutdown(t.Context()))
		require.Equal(t, [][]string{{"a"}, {"b", "c"}}, applied)
	})
}

// TestMigrating_loop shows that whoever sends to a loop that has ended waits for ever.
func TestMigrating_loop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pushed []int
		updates, stop := make(chan int), make(chan struct{})
		go debounceLoop(updates, 100*ms, 300*ms, func(sum int) { pushed = append(pushed, sum) }, stop)
		for range 3 {
			updates <- 1
			time.Sleep(50 * ms)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []int{3}, pushed)
		close(stop)
		synctest.Wait()
		select {
		case updates <- 1:
			t.Error("the loop still receives")
		case <-time.After(time.Hour):
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var pushed []int
		ours, err := throttleLoop(100*ms, 300*ms, func(_ context.Context, sum int) error {
			pushed = append(pushed, sum)
			return nil
		})
		require.NoError(t, err)
		for range 3 {
			require.NoError(t, ours.Call(1))
			time.Sleep(50 * ms)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []int{3}, pushed)
		require.NoError(t, ours.Shutdown(t.Context()))
		require.ErrorIs(t, ours.Call(1), throttle.ErrClosed)
	})
}

// TestMigrating_keys shows that a limiter per key drops the last call, and stays.
func TestMigrating_keys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(0)
		all := &limiters{interval: 100 * ms, of: make(map[string]*rate.Limiter)}
		calls(l.begun, func() { all.call("a", func(string) { l.run() }) }, at(0, 30)...)
		time.Sleep(time.Hour)
		l.require(t, false, at(0)...)
		require.Len(t, all.of, 1)
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLog(0)
		group, err := throttleGroup(100*ms, func(string) { l.run() })
		require.NoError(t, err)
		calls(l.begun, func() { require.NoError(t, group.Call("a")) }, at(0, 30)...)
		time.Sleep(time.Hour)
		synctest.Wait()
		l.require(t, false, at(0, 100)...)
		require.Zero(t, group.Len())
	})
}
