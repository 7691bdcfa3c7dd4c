package throttle

import (
	"context"
	"time"
)

// This file holds the transitions that callers and timers make under a Throttler's
// mutex. Each begins with lock and ends with settle. The transitions of a run's
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
// The states in terms of the fields:
//   - running: run != nil.
//   - pending: a call or a failed run's retry waits, history.pending or history.retry.
//   - armed: alarm != nil, because something pending or MaxInterval's run is due later.
//   - paused: domain.paused. Nothing starts, and no alarm is set. Shutdown drops what is
//     pending.
//   - draining, closed: history.phase. A closed Throttler may still have an active run.

// An alarm wakes a Throttler when something is due. It is a timer or, once the
// instant has come and all turns are taken, a place in the queue for a turn.
type alarm struct {
	at    instant
	timer *time.Timer // nil in the queue
	place *place      // nil unless in the queue
}

// A waker is woken by an alarm: a Throttler, or a Group's shard.
type waker interface{ wake() }

// lock begins a transition: it sends all calls to the mutex, takes over what they
// have recorded in the word, and reads the clock. From here to settle the history
// is exact.
//
// +checklocksacquire:t.mu
func (t *Throttler) lock() instant {
	t.mu.Lock()
	t.absorbLocked(t.word.Swap(wordLocked)) // may stay so: that is always right, only slower
	now := t.reading()
	if !t.isOwn(now) {
		t.mu.Unlock()
		panic(foreignClock) //nolint:forbidigo // see there
	}
	return max(now, 0)
}

// beginLocked is lock for a caller that holds mu already.
//
// +checklocks:t.mu
func (t *Throttler) beginLocked() instant {
	t.absorbLocked(t.word.Swap(wordLocked))
	return t.now()
}

// settle ends a transition that began at now. It alone starts runs, sets and stops
// the alarm, and opens the fast path, so no transition can forget to. It trusts only
// the clock, so a stale alarm does no harm.
//
// +checklocksrelease:t.mu
func (t *Throttler) settle(now instant) {
	t.settleLocked(now, false)
	t.mu.Unlock()
}

// settleLocked is settle for a caller that keeps the lock. hasTurn says that the
// Throttler has a turn already. settleLocked reports whether it started a run.
//
// +checklocks:t.mu
func (t *Throttler) settleLocked(now instant, hasTurn bool) (started bool) {
	due := never
	if t.run == nil && !t.paused {
		var cause Cause
		due, cause = t.history.due(t.policy)
		if due <= now && (hasTurn || t.takeTurnLocked(due)) {
			t.startLocked(due, cause)
			due, started = never, true
		}
	}
	t.setAlarmLocked(now, due)
	t.word.Store(t.nextWordLocked())
	if h := t.holder(); h != nil {
		h.openLocked()
	}
	switch {
	case t.config.owner != nil:
		t.config.owner.settledLocked(t, now)
	case t.history.phase == closed && t.run == nil:
		t.fn = nil // whoever keeps the closed Throttler does not keep the callback's memory
	}
	return started
}

// setAlarmLocked makes the Throttler wake at due, or not at all if due is never.
//
// +checklocks:t.mu
func (t *Throttler) setAlarmLocked(now, due instant) {
	queued := t.alarm != nil && t.alarm.place != nil
	switch {
	case queued && due <= now:
		return
	case queued:
		t.config.turns.leave(t.alarm.place)
		t.alarm = nil
	}
	t.alarm = t.alarm.set(t, now, due)
}

// set returns the alarm that wakes w at due: a itself, which may be nil, or a new
// one. It returns nil if due is never.
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
		// The alarm has fired, or would fire too late. One that is merely early
		// stays: with Quiet, a reset at each call would cost more than waking up.
		// (Mutants: at a.at == due a reset would change nothing.)
		a.at = due
		a.timer.Reset(due.since(now))
	}
	return a
}

// wake is called by an alarm.
func (t *Throttler) wake() { t.settle(t.lock()) }

// callLocked records a call that must not wait longer than within from now, and
// reports whether a run will cover it. If not, the call was dropped, or the
// Throttler is closed and refuses it; refusalLocked gives the reason.
//
// +checklocks:t.mu
func (t *Throttler) callLocked(now instant, within time.Duration) (covered bool) {
	if t.history.phase != open {
		return false
	}
	covered = t.history.call(t.policy, now, max(within, 0), t.run != nil)
	switch {
	case !covered:
		t.dropped.Add(1)
	case t.config.counting:
		t.rareLocked().calls++
		t.pendingCalls++
	}
	return covered
}

// refusalLocked returns the reason why a call at now was not covered: ErrClosed or
// a *ThrottledError.
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
	return &ThrottledError{Name: t.config.name, RetryAfter: retryAfter}
}

// takeCallsLocked returns the number of pending calls, if they are counted, and sets it
// to 0.
//
// +checklocks:t.mu
func (t *Throttler) takeCallsLocked() uint64 {
	calls := t.pendingCalls
	t.pendingCalls = 0
	return calls
}

// adoptLocked makes p the policy.
//
// +checklocks:t.mu
func (t *Throttler) adoptLocked(now instant, p *Policy) {
	previous := t.policy
	t.history.adopt(previous, p, now)
	t.policy = p
	if h := t.holder(); h != nil {
		h.adoptLocked(now, previous)
	}
}

// pendingLocked returns whether anything waits for a run.
//
// +checklocks:t.mu
func (t *Throttler) pendingLocked() bool {
	if h := t.holder(); h != nil {
		batches, _ := h.waitingLocked()
		return batches > 0
	}
	return t.history.pending || t.history.retry
}

// cancelLocked drops what is pending and the active run's retry, and reports
// whether anything was pending.
//
// +checklocks:t.mu
func (t *Throttler) cancelLocked() bool {
	pending := t.pendingLocked()
	t.history.failures = 0
	_ = t.dropLocked(detailed(ErrCanceled, t.config.name, nil), false)
	if t.run != nil {
		t.run.canceled = true
	}
	return pending
}

// dropLocked drops what is pending, and gives why to all waiters. If values are lost by
// that, their waiters get a *LostError, and dropLocked returns those that nobody waits
// for.
//
// +checklocks:t.mu
func (t *Throttler) dropLocked(why error, lost bool) (unclaimed []error) {
	if h := t.holder(); h != nil {
		return h.dropAllLocked(why, lost)
	}
	t.history.drop()
	t.takeCallsLocked()
	t.awaited.drop(why)
	t.awaited = nil
	return nil
}

// pauseLocked lets no run start from now on. It returns the errors of lost values that
// no waiter takes.
//
// +checklocks:t.mu
func (t *Throttler) pauseLocked() (unclaimed []error) {
	t.paused = true
	if t.history.phase == draining {
		return t.dropPausedLocked()
	}
	return nil
}

// admitLocked returns the reason why a method must not wait, nil if it may: own,
// the run that its context belongs to, is the active run; the Throttler is past
// last, the last phase in which the method works; or its context has ended.
//
// +checklocks:t.mu
func (t *Throttler) admitLocked(last phase, own *run, ended error) error {
	switch {
	case t.isActiveLocked(own):
		return detailed(ErrReentrant, t.config.name, nil)
	case t.history.phase > last:
		return t.closedLocked()
	default:
		return ended
	}
}

// isActiveLocked returns whether r, which may be nil, is the active run.
//
// +checklocks:t.mu
func (t *Throttler) isActiveLocked(r *run) bool { return r != nil && r == t.run }

// flushLocked makes what is pending due now, and returns the outcome that the
// caller waits for; nil if none.
//
// +checklocks:t.mu
func (t *Throttler) flushLocked(now instant) *outcome {
	switch h := t.holder(); {
	case h != nil:
		h.flushLocked(now)
	case t.pendingLocked():
		t.history.flushNow(now)
	}
	return t.awaitLocked()
}

// awaitLocked adds a waiter to the outcome that covers all calls so far, and
// returns that: the outcome of what is pending, otherwise of the active run. It
// returns nil if there is neither.
//
// +checklocks:t.mu
func (t *Throttler) awaitLocked() *outcome {
	if !t.pendingLocked() {
		return t.awaitActiveLocked()
	}
	if h := t.holder(); h != nil {
		return h.awaitNewestLocked()
	}
	if t.awaited == nil {
		t.awaited = newOutcome()
	}
	t.awaited.waiters++
	return t.awaited
}

// awaitActiveLocked adds a waiter to the outcome of the active run, and returns that;
// nil if none is active.
//
// +checklocks:t.mu
func (t *Throttler) awaitActiveLocked() *outcome {
	if t.run == nil {
		return nil
	}
	o := t.run.outcomeLocked()
	o.waiters++
	return o
}

// awaitCallLocked is awaitLocked for a Do that has just made a call with ctx.
//
// +checklocks:t.mu
func (t *Throttler) awaitCallLocked(ctx context.Context) *outcome {
	o := t.awaitLocked()
	if len(t.config.tracers) > 0 {
		if o.callers == nil {
			o.callers = new([]context.Context)
		}
		if len(*o.callers) < maxCallers {
			*o.callers = append(*o.callers, ctx)
		}
	}
	return o
}
