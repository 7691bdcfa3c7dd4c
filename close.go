package throttle

import (
	"context"
	"errors"
	"slices"
)

// Close closes the Throttler at once: it drops what is pending and cancels the
// active run's context, but does not wait for that run. No run starts after it;
// one that has just started may still be entering the callback. Calls are
// ignored from then on. Close may be called several times, and always returns
// nil.
func (t *Throttler) Close() error {
	t.close(nil)
	return nil
}

// close closes the Throttler, with all that it is part of, because its parent
// context ended if cause is not nil.
func (t *Throttler) close(cause error) {
	if t.extras.keeper != nil {
		t.extras.keeper.close(cause)
		return
	}
	now := t.lock()
	release := t.closeLocked(cause)
	t.settle(now)
	if release != nil {
		release()
	}
}

// watch makes the end of the parent context close the Throttler.
func (t *Throttler) watch() {
	if unwatch := t.extras.watch(t.close); unwatch != nil {
		t.mu.Lock()
		t.extras.unwatch = unwatch
		t.mu.Unlock()
	}
}

// closeLocked closes the Throttler, because its parent context ended for cause
// if that is not nil. It returns what is to be called once mu is free, as foreign
// code may run in it; nil if nothing is.
//
// +checklocks:t.mu
func (t *Throttler) closeLocked(cause error) (release func()) {
	if t.history.phase == closed {
		return nil
	}
	t.history.phase = closed
	if cause != nil {
		t.extras.ended = cause // a parent's, so these are not the noExtras
	}
	why := t.closedLocked()
	unheard := t.strandLocked(why)
	var cancel context.CancelCauseFunc
	if t.run != nil {
		cancel = t.run.cancel
	}
	stop := t.extras.unwatch
	if cancel == nil && stop == nil && unheard == nil {
		return nil
	}
	var reported chan struct{}
	if unheard != nil {
		reported = make(chan struct{})
		t.extras.reported = reported // a Coalescer's, so these are not the noExtras
	}
	return func() {
		// Deferred, as the handler may panic or end the goroutine.
		if reported != nil {
			defer close(reported)
		}
		for _, err := range slices.Backward(unheard) {
			defer t.report(err)
		}
		if cancel != nil {
			cancel(why)
		}
		if stop != nil {
			stop()
		}
	}
}

// strandLocked drops what is pending, as the Throttler was closed, and returns
// the errors of lost values for which nobody waits.
//
// +checklocks:t.mu
func (t *Throttler) strandLocked(why error) (unheard []error) {
	c, ok := t.fn.(carrier)
	if !ok {
		t.dropLocked(why)
		return nil
	}
	waiting, carried := c.strand(why)
	if carried != nil { // by the active run, which now will not be entered
		o := t.run.awaited
		if o != nil {
			o.decide(carried)
		}
		if o == nil || o.waiters == 0 {
			unheard = append(unheard, carried)
		}
	}
	if waiting == nil {
		t.dropLocked(why)
	} else if !t.dropLocked(waiting) {
		unheard = append(unheard, waiting)
	}
	return unheard
}

// closedLocked returns the ErrClosed of this Throttler.
//
// +checklocks:t.mu
func (t *Throttler) closedLocked() error { return t.closedError(t.history.phase) }

// closedError returns the ErrClosed of what is draining or closed.
func (d *domain) closedError(p phase) error {
	if p != closed {
		return sentinel(ErrClosed, d.extras.name, nil) // a Group's ended may just be written, under another lock
	}
	return sentinel(ErrClosed, d.extras.name, d.extras.ended)
}

// Shutdown closes the Throttler gracefully: from its begin calls are refused,
// what is pending runs now, whatever the policy says, and when the last run is
// over the Throttler is closed. It returns the error of the run it waited for
// last; no retry and no periodic run is made. If Cancel or Close dropped what
// it waited for, it returns [ErrCanceled] or [ErrClosed], once no run is active.
//
// If ctx ends first, or had ended before, Shutdown closes the Throttler as Close
// does and returns ctx.Err(), joined with the run's error if only its hooks
// were still at work. On a closed Throttler it waits for the active run
// and returns nil, so that Close and then Shutdown drop what is pending but let
// the active run end. Inside the callback, with the run's own context, it returns
// [ErrReentrant] and has no effect.
func (t *Throttler) Shutdown(ctx context.Context) error {
	own, ended := t.ownRun(ctx), ctx.Err()
	o, err := t.drain(own, ended)
	if err != nil {
		return err
	}
	if err = ended; err == nil {
		err = t.drained(ctx, o)
	}
	t.close(nil)
	return t.reported(ctx, err)
}

// drain refuses calls from now on, makes what is pending due, and returns what
// is to be waited for, nil if nothing; unless the Throttler is closed, or ended
// is not nil: then it does nothing. Its error is ErrReentrant, if the active run
// is own.
func (t *Throttler) drain(own *run, ended error) (*outcome, error) {
	now := t.lock()
	defer t.settle(now)
	if t.isActiveLocked(own) {
		return nil, sentinel(ErrReentrant, t.extras.name, nil)
	}
	if ended != nil {
		return nil, nil
	}
	return t.drainLocked(now), nil
}

// drainLocked refuses calls from now on, makes what is pending due, and returns
// what is to be waited for, nil if nothing. On a closed Throttler it does nothing.
//
// +checklocks:t.mu
func (t *Throttler) drainLocked(now instant) *outcome {
	if t.history.phase == closed {
		return nil
	}
	t.history.phase = draining
	return t.flushLocked(now)
}

// activeOutcome returns the outcome of the active run, nil if there is none.
func (t *Throttler) activeOutcome() *outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.run == nil {
		return nil
	}
	return t.run.outcome()
}

// drained waits, after drain, until nothing runs any more, and returns what
// Shutdown returns.
func (t *Throttler) drained(ctx context.Context, o *outcome) (err error) {
	if o != nil {
		err = t.wait(ctx, o)
	}
	// A run may still be active if what was waited for was dropped, or the
	// Throttler was closed before: its error is for others to take. Or a
	// Coalescer's run was repeated: its hooks were at work when Shutdown began.
	if rest := t.activeOutcome(); rest != nil {
		select {
		case <-rest.done:
			if o != nil && !o.dropped {
				err = rest.err
			}
		case <-ctx.Done():
			switch ended := ctx.Err(); {
			case err == nil, rest != o && !isLost(err):
				return ended
			case errors.Is(err, ended):
				return err
			default:
				// Of err nobody else hears: only the run's hooks are left, or a
				// value is lost.
				return errors.Join(ended, err)
			}
		}
	}
	return err
}

// reported waits until the error handler knows what the Throttler has lost by
// being closed, maybe in another goroutine, and returns err, or ctx.Err() if ctx
// ends first and err is nil.
func (t *Throttler) reported(ctx context.Context, err error) error {
	t.mu.Lock()
	reported := t.extras.reported
	t.mu.Unlock()
	if reported == nil {
		return err
	}
	select {
	case <-reported:
	case <-ctx.Done():
		if err == nil {
			err = ctx.Err()
		}
	}
	return err
}

// isLost reports whether err is the Coalescer's own report of a lost value.
func isLost(err error) bool {
	_, lost := err.(*LostError) //nolint:errorlint // one that a callback's error wraps is not
	return lost
}

// report hands over err, which is that of no run: of a value that was lost when
// the Throttler closed. No lock is held here.
func (t *Throttler) report(err error) {
	if t.extras.handler != nil {
		t.extras.handler(err)
		return
	}
	t.record("throttle: value lost", err)
}
