package throttle

import (
	"context"
	"time"
)

// This file holds the transitions that callers and timers make under a Throttler's
// one mutex. A transition begins with lock and ends with settle. Those of a run's
// life are in run.go, those of the Throttler's end in close.go.
//
//	              call                    due, maybe at once
//	   ┌────────────────────────► armed ──────────────────────► running
//	   │                         │  ▲ ▲                          │ │ │  ▲
//	   │         Cancel          │  │ │   end, failed: retry     │ │ │  │
//	 idle ◄──────────────────────┘  │ └──────────────────────────┘ │ │  │
//	   ▲                            │             end              │ │  │
//	   └────────────────────────────┼──────────────────────────────┘ │  │
//	                                │                           call │  │ Cancel
//	                                │                                ▼  │
//	                                │                           running+pending
//	                                │              end               │
//	                                └────────────────────────────────┘
//
//	 any ── Shutdown ──► draining ── nothing pending, nothing running ──► closed
//	 any ── Close, or the parent context ended ─────────────────────────► closed
//
// In the fields' terms: running is run != nil; pending is a call or a failed run's
// retry, history.pending or history.retry; armed is something due later, which is
// what is pending or MaxInterval's run, and alarm != nil; draining and closed are
// history.phase. In a closed Throttler a run may still be active, and then ends.

// An alarm is what wakes a Throttler when something is due: a timer, or, once the
// instant has come and all turns are taken, a place in the queue for one.
type alarm struct {
	at    instant
	timer *time.Timer // nil in the queue
	place *place      // nil outside of it
}

// A waker is what an alarm wakes: a Throttler, or a Group's shard.
type waker interface{ wake() }

// now reads the clock. In the lock's critical section it never goes back.
func (d *domain) now() instant {
	// Negative only where a testing/synctest bubble uses a Throttler from
	// outside of it, which must not make the word's value spill into its kind.
	return instant(max(time.Since(d.base), 0))
}

// lock begins a transition: it sends all calls to the mutex, takes over what
// they have recorded in the word, and reads the clock.
//
// From here to settle the history is exact. That a start is preceded by this
// swap is what makes a lock-free call safe: all atomic operations have one total
// order, so a call that sees a run pending comes before the swap, the swap comes
// before the go statement, and that before the callback.
//
// +checklocksacquire:t.mu
func (t *Throttler) lock() instant {
	t.mu.Lock()
	return t.beginLocked()
}

// beginLocked is lock for one who has the lock already.
//
// +checklocks:t.mu
func (t *Throttler) beginLocked() instant {
	t.absorbLocked(t.word.Swap(wordLocked))
	return t.now()
}

// settle ends a transition that began at now. It alone starts runs, sets and
// stops the alarm, and opens the fast path, so that no transition can forget to;
// and as it trusts the clock alone, a stale alarm does no harm.
//
// +checklocksrelease:t.mu
func (t *Throttler) settle(now instant) {
	t.settleLocked(now, false)
	t.mu.Unlock()
}

// settleNow is settle for a transition that may have taken time.
//
// +checklocksrelease:t.mu
func (t *Throttler) settleNow() {
	t.settleLocked(t.now(), false)
	t.mu.Unlock()
}

// settleLocked is settle for one who goes on with the lock. turn tells that a turn
// is the Throttler's already; settleLocked reports whether a run was started.
//
// +checklocks:t.mu
func (t *Throttler) settleLocked(now instant, turn bool) (started bool) {
	due := never
	if t.run == nil {
		var cause Cause
		due, cause = t.history.due(t.policy)
		if due <= now && (turn || t.takeTurnLocked(due)) {
			t.startLocked(due, cause)
			due, started = never, true
		}
	}
	t.setAlarmLocked(now, due)
	t.word.Store(t.wordLocked())
	if t.extras.keeper != nil {
		t.extras.keeper.settledLocked(t, now)
	}
	return started
}

// setAlarmLocked sees to it that the Throttler wakes at due, and not at all if
// that is never.
//
// +checklocks:t.mu
func (t *Throttler) setAlarmLocked(now, due instant) {
	queued := t.alarm != nil && t.alarm.place != nil
	switch {
	case queued && due <= now:
		return
	case queued:
		t.extras.turns.leave(t.alarm.place)
		t.alarm = nil
	}
	t.alarm = t.alarm.set(t, now, due)
}

// set returns the alarm that wakes w at due, nil if that is never: a, which may be
// nil, or a new one.
func (a *alarm) set(w waker, now, due instant) *alarm {
	switch {
	case due == never:
		if a != nil {
			a.timer.Stop()
		}
		return nil
	case a == nil:
		return &alarm{at: due, timer: time.AfterFunc(due.since(now), w.wake)}
	case a.at <= now || a.at > due:
		// It has fired, or would fire too late. One that is only early stays:
		// with Quiet, resetting it at each call would cost more than waking up.
		a.at = due
		a.timer.Reset(due.since(now))
	}
	return a
}

// wake is what an alarm calls.
func (t *Throttler) wake() { t.settle(t.lock()) }

// callLocked records a call that must not wait beyond within from now, and reports
// whether a run will cover it. If not, it was dropped, or is refused as the
// Throttler is closed: who has somebody to tell asks refusalLocked.
//
// +checklocks:t.mu
func (t *Throttler) callLocked(now instant, within time.Duration) (covered bool) {
	if t.history.phase != open {
		return false
	}
	covered = t.history.call(t.policy, now, max(within, 0), t.run != nil)
	switch counting := t.extras.counting; {
	case covered && counting:
		t.pendingCalls++
	case !covered:
		t.tally.dropped++
		if counting {
			t.tally.pastCalls++
		}
	}
	return covered
}

// refusalLocked returns why a call at now was not covered: ErrClosed or a
// *ThrottledError.
//
// +checklocks:t.mu
func (t *Throttler) refusalLocked(now instant) error {
	if t.history.phase != open {
		return t.closedLocked()
	}
	h := t.history
	if t.run != nil {
		h = h.whileActive(t.policy, now, t.run.entered)
	}
	retryAfter := max(h.opens(t.policy).since(now), 0)
	return &ThrottledError{Name: t.extras.name, RetryAfter: retryAfter}
}

// takeCallsLocked returns how many calls are pending, if they are counted, and
// counts them as past.
//
// +checklocks:t.mu
func (t *Throttler) takeCallsLocked() uint64 {
	if !t.extras.counting {
		return 0
	}
	calls := t.pendingCalls
	t.tally.pastCalls += calls
	t.pendingCalls = 0
	return calls
}

// adoptLocked makes p the policy.
//
// +checklocks:t.mu
func (t *Throttler) adoptLocked(now instant, p *Policy) {
	t.history.adopt(t.policy, p, now)
	t.policy = p
}

// pendingLocked returns whether anything waits for a run.
//
// +checklocks:t.mu
func (t *Throttler) pendingLocked() bool { return t.history.pending || t.history.retry }

// cancelLocked drops what is pending and the active run's retry, and reports
// whether anything was pending.
//
// +checklocks:t.mu
func (t *Throttler) cancelLocked() bool {
	pending := t.pendingLocked()
	t.history.failures = 0
	t.dropLocked(sentinel(ErrCanceled, t.extras.name, nil))
	if t.run != nil {
		t.run.canceled = true
	}
	return pending
}

// admitLocked returns why a method that waits must not: the active run is own,
// the caller's own; the Throttler is past the last phase that admits the method;
// or the caller's context has ended.
//
// +checklocks:t.mu
func (t *Throttler) admitLocked(last phase, own *run, ended error) error {
	switch {
	case t.isActiveLocked(own):
		return sentinel(ErrReentrant, t.extras.name, nil)
	case t.history.phase > last:
		return t.closedLocked()
	default:
		return ended
	}
}

// isActiveLocked returns whether own, which may be nil, is the active run.
//
// +checklocks:t.mu
func (t *Throttler) isActiveLocked(own *run) bool { return own != nil && own == t.run }

// flushLocked makes what is pending due now, and returns what the caller then
// waits for, nil if for nothing.
//
// +checklocks:t.mu
func (t *Throttler) flushLocked(now instant) *outcome {
	if t.pendingLocked() {
		t.history.flushNow(now)
	}
	return t.awaitLocked()
}

// awaitLocked returns the outcome that covers all calls so far, which the caller
// will take: that of what is pending, else of the active run; nil if there is
// neither.
//
// +checklocks:t.mu
func (t *Throttler) awaitLocked() *outcome {
	var o *outcome
	switch {
	case t.pendingLocked():
		if t.awaited == nil {
			t.awaited = newOutcome()
		}
		o = t.awaited
	case t.run != nil:
		o = t.run.outcome()
	default:
		return nil
	}
	o.waiters++
	return o
}

// awaitCallLocked is awaitLocked for who has just made a call with ctx.
//
// +checklocks:t.mu
func (t *Throttler) awaitCallLocked(ctx context.Context) *outcome {
	o := t.awaitLocked()
	if len(t.extras.tracers) > 0 {
		if o.callers == nil {
			o.callers = new([]context.Context)
		}
		if len(*o.callers) < maxCallers {
			*o.callers = append(*o.callers, ctx)
		}
	}
	return o
}

// dropLocked drops what is pending, tells those who wait for it err, and reports
// whether there are any.
//
// +checklocks:t.mu
func (t *Throttler) dropLocked(err error) (heard bool) {
	t.history.drop()
	t.takeCallsLocked()
	o := t.awaited
	if o == nil {
		return false
	}
	t.awaited = nil
	o.decide(err)
	o.dropped = true
	close(o.done)
	return o.waiters > 0
}
