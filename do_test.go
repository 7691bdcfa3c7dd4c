package throttle_test

// This file holds what those are told who wait for a run, in Do and in Flush.

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestEveryWaiterTakesTheErrorOfTheRunThatCoversIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := errors.New("second")
		r := newRecorder(takes(50*ms, errFailed), takes(50*ms, second))
		throttler := r.throttler(t, throttle.Every(100*ms))
		first := awaitDo(throttler)
		r.until(10)
		var waiters []*waiter
		for range 100 {
			waiters = append(waiters, awaitDo(throttler), awaitFlushLater(r, throttler, 120))
		}
		r.until(50)
		require.Equal(t, errFailed, first.result(t))
		r.until(149)
		for _, w := range waiters {
			require.False(t, w.returned())
		}
		r.until(150)
		for _, w := range waiters {
			require.Equal(t, second, w.result(t))
		}
		require.Equal(t, []int{0, 100}, r.started())
		require.Empty(t, r.errors())
	})
}

// awaitFlushLater flushes at the given time, in milliseconds since r's begin.
func awaitFlushLater(r *recorder, throttler *throttle.Throttler, at int) *waiter {
	return await(func() error {
		time.Sleep(time.Until(r.begin.Add(time.Duration(at) * ms)))
		return throttler.Flush(context.Background())
	})
}

func TestDoNeverJoinsTheActiveRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(50*ms, errFailed), takes(50*ms, nil))
		throttler := r.throttler(t, throttle.Policy{})
		throttler.Call()
		r.until(49)
		do := awaitDo(throttler)
		r.until(99)
		require.False(t, do.returned())
		r.until(100)
		require.NoError(t, do.result(t))
		require.Equal(t, []int{0, 50}, r.started())
	})
}

// TestDoNeverJoinsARunWhoseHooksAreAtWork holds the same for a run whose callback
// has returned. Flush waits for such a run.
func TestDoNeverJoinsARunWhoseHooksAreAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(fails(1)...)
		throttler := r.throttler(t, throttle.Policy{}, throttle.WithObserver(func(throttle.Run) { time.Sleep(100 * ms) }))
		throttler.Call()
		r.until(50)
		flush := awaitFlush(throttler)
		require.False(t, flush.returned())
		do := awaitDo(throttler)
		r.until(100)
		require.Equal(t, errFailed, flush.result(t))
		require.False(t, do.returned())
		r.until(200)
		require.NoError(t, do.result(t))
		require.Equal(t, []int{0, 100}, r.started())
	})
}

func TestWaiterThatLeavesDisturbsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(0, nil), takes(50*ms, errFailed))
		throttler := r.throttler(t, throttle.Every(100*ms))
		throttler.Call()
		r.until(10)
		stays := awaitDo(throttler)
		var leavers []*waiter
		leaves := []int{20, 99, 120, 149} // before the run and during it
		for _, at := range leaves {
			ctx, leave := context.WithDeadline(context.Background(), r.begin.Add(time.Duration(at)*ms))
			defer leave()
			leavers = append(leavers, await(func() error { return throttler.Do(ctx) }))
		}
		for i, w := range leavers {
			r.until(leaves[i] - 1)
			require.False(t, w.returned())
			r.until(leaves[i])
			require.Equal(t, context.DeadlineExceeded, w.result(t))
			require.False(t, stays.returned())
		}
		r.until(150)
		require.Equal(t, errFailed, stays.result(t))
		r.until(1000)
		require.Equal(t, []int{0, 100}, r.started())
		require.Empty(t, r.errors())
	})
}

func TestErrorThatNobodyIsLeftToTakeIsHandled(t *testing.T) {
	methods := map[string]func(*throttle.Throttler, context.Context) error{
		"Do":    (*throttle.Throttler).Do,
		"Flush": (*throttle.Throttler).Flush,
	}
	for name, method := range methods {
		for when, leaves := range map[string]int{"before the run": 50, "during the run": 150} {
			t.Run(name+" left "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRecorder(takes(100*ms, nil), takes(100*ms, errFailed))
					throttler := r.throttler(t, throttle.Policy{})
					throttler.Call()
					r.until(10)
					throttler.Call()
					var waiters []*waiter
					for range 3 {
						ctx, leave := context.WithDeadline(context.Background(), r.begin.Add(time.Duration(leaves)*ms))
						defer leave()
						waiters = append(waiters, await(func() error { return method(throttler, ctx) }))
					}
					r.until(leaves)
					for _, w := range waiters {
						require.Equal(t, context.DeadlineExceeded, w.result(t))
					}
					r.until(1000)
					require.Equal(t, []int{0, 100}, r.started(), "what was asked stands")
					require.Equal(t, []error{errFailed}, r.errors())
				})
			})
		}
	}
}

// TestWaiterThatLeavesTooLateTakesTheError lets a context end between the
// callback's return and the end of the run, when the handler was passed by.
func TestWaiterThatLeavesTooLateTakesTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(takes(50*ms, errFailed))
		throttler := r.throttler(t, throttle.Policy{}, throttle.WithObserver(func(throttle.Run) { time.Sleep(time.Second) }))
		ctx, leave := context.WithTimeout(context.Background(), 100*ms)
		defer leave()
		require.Equal(t, errFailed, throttler.Do(ctx))
		require.Equal(t, 100, r.elapsed())
		r.until(2000)
		require.Empty(t, r.errors())
	})
}

func TestEndedContextAsksForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		throttler := r.throttler(t, throttle.Policy{Interval: time.Second}, throttle.WithCallCount())
		ended, end := context.WithCancel(context.Background())
		end()
		require.Equal(t, context.Canceled, throttler.Do(ended))
		require.Equal(t, context.Canceled, throttler.Flush(ended))
		require.Zero(t, throttler.Stats().Calls)
		throttler.Call()
		r.until(10)
		throttler.Call()
		require.Equal(t, context.Canceled, throttler.Do(ended))
		require.Equal(t, context.Canceled, throttler.Flush(ended))
		require.Equal(t, []int{0}, r.started(), "nothing is hurried")
		require.Equal(t, uint64(2), throttler.Stats().Calls)
		require.NoError(t, throttler.Close())
		require.Equal(t, throttle.ErrClosed, throttler.Do(ended))
		require.Equal(t, throttle.ErrClosed, throttler.Flush(ended))
	})
}

func TestDroppedCallIsToldWhatDroppedIt(t *testing.T) {
	gone := errors.New("gone")
	drops := []struct {
		name string
		drop func(throttler *throttle.Throttler, endParent context.CancelCauseFunc)
		want []error
		text string
	}{
		{"Cancel", func(throttler *throttle.Throttler, _ context.CancelCauseFunc) { throttler.Cancel() },
			[]error{throttle.ErrCanceled}, "throttle: reload: call canceled"},
		{"Close", func(throttler *throttle.Throttler, _ context.CancelCauseFunc) { stop(throttler) },
			[]error{throttle.ErrClosed}, "throttle: reload: closed"},
		{"parent", func(_ *throttle.Throttler, end context.CancelCauseFunc) { end(gone) },
			[]error{throttle.ErrClosed, gone}, "throttle: reload: closed: gone"},
	}
	for _, drop := range drops {
		t.Run(drop.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, endParent := context.WithCancelCause(context.Background())
				defer endParent(nil)
				r := newRecorder(takes(100*ms, errFailed))
				throttler := r.throttler(t, throttle.Every(time.Second), throttle.WithName("reload"), throttle.WithContext(parent))
				active := awaitDo(throttler)
				r.until(10)
				waiters := []*waiter{awaitDo(throttler), awaitDo(throttler)}
				synctest.Wait()
				waiters = append(waiters, awaitFlush(throttler))
				r.until(50)
				drop.drop(throttler, endParent)
				for _, w := range waiters {
					err := w.result(t)
					for _, want := range drop.want {
						require.ErrorIs(t, err, want)
					}
					require.EqualError(t, err, drop.text)
				}
				require.False(t, active.returned())
				r.until(10_000)
				require.Equal(t, errFailed, active.result(t), "its run was not dropped")
				require.Equal(t, []int{0}, r.started())
			})
		})
	}
}

func TestFlushWaitsForEveryEarlierCall(t *testing.T) {
	tests := []struct {
		name    string
		policy  throttle.Policy
		script  []scripted
		moments []moment // in order, before 50 ms
		err     error
		took    int // until when Flush waits
	}{
		{name: "nothing called", took: 50},
		{name: "all covered", moments: calls(0), took: 50},
		{name: "window closed", policy: throttle.Every(time.Second), script: fails(1), moments: calls(0), took: 50},
		{name: "active run", script: []scripted{takes(200*ms, nil)}, moments: calls(0), took: 200},
		{name: "active run that fails", script: []scripted{takes(200*ms, errFailed)}, moments: calls(0), err: errFailed, took: 200},
		{name: "active run that will be retried", policy: backoff(time.Second, 0), script: []scripted{takes(200*ms, errFailed)},
			moments: calls(0), err: errFailed, took: 200},
		{name: "active run and a pending one", script: []scripted{takes(200*ms, errFailed), takes(100*ms, nil)}, moments: calls(0, 10), took: 300},
		{name: "active run and a pending one that fails", policy: throttle.Debounce(time.Second, 0), moments: append(at(0, callWithin(0)), calls(10)...),
			script: []scripted{takes(200*ms, nil), takes(100*ms, errFailed)}, err: errFailed, took: 300},
		{name: "pending run", policy: throttle.Debounce(time.Second, 0), script: []scripted{takes(100*ms, errFailed)}, moments: calls(0), err: errFailed, took: 150},
		{name: "waiting retry", policy: backoff(time.Second, 0), script: []scripted{takes(0, errFailed), takes(100*ms, nil)}, moments: calls(0), took: 150},
		{name: "periodic run to come", policy: throttle.Policy{MaxInterval: time.Second}, took: 50},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(test.script...)
				throttler := r.throttler(t, test.policy)
				for _, m := range test.moments {
					r.until(m.at)
					m.do(throttler)
				}
				r.until(50)
				require.Equal(t, test.err, throttler.Flush(context.Background()))
				require.Equal(t, test.took, r.elapsed())
			})
		})
	}
}
