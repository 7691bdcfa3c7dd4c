package throttle

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// Close closes the Throttler at once: it drops what is pending and cancels the
// active run's context, but does not wait for that run. No run starts after Close;
// one that has just started may still be entering the callback. The Throttler
// ignores later calls. Close may be called several times, and always returns nil.
func (t *Throttler) Close() error {
	t.close(nil)
	return nil
}

// close closes the Throttler, or the Group that it belongs to. cause is why the
// parent context ended; nil for Close and Shutdown.
func (t *Throttler) close(cause error) {
	if t.config.owner != nil {
		t.config.owner.close(cause)
		return
	}
	now := t.lock()
	release := t.closeLocked(cause)
	t.settle(now)
	if release != nil {
		release()
	}
}

// watch closes the Throttler when the parent context ends.
func (t *Throttler) watch() {
	if unwatch := t.config.watch(t.close); unwatch != nil {
		t.mu.Lock()
		t.rareLocked().unwatch = unwatch
		t.mu.Unlock()
	}
}

// closeLocked closes the Throttler. cause is why the parent context ended; nil for
// Close and Shutdown. The caller must call release, if it is not nil, once mu is
// free: it may run foreign code.
//
// +checklocks:t.mu
func (t *Throttler) closeLocked(cause error) (release func()) {
	if t.history.phase == closed {
		return nil
	}
	t.history.phase = closed
	if cause != nil {
		t.rareLocked().cause = cause
	}
	why := t.closedLocked()
	unclaimed := t.dropAllLocked(why)
	var cancel context.CancelCauseFunc
	if t.run != nil {
		cancel = t.run.cancel
	}
	var unwatch func() bool
	if t.rare != nil {
		unwatch = t.rare.unwatch
	}
	if cancel == nil && unwatch == nil && unclaimed == nil {
		return nil
	}
	var reported chan struct{}
	if unclaimed != nil {
		reported = make(chan struct{})
		t.rareLocked().reported = reported
	}
	return func() {
		// Deferred, because the handler may panic or end the goroutine.
		if reported != nil {
			defer close(reported)
		}
		for _, err := range slices.Backward(unclaimed) {
			defer t.reportLost(err)
		}
		if cancel != nil {
			cancel(why)
		}
		if unwatch != nil {
			unwatch()
		}
	}
}

// dropAllLocked drops what is pending because the Throttler was closed, and returns
// the errors of lost values that no waiter takes.
//
// +checklocks:t.mu
func (t *Throttler) dropAllLocked(why error) (unclaimed []error) {
	if h, ok := t.fn.(valueHolder); ok {
		if taken := h.dropTakenLocked(why); taken != nil {
			o := t.run.awaited
			if o != nil {
				o.decide(taken)
			}
			if o == nil || o.waiters == 0 {
				unclaimed = append(unclaimed, taken)
			}
		}
	}
	if waiting := t.dropPendingLocked(why); waiting != nil {
		unclaimed = append(unclaimed, waiting)
	}
	return unclaimed
}

// dropPendingLocked drops what is pending because of why, and returns the error of a
// lost value that no waiter takes; nil if there is none.
//
// +checklocks:t.mu
func (t *Throttler) dropPendingLocked(why error) (unclaimed error) {
	var lost error
	if h, ok := t.fn.(valueHolder); ok {
		lost = h.dropWaitingLocked(why)
	}
	if lost == nil {
		t.dropLocked(why)
		return nil
	}
	if t.dropLocked(lost) {
		return nil
	}
	return lost
}

// closedLocked returns the Throttler's ErrClosed, with the parent's cause if that
// closed it.
//
// +checklocks:d.mu
func (d *domain) closedLocked() error {
	var cause error
	if d.rare != nil {
		cause = d.rare.cause
	}
	return detailed(ErrClosed, d.config.name, cause)
}

// Shutdown closes the Throttler gracefully. From its start the Throttler refuses
// calls. What is pending runs now, whatever the policy says; no retry and no
// periodic run starts. When the last run is over, the Throttler is closed. Shutdown
// returns the error of the last run it waited for. If Cancel or Close dropped what
// it waited for, it returns [ErrCanceled] or [ErrClosed], once no run is active.
//
// A paused Throttler starts no run for Shutdown either: what is pending is dropped, and
// Shutdown returns an error that is both ErrClosed and [ErrPaused] if that was
// anything. So does everyone who waited for it.
//
// If ctx ends first, or had ended before, Shutdown closes the Throttler as Close
// does and returns ctx.Err(). If only the run's hooks were still at work, it joins
// the run's error.
//
// On a closed Throttler, Shutdown waits for the active run and returns nil. So Close
// and then Shutdown drop what is pending, but let the active run end. Inside the
// callback, with the run's own context, Shutdown returns [ErrReentrant] and has no
// effect.
func (t *Throttler) Shutdown(ctx context.Context) error {
	own, ended := t.ownRun(ctx), ctx.Err()
	o, err := t.drain(own, ended)
	if err != nil {
		return err
	}
	var failed error
	if ended == nil {
		failed, ended = t.awaitDrained(ctx, o)
	}
	t.close(nil)
	return t.awaitReported(ctx, joinEnded(ended, failed))
}

// joinEnded joins ended, the error of a context, with failed, the error of what ran
// or was dropped before the context ended. Both may be nil.
func joinEnded(ended, failed error) error {
	switch {
	case failed == nil:
		return ended
	case ended == nil || errors.Is(failed, ended):
		return failed
	default:
		return errors.Join(ended, failed)
	}
}

// drain refuses calls from now on, makes what is pending due, and returns the
// outcome to wait for; nil if none. It does nothing if the Throttler is closed or
// ended is not nil. If own is the active run, it returns ErrReentrant.
func (t *Throttler) drain(own *run, ended error) (*outcome, error) {
	now := t.lock()
	defer t.settle(now)
	if t.isActiveLocked(own) {
		return nil, detailed(ErrReentrant, t.config.name, nil)
	}
	if ended != nil {
		return nil, nil
	}
	return t.drainLocked(now), nil
}

// drainLocked refuses calls from now on, makes what is pending due, and returns the
// outcome to wait for; nil if none. On a closed Throttler it does nothing.
//
// +checklocks:t.mu
func (t *Throttler) drainLocked(now instant) *outcome {
	if t.history.phase == closed {
		return nil
	}
	t.history.phase = draining
	o := t.flushLocked(now)
	if t.paused {
		_ = t.dropPausedLocked() // there is a waiter: the caller
	}
	return o
}

// dropPausedLocked drops what is pending because the Throttler drains while it is
// paused. It returns the error of a lost value that no waiter takes; nil if there is
// none.
//
// +checklocks:t.mu
func (t *Throttler) dropPausedLocked() (unclaimed error) {
	if t.run != nil {
		t.run.canceled = true // so that it is not repeated either
	}
	return t.dropPendingLocked(detailed(ErrClosed, t.config.name, ErrPaused))
}

// awaitDrained waits for o, the outcome that drain returned, and until nothing runs
// any more. failed is o's error. ended is ctx.Err() if ctx ended before.
func (t *Throttler) awaitDrained(ctx context.Context, o *outcome) (failed, ended error) {
	if o != nil {
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

// activeOutcome returns the outcome of the active run; nil if there is none.
func (t *Throttler) activeOutcome() *outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.run == nil {
		return nil
	}
	return t.run.outcomeLocked()
}

// awaitReported waits until the error handler has got all values that were lost when
// the Throttler closed, perhaps in another goroutine. It returns err; or ctx.Err()
// if err is nil and ctx ends first.
func (t *Throttler) awaitReported(ctx context.Context, err error) error {
	reported := t.reported()
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

// reported returns the channel that is closed once the handler has got all values that
// were lost when the Throttler closed; nil if there are none.
func (t *Throttler) reported() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rare == nil {
		return nil
	}
	return t.rare.reported
}

// isLost reports whether err itself is a *LostError. One that a callback's error
// wraps does not count.
func isLost(err error) bool {
	_, lost := err.(*LostError) //nolint:errorlint // see above
	return lost
}

// reportLost gives err, about a value that was lost when the Throttler closed, to
// the handler or the log. No lock may be held.
func (t *Throttler) reportLost(err error) {
	if t.config.handler != nil {
		t.config.handler(err)
		return
	}
	t.log("throttle: value lost", err)
}

// Close closes the Group at once, as [Throttler.Close] does for every key: it drops
// what is pending and cancels the contexts of the active runs, but does not wait for
// those. Close may be called several times, and always returns nil.
func (g *Group[K]) Close() error {
	g.close(nil)
	return nil
}

// close implements owner.
func (g *Group[K]) close(cause error) {
	for _, release := range g.closeShards(cause) {
		release()
	}
}

// closeShards closes every key. The caller must call the releases once it holds no
// lock.
func (g *Group[K]) closeShards(cause error) (releases []func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checkClock()
	if !g.closed {
		g.closed = true
		if unwatch := g.unwatch; unwatch != nil {
			releases = append(releases, func() { unwatch() })
		}
	}
	for i := range g.shards {
		g.shards[i].refuse(closed, cause)
	}
	for i := range g.shards {
		releases = append(releases, g.shards[i].closeKeys()...)
	}
	return releases
}

// watch closes the Group when the parent context ends.
func (g *Group[K]) watch() {
	if unwatch := g.config.watch(g.close); unwatch != nil {
		g.mu.Lock()
		g.unwatch = unwatch
		g.mu.Unlock()
	}
}

// Shutdown closes the Group gracefully. From its start the Group refuses calls. What
// is pending for any key runs now, whatever the policy says, as far as
// [WithMaxConcurrent] allows. When the last run is over, the Group is closed.
// Shutdown joins a [*KeyError] for each key for which [Throttler.Shutdown] would return
// an error. A paused Group drops what is pending; Shutdown says so once, by an error
// that is both ErrClosed and [ErrPaused].
//
// If ctx ends first, or had ended before, Shutdown closes the Group as Close does and
// returns ctx.Err(), joined with the errors of the runs that are over. Inside the
// callback, with the run's own context, it returns [ErrReentrant] and has no effect.
func (g *Group[K]) Shutdown(ctx context.Context) error {
	own, ended := g.ownRun(ctx), ctx.Err()
	if own != nil && own.active() {
		return detailed(ErrReentrant, g.config.name, nil)
	}
	defer g.close(nil)
	if ended != nil {
		return ended
	}
	var errs []error
	var paused error // the same for all keys
	for _, w := range g.drain() {
		failed, ctxErr := w.throttler.awaitDrained(ctx, w.outcome)
		switch {
		case failed == nil:
		case errors.Is(failed, ErrPaused):
			paused = failed
		default:
			errs = append(errs, w.throttler.keyed(failed))
		}
		ended = cmp.Or(ended, ctxErr)
	}
	return errors.Join(append(errs, paused, ended)...)
}

// drain refuses calls from now on, makes what is pending due, and returns everything
// that Shutdown waits for.
func (g *Group[K]) drain() (waits []wait) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checkClock()
	for i := range g.shards {
		g.shards[i].refuse(draining, nil)
	}
	for i := range g.shards {
		waits = append(waits, g.shards[i].drain()...)
	}
	return waits
}
