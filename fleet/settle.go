package fleet

import (
	"context"
	"time"

	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// Every transition of a Throttler changes the state under the lock and ends with settle. Only
// settle asks for turns to send messages, starts runs without a grant, and sets the timer: it
// does what the replica wants next. So no transition can forget to, and a timer that fires
// early or late is harmless. The transitions are in the files of those who make them: the
// user in throttler.go, wait.go and close.go, a turn to send in send.go, the store's answers
// and notices in answer.go, runs in run.go, and a Group in slot.go.

// now returns the current instant.
func (t *Throttler) now() time.Duration { return time.Since(t.origin) }

// lock locks mu, and returns the current instant. The caller must call settle.
//
// +checklocksacquire:t.mu
func (t *Throttler) lock() time.Duration {
	t.mu.Lock()
	return t.now()
}

// settle does everything that is due at now, and unlocks mu.
//
// +checklocksrelease:t.mu
func (t *Throttler) settle(now time.Duration) {
	lose := t.keepLeaseLocked(now)
	t.abandonLocked(now)
	freed, adopted := t.settleSlotLocked(now)
	t.setTimerLocked(now, min(
		t.advanceLocked(now), t.startLocalLocked(now), t.idleLocked(now), t.slotUntilLocked(now)))
	if t.drained != nil && t.isDrainedLocked() {
		close(t.drained)
		t.drained = nil
	}
	over := t.group != nil && t.phase == closed && t.isDrainedLocked()
	t.mu.Unlock()
	if lose != nil {
		lose(t.named(ErrLeaseLost))
	}
	if over {
		t.group.remove(t)
	}
	if freed || adopted {
		t.group.proceed(freed, adopted)
	}
}

// wake is called by the timer.
func (t *Throttler) wake() { t.settle(t.lock()) }

// keepLeaseLocked renews the active run's lease when it is time to. If it is too late for
// that, it returns the function that cancels the run's context.
//
// +checklocks:t.mu
func (t *Throttler) keepLeaseLocked(now time.Duration) (lose context.CancelCauseFunc) {
	switch step, _ := t.replica.Next(now); step {
	case replica.Renew:
		t.active++
		token, a := t.replica.SendRenew(now), t.attemptLocked()
		t.engine.base().queue.add(func() { t.renew(token, a) }, true)
	case replica.Lose:
		t.replica.Lose()
		t.counts.LostLeases++
		return t.run.cancel
	case replica.Wait, replica.Claim, replica.Finish:
	}
	return nil
}

// abandonLocked gives up the message that is out if it is useless to send it again.
//
// +checklocks:t.mu
func (t *Throttler) abandonLocked(now time.Duration) {
	stopping := t.phase == closed || t.phase == draining && !t.replica.Pending()
	switch m := &t.message; {
	case m.sending:
	case m.step == replica.Claim && (now >= m.since+resendClaim || stopping):
		t.replica.Abandon(now)
		*m = message{}
	case m.step == replica.Finish && t.phase == closed && now >= t.closedAt+finishAfterClose:
		t.replica.DropFinish()
		*m = message{}
	}
}

// advanceLocked asks for a turn to send the message that the replica wants to send, and
// returns the instant until which there is nothing else to do.
//
// +checklocks:t.mu
func (t *Throttler) advanceLocked(now time.Duration) (until time.Duration) {
	step, until := t.replica.Next(now)
	switch step = t.toSendLocked(step); {
	case step == replica.Wait:
		return until
	case now < t.outage.retryAt:
		return min(until, t.outage.retryAt)
	}
	t.askForTurnLocked(step)
	return until
}

// toSendLocked returns the step of the message that waits to be sent: the one that is out, or
// else the one for step. It returns Wait if there is none.
//
// +checklocks:t.mu
func (t *Throttler) toSendLocked(step replica.Step) replica.Step {
	switch {
	case t.message.sending:
		return replica.Wait
	case t.message.step != replica.Wait:
		return t.message.step
	case step == replica.Finish, step == replica.Claim && (t.phase == open || t.phase == draining && t.replica.Dirty()):
		return step
	default:
		return replica.Wait
	}
}

// askForTurnLocked makes the queue call takeTurn for step, unless it is about to. A finish goes
// before claims. If the throttler waits with a claim already, that turn then finds nothing to
// send.
//
// +checklocks:t.mu
func (t *Throttler) askForTurnLocked(step replica.Step) {
	wanted := turnToClaim
	if step == replica.Finish {
		wanted = turnToFinish
	}
	if t.turn < wanted {
		t.turn = wanted
		t.engine.base().queue.add(t.takeTurn, wanted == turnToFinish)
	}
}

// startLocalLocked starts a run without a grant if the store cannot be reached and RunLocal
// allows it. It returns when to try again.
//
// +checklocks:t.mu
func (t *Throttler) startLocalLocked(now time.Duration) (until time.Duration) {
	if !t.mayRunLocalLocked() {
		return replica.Never
	}
	if t.replica.PlanLocal(now) {
		t.startLocked()
		return replica.Never
	}
	if until = t.replica.LocalFrom(); until <= now {
		return replica.Never // a slot of the Group is wanting, which wakes the throttler
	}
	return until
}

// mayRunLocalLocked reports whether a call is pending, the store cannot be reached, and RunLocal
// was given.
//
// +checklocks:t.mu
func (t *Throttler) mayRunLocalLocked() bool {
	return t.config.local && t.replica.Pending() && t.engine.base().reach.isLost(t.part)
}

// idleLocked closes a throttler of a Group that is of no use any more, and returns when to ask
// again.
//
// +checklocks:t.mu
func (t *Throttler) idleLocked(now time.Duration) (until time.Duration) {
	switch {
	case t.group == nil, t.phase != open, !t.replica.Idle(now), !t.isDrainedLocked():
		return replica.Never
	case t.config.local && now < t.replica.NotBefore():
		return t.replica.NotBefore() // a new throttler would not know of the run here
	}
	t.phase, t.closedAt = closed, now
	return replica.Never
}

// setTimerLocked makes the timer wake the throttler at until.
//
// +checklocks:t.mu
func (t *Throttler) setTimerLocked(now, until time.Duration) {
	switch {
	case until == replica.Never && t.timer == nil:
	case until == replica.Never:
		t.timer.Stop()
	case t.timer == nil:
		t.timer = time.AfterFunc(until-now, t.wake)
	default:
		t.timer.Reset(until - now)
	}
}

// isDrainedLocked reports whether the store knows everything that this replica knows, and
// nothing of this replica is active.
//
// +checklocks:t.mu
func (t *Throttler) isDrainedLocked() bool {
	return t.active == 0 && t.message.step == replica.Wait && t.replica.Synced()
}
