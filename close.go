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
		rare := t.rareLocked()
		rare.reported = append(rare.reported, reported)
	}
	return func() {
		if reported != nil {
			defer close(reported)
		}
		defer t.reportLost(unclaimed) // last, because the handler may panic or end the goroutine
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
	if h := t.holder(); h != nil {
		h.refuse()
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
	return append(unclaimed, t.dropLocked(why, true)...)
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
	waits, err := t.drain(own, ended)
	if err != nil {
		return err
	}
	var errs []error
	for i := range waits {
		failed, ctxErr := waits[i].await(ctx)
		errs, ended = appendError(errs, failed), cmp.Or(ended, ctxErr)
	}
	t.close(nil)
	for _, w := range waits {
		errs = appendError(errs, w.left())
	}
	return t.awaitReported(ctx, joinEnded(ended, errs))
}

// appendError appends err to errs, unless it is nil.
func appendError(errs []error, err error) []error {
	if err == nil {
		return errs
	}
	return append(errs, err)
}

// joinEnded joins ended, the error of a context, with the errors of what ran or was
// dropped before the context ended. A single error stays as it is.
func joinEnded(ended error, errs []error) error {
	if ended != nil && !slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, ended) }) {
		errs = append([]error{ended}, errs...)
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// drain refuses calls from now on, makes what is pending due, and returns what to wait
// for. If ended is not nil, it changes nothing, and returns what Close will drop. If own
// is the active run, it returns ErrReentrant.
func (t *Throttler) drain(own *run, ended error) ([]wait, error) {
	now := t.lock()
	defer t.settle(now)
	if t.isActiveLocked(own) {
		return nil, detailed(ErrReentrant, t.config.name, nil)
	}
	return t.drainLocked(nil, now, ended != nil), nil
}

// drainLocked refuses calls from now on, makes what is pending due, and adds what to wait
// for to waits, in the order of the runs. If late, it changes nothing, because Close
// follows at once. On a closed Throttler it has only the active run to wait for.
//
// +checklocks:t.mu
func (t *Throttler) drainLocked(waits []wait, now instant, late bool) []wait {
	h := t.holder()
	switch {
	case t.history.phase == closed || late && h == nil:
		return append(waits, wait{t, nil})
	case !late:
		t.history.phase = draining
	}
	if h == nil {
		waits = append(waits, wait{t, t.flushLocked(now)})
	} else {
		if !late { // otherwise those who wait for room would find the Throttler open
			h.refuse()
			h.flushLocked(now)
		}
		switch {
		case t.run == nil:
		case t.run.decided && t.run.verdict.kept:
			waits = append(waits, wait{t, nil}) // its batch waits again, unless it was canceled since
		default:
			waits = append(waits, wait{t, t.awaitActiveLocked()})
		}
		for _, o := range h.awaitAllLocked() {
			waits = append(waits, wait{t, o})
		}
	}
	if t.paused && !late {
		_ = t.dropPausedLocked() // there is a waiter: the caller
	}
	return waits
}

// dropPausedLocked drops what is pending because the Throttler drains while it is
// paused. It returns the errors of lost values that no waiter takes.
//
// +checklocks:t.mu
func (t *Throttler) dropPausedLocked() (unclaimed []error) {
	if t.run != nil {
		t.run.canceled = true // so that it is not repeated either
	}
	return t.dropLocked(detailed(ErrClosed, t.config.name, ErrPaused), true)
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
func (d *domain) awaitReported(ctx context.Context, err error) error {
	for _, reported := range d.reported() {
		select {
		case <-reported:
		case <-ctx.Done():
			return cmp.Or(err, ctx.Err())
		}
	}
	return err
}

// reported returns the channels that are closed once the handler has got all values that
// were lost when the Throttler closed.
func (d *domain) reported() []chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rare == nil {
		return nil
	}
	return d.rare.reported
}

// isLost reports whether err itself is a *LostError. One that a callback's error
// wraps does not count.
func isLost(err error) bool {
	_, lost := err.(*LostError) //nolint:errorlint // see above
	return lost
}

// reportLost gives errs, about values that were lost when the Throttler closed, to the
// handler or the log. No lock may be held. All are reported even if the handler panics
// or ends the goroutine.
func (t *Throttler) reportLost(errs []error) {
	for _, err := range slices.Backward(errs) {
		defer func() {
			if t.config.handler != nil {
				t.config.handler(t.keyed(err))
				return
			}
			t.log("throttle: value lost", err)
		}()
	}
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
	if ended != nil && !g.config.hasValues {
		g.close(nil)
		return ended
	}
	var errs []error
	var paused error // the same for all keys
	waits := g.drain(ended != nil)
	for i := range waits {
		w := &waits[i]
		failed, ctxErr := w.await(ctx)
		switch {
		case failed == nil:
		case errors.Is(failed, ErrPaused) && !isLost(failed):
			paused = failed
		default:
			errs = append(errs, w.throttler.keyed(failed))
		}
		ended = cmp.Or(ended, ctxErr)
	}
	g.close(nil)
	for _, w := range waits {
		if lost := w.left(); lost != nil {
			errs = append(errs, w.throttler.keyed(lost))
		}
	}
	err := errors.Join(append(errs, paused, ended)...)
	for i := range g.shards {
		err = g.shards[i].awaitReported(ctx, err)
	}
	return err
}

// drain refuses calls from now on, makes what is pending due, and returns everything
// that Shutdown waits for. If late, see drainLocked.
func (g *Group[K]) drain(late bool) (waits []wait) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checkClock()
	if !late {
		for i := range g.shards {
			g.shards[i].refuse(draining, nil)
		}
	}
	for i := range g.shards {
		waits = append(waits, g.shards[i].drain(late)...)
	}
	return waits
}
