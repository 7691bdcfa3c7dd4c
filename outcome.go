package throttle

import "context"

// This file holds what waiters share: the outcome of a run, or of what was dropped.

// An outcome is shared by all waiters for one run. The Throttler's mu guards its
// fields. You may read err without mu once done is closed, or after you saw decided
// set: err does not change any more.
type outcome struct {
	done    chan struct{} // closed when the run is over or was dropped
	waiters int           // how many will take err
	decided bool          // err is set
	err     error
	callers *[]context.Context // of the Do calls, for tracers; nil if there are none. A pointer needs less memory than a slice
}

// maxCallers is how many callers an outcome keeps. They become links in a trace,
// and tracing systems keep few.
const maxCallers = 16

func newOutcome() *outcome { return &outcome{done: make(chan struct{})} }

// drop gives err to all waiters, as what they wait for was dropped, and reports whether
// there were any. o may be nil. It needs the Throttler's mu.
func (o *outcome) drop(err error) (awaited bool) {
	if o == nil {
		return false
	}
	o.decide(err)
	close(o.done)
	return o.waiters > 0
}

// decide sets the error that the waiters will take. It needs the Throttler's mu.
func (o *outcome) decide(err error) { o.decided, o.err = true, err }

// A wait is a Throttler that drains and the outcome to wait for, nil to wait only for
// its active run.
type wait struct {
	throttler *Throttler
	outcome   *outcome
}

// await waits until the outcome of w is decided and nothing of its Throttler runs any
// more. failed is the outcome's error. ended is ctx.Err() if ctx ended before. If a value
// then depends on the outcome, await goes on counting as a waiter, until left.
func (w *wait) await(ctx context.Context) (failed, ended error) {
	t, o := w.throttler, w.outcome
	if o != nil && t.config.hasValues {
		if !isDone(ctx, o.done) {
			return nil, ctx.Err()
		}
		failed, w.outcome = o.err, nil
	} else if o != nil {
		w.outcome = nil
		if failed, ended = t.await(ctx, o); ended != nil {
			return nil, ended
		}
	}
	// What may still be at work are the hooks of o's run or, if o was dropped, an
	// older run, whose error others take.
	active := t.activeOutcome()
	if active == nil {
		return failed, nil
	}
	select {
	case <-active.done:
		return failed, nil
	case <-ctx.Done():
		if active != o && !isLost(failed) {
			failed = nil
		}
		return failed, ctx.Err()
	}
}

// isDone waits until done is closed, and reports false if ctx ended before.
func isDone(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// left returns what there is to say of the values that await left behind, once the
// Throttler is closed: a *LostError, also if a run still has them.
func (w *wait) left() error {
	t, o := w.throttler, w.outcome
	if o == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !o.decided:
		o.waiters--
		return t.holder().undecidedLocked()
	case isLost(o.err):
		return o.err
	default:
		return nil
	}
}
