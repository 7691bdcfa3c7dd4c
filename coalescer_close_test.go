package throttle_test

// This file holds that a value is reported lost, and a Coalescer comes to its end,
// whoever is in the way: waiters that leave, handlers that end their goroutine,
// and hooks that take their time.

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestShutdownThatLeavesTellsWhatWasLost has Close drop a value for which Shutdown
// waits, and Shutdown's context end while another run is active.
func TestShutdownThatLeavesTellsWhatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(takes(time.Second, nil))
		c := l.coalescer(t, throttle.Every(time.Hour))
		require.NoError(t, c.Call([]int{1}))
		l.until(10)
		require.NoError(t, c.Call([]int{2}))
		ctx, end := context.WithTimeout(context.Background(), 100*ms)
		defer end()
		shutdown := await(func() error { return c.Shutdown(ctx) })
		l.until(20)
		require.NoError(t, c.Close())
		l.until(500)
		err := shutdown.result(t)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, []string{"[2]"}, lostBy(append(l.errors(), err)...))
	})
}

// TestDroppedValueIsReportedLostToWhoIsLeft has those who wait for it leave, all or all but
// one.
func TestDroppedValueIsReportedLostToWhoIsLeft(t *testing.T) {
	for name, stays := range map[string]bool{"one waits still": true, "nobody waits": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger()
				c := l.coalescer(t, throttle.Debounce(time.Hour, 0), throttle.WithName("batch"))
				leaving, leave := context.WithCancel(context.Background())
				defer leave()
				first := await(func() error { return c.Do(leaving, []int{1}) })
				synctest.Wait()
				second := await(func() error {
					if stays {
						return c.Do(context.Background(), []int{2})
					}
					return c.Do(leaving, []int{2})
				})
				l.until(10)
				leave()
				require.Equal(t, context.Canceled, first.result(t))
				require.NoError(t, c.Close())
				err := second.result(t)
				if !stays {
					require.Equal(t, context.Canceled, err)
					require.Len(t, l.errors(), 1)
					err = l.errors()[0]
				}
				requireLost(t, err, []int{1, 2})
				require.ErrorIs(t, err, throttle.ErrClosed)
				require.Equal(t, stays, len(l.errors()) == 0)
			})
		})
	}
}

// TestEveryLostValueIsReportedThoughAHandlerEndsItsGoroutine has Close drop two
// values: of a run that has not entered its callback, and one that waits.
func TestEveryLostValueIsReportedThoughAHandlerEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		parent := &slowContext{Context: context.Background()}
		c := l.coalescer(t, throttle.Every(time.Hour), throttle.WithContext(parent), throttle.WithErrorHandler(func(err error) {
			l.hear(err)
			runtime.Goexit()
		}))
		parent.wait.Store(int64(time.Second))
		require.NoError(t, c.Call([]int{1}))
		require.NoError(t, c.Call([]int{2}))
		require.Error(t, endOf(func() { _ = c.Close() }))
		require.ElementsMatch(t, []string{"[1]", "[2]"}, lostBy(l.errors()...))
		require.NoError(t, c.Shutdown(context.Background()))
		require.Empty(t, l.taken())
	})
}

// A hastyContext says that it has ended before its Done channel does, as any
// context may for a moment.
type hastyContext struct {
	context.Context
	ended atomic.Bool
}

func (c *hastyContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return c.Context.Err()
}

// TestCoalescersRunEndsThoughAHandlerEndsItsGoroutine has a run find its parent's end before
// anybody else does: it is the one that closes, and that tells what is lost.
func TestCoalescersRunEndsThoughAHandlerEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		inner, end := context.WithCancel(context.Background())
		parent := &hastyContext{Context: inner}
		c := l.coalescer(t, throttle.Policy{}, throttle.WithContext(parent), throttle.WithErrorHandler(func(err error) {
			l.hear(err)
			runtime.Goexit()
		}))
		parent.ended.Store(true)
		require.NoError(t, c.Call([]int{1}))
		l.until(10)
		require.Equal(t, []string{"[1]"}, lostBy(l.errors()...))
		running := c.Stats().Running
		end()
		require.False(t, running, "the run never ends")
		require.NoError(t, c.Shutdown(context.Background()))
		require.Empty(t, l.taken())
	})
}

// TestLogDoesNotLookIntoWhatTheCallbackPanickedWith lets it panic with an error
// that panics itself when it is looked into: that would end the process.
func TestLogDoesNotLookIntoWhatTheCallbackPanickedWith(t *testing.T) {
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

// TestShutdownWaitsForTheReportOfWhatAnotherCloserLost has a handler take its time
// in the goroutine in which the parent's end closes the Coalescer.
func TestShutdownWaitsForTheReportOfWhatAnotherCloserLost(t *testing.T) {
	for name, patient := range map[string]bool{"until it is over": true, "until its context ends": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger()
				parent, end := context.WithCancel(context.Background())
				c := l.coalescer(t, throttle.Debounce(time.Hour, 0), throttle.WithContext(parent),
					throttle.WithErrorHandler(func(err error) {
						time.Sleep(time.Second)
						l.hear(err)
					}))
				require.NoError(t, c.Call([]int{1}))
				end()
				synctest.Wait()
				if patient {
					require.NoError(t, c.Shutdown(context.Background()))
					require.Equal(t, 1000, l.elapsed())
					require.Equal(t, []string{"[1]"}, lostBy(l.errors()...))
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), 100*ms)
				defer cancel()
				require.ErrorIs(t, c.Shutdown(ctx), context.DeadlineExceeded)
				require.Equal(t, 100, l.elapsed())
			})
		})
	}
}

// TestShutdownReturnsTheErrorOfTheLastRun has it begin while the hooks of a failed
// run are at work whose value is kept.
func TestShutdownReturnsTheErrorOfTheLastRun(t *testing.T) {
	for _, failures := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			l := newLedger(fails(failures)...)
			c := l.coalescer(t, backoff(time.Hour, 0), throttle.WithObserver(func(throttle.Run) { time.Sleep(time.Second) }))
			require.NoError(t, c.Call([]int{1}))
			synctest.Wait()
			err := c.Shutdown(context.Background())
			require.Equal(t, []string{"0 [1]", "1000 [1]"}, l.taken())
			if failures == 1 {
				require.NoError(t, err)
				return
			}
			require.Equal(t, []string{"[1]"}, lostBy(err))
		})
	}
}
