package fleet

import (
	"context"
	"fmt"

	"github.com/throttle-go/throttle"
)

// Close closes the Throttler at once. It drops this replica's calls as Cancel does, and
// cancels the active run's context, but does not wait for that run. If the callback then
// returns an error, other replicas run for the calls that it covers. Close may be called
// several times, and always returns nil.
//
// Messages to the store that are still out end on their own, within seconds.
func (t *Throttler) Close() error {
	t.close(nil)
	return nil
}

// Shutdown closes the Throttler gracefully. As soon as it begins, new calls are refused. It
// waits until the store has received the calls that it did not know of, for another replica
// to run, and until the active run and its finish are done. It does not wait for a run that
// is not due: a Do that waits for one returns [throttle.ErrClosed]. Shutdown then returns the
// error of the active run, or nil.
//
// If ctx ends first, or ended before, Shutdown closes the Throttler as Close does. It returns
// ctx.Err(), joined with an [*EngineError] if the store cannot be used. On a closed
// Throttler, Shutdown waits for what is still active and returns nil. Inside the callback,
// with the run's own context, it returns [throttle.ErrReentrant] and has no effect.
func (t *Throttler) Shutdown(ctx context.Context) error {
	if t.isOwn(ctx) {
		return t.named(throttle.ErrReentrant)
	}
	ended := ctx.Err()
	drained := t.drain()
	var err error
	if ended == nil {
		select {
		case <-drained:
			err = t.drainedError()
		case <-ctx.Done():
			ended = ctx.Err()
		}
	}
	if ended != nil {
		err = t.interrupted(ctx)
	}
	t.close(nil)
	// Here nothing is active, or ctx has ended.
	select {
	case <-t.engine.base().pollerEnded():
	case <-ctx.Done():
		if err == nil {
			err = ctx.Err()
		}
	}
	return err
}

// drain refuses calls from now on. It returns a channel that is closed once the store knows
// everything that this replica knows, and nothing of this replica is active.
func (t *Throttler) drain() <-chan struct{} {
	now := t.lock()
	defer t.settle(now)
	t.phase = max(t.phase, draining)
	if t.drained == nil {
		t.drained = make(chan struct{})
	}
	return t.drained
}

// isOwn reports whether ctx is the active run's context or derives from it.
func (t *Throttler) isOwn(ctx context.Context) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.isOwnLocked(ctx)
}

func (t *Throttler) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase == closed
}

func (t *Throttler) drainedError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.drainedErr
}

// interrupted returns the error of a wait whose ctx has ended.
func (t *Throttler) interrupted(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.interruptedLocked(ctx)
}

// close closes the throttler. If cause is not nil, the parent context has ended with it.
func (t *Throttler) close(cause error) {
	cancel, unwatch, err := t.closeState(cause)
	if cancel != nil {
		cancel(err)
	}
	if unwatch != nil {
		unwatch()
	}
	t.engine.base().leave(t)
}

// closeState makes the transition to closed. The first time, it returns the functions that
// cancel the active run's context, with err, and stop watching the parent context. Both may
// be nil.
func (t *Throttler) closeState(cause error) (cancel context.CancelCauseFunc, unwatch func() bool, err error) {
	now := t.lock()
	defer t.settle(now)
	if t.phase == closed {
		return nil, nil, nil
	}
	t.phase, t.closedAt = closed, now
	err = t.named(throttle.ErrClosed)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	t.replica.Cancel()
	t.replica.Stop()
	t.endWaitsLocked(len(t.waits), err)
	if t.run != nil {
		cancel = t.run.cancel
	}
	return cancel, t.unwatch, err
}
