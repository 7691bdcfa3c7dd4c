package fleet

import (
	"context"
	"errors"
	"slices"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// A wait is a Do that waits for its run.
type wait struct {
	call uint64
	done chan struct{}

	// Guarded by the Throttler's mu until done is closed. After err is decided, done stays
	// open until the run's hooks have returned.
	decided bool
	err     error
}

// ask makes the call of a Do, and returns the wait for its run.
func (t *Throttler) ask(ctx context.Context) (*wait, error) {
	ended := ctx.Err()
	now := t.lock()
	defer t.settle(now)
	switch {
	case t.isOwnLocked(ctx):
		return nil, t.named(throttle.ErrReentrant)
	case t.phase != open:
		return nil, t.named(throttle.ErrClosed)
	case ended != nil:
		return nil, ended
	}
	w := &wait{call: t.replica.Call(now), done: make(chan struct{})}
	t.waits = append(t.waits, w)
	return w, nil
}

// await waits until the run is over that covers w's call.
func (t *Throttler) await(ctx context.Context, w *wait) error {
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return t.stopWaiting(ctx, w)
	}
}

// settleWaitsLocked ends the waits whose calls were covered by a run of another replica.
//
// +checklocks:t.mu
func (t *Throttler) settleWaitsLocked(settled []replica.Settlement) {
	for _, s := range settled {
		var err error
		switch {
		case !s.Known:
			err = t.named(ErrOutcomeUnknown)
		case s.Outcome.Failed:
			err = &RemoteError{Token: s.Token, Message: s.Outcome.Message}
		}
		n := 0
		for n < len(t.waits) && t.waits[n].call <= s.Through {
			n++
		}
		t.endWaitsLocked(n, err)
	}
}

// endWaitsLocked ends the first n waits whose run has not begun, with err.
//
// +checklocks:t.mu
func (t *Throttler) endWaitsLocked(n int, err error) {
	for _, w := range t.waits[:n] {
		w.decided, w.err = true, err
		close(w.done)
	}
	t.waits = slices.Delete(t.waits, 0, n)
}

// stopWaiting removes w, because its ctx has ended, and returns the error of its Do. If w's
// outcome is already decided, that is the error, because nobody else would receive it.
func (t *Throttler) stopWaiting(ctx context.Context, w *wait) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.decided {
		return w.err
	}
	isIt := func(other *wait) bool { return other == w }
	t.waits = slices.DeleteFunc(t.waits, isIt)
	if t.run != nil {
		t.run.waits = slices.DeleteFunc(t.run.waits, isIt)
	}
	return t.interruptedLocked(ctx)
}

// interruptedLocked returns the error of a wait whose ctx has ended.
//
// +checklocks:t.mu
func (t *Throttler) interruptedLocked(ctx context.Context) error {
	if t.outage.err != nil {
		return errors.Join(ctx.Err(), t.outage.err)
	}
	return ctx.Err()
}

// isOwnLocked reports whether ctx is the active run's context or derives from it.
//
// +checklocks:t.mu
func (t *Throttler) isOwnLocked(ctx context.Context) bool {
	own, _ := ctx.Value(runKey{}).(*run)
	return own != nil && own == t.run
}
