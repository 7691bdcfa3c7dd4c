package fleet

import (
	"math/rand/v2"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// claimAnswered takes the reply to the claim that is out.
func (t *Throttler) claimAnswered(reply machine.Reply) {
	t.engine.base().observe(reply.Now)
	for _, err := range t.takeClaimReply(reply) {
		t.report(err)
	}
}

// takeClaimReply is the transition of claimAnswered. It returns the errors to report.
func (t *Throttler) takeClaimReply(reply machine.Reply) (reports []error) {
	now := t.lock()
	defer t.settle(now)
	t.message, t.outage = message{}, outage{}
	t.countLocked(reply.Verdict)
	start, settled := t.replica.Answer(now, reply)
	if t.group != nil {
		t.group.saw(t.replica.Seen())
	}
	t.settleWaitsLocked(settled)
	switch {
	case start && t.phase == closed:
		t.replica.GiveBack()
	case start:
		t.startLocked()
	case reply.Verdict == machine.Granted:
		t.counts.Late++
		reports = append(reports, t.named(ErrLate))
	case t.replica.Misses() == maxMisses:
		reports = append(reports, t.named(ErrLate))
	}
	if own := t.replica.Rules.Policy; reply.Policy == own || reply.Policy == "" {
		t.mismatch = ""
	} else if reply.Policy != t.mismatch {
		t.mismatch = reply.Policy
		reports = append(reports, &MismatchError{Key: t.key, Own: own, Other: reply.Policy})
	}
	return reports
}

// maxMisses is how many polls in a row must be answered "due now" without a grant before the
// throttler reports that the store answers too slowly.
const maxMisses = 3

// countLocked counts the answer to a claim.
//
// +checklocks:t.mu
func (t *Throttler) countLocked(v machine.Verdict) {
	switch v {
	case machine.Served:
		t.counts.Served++
	case machine.Granted:
		t.counts.Granted++
	case machine.Deferred:
		t.counts.Deferred++
	}
}

// finishAnswered takes the reply to the finish that is out.
func (t *Throttler) finishAnswered(sent machine.Finish, reply machine.Finished) {
	t.engine.base().observe(reply.Now)
	if t.takeFinishReply(sent, reply) {
		t.report(t.named(ErrLeaseLost))
	}
}

// takeFinishReply is the transition of finishAnswered. It reports whether the run had lost
// its lease.
func (t *Throttler) takeFinishReply(sent machine.Finish, reply machine.Finished) (stale bool) {
	now := t.lock()
	defer t.settle(now)
	// A finish that was sent more than once is stale if an earlier copy took effect.
	stale = reply.Stale && sent.Ran && t.outage.row == 0
	if stale && !t.replica.Lost() {
		t.counts.LostLeases++
	}
	t.message, t.outage = message{}, outage{}
	t.replica.Finished(now, reply)
	return stale
}

// attemptFailed records that an attempt to send the message that is out has failed. If the
// store cannot be reached, nobody tries again before until.
func (t *Throttler) attemptFailed(failed *EngineError, until time.Time) {
	if t.retryLater(failed, until) {
		t.report(failed)
	}
}

// retryLater is the transition of attemptFailed. It reports whether the error is the first in
// a row.
func (t *Throttler) retryLater(failed *EngineError, until time.Time) (first bool) {
	now := t.lock()
	defer t.settle(now)
	t.message.sending, t.message.timeout = false, laterTimeout
	t.counts.Failed++
	t.outage.row++
	t.outage.err = failed
	if until.IsZero() {
		t.outage.retryAt = now + pause(t.message.attempt.pause, t.outage.row)
	} else {
		t.outage.retryAt = until.Sub(t.origin)
	}
	return t.outage.row == 1 && t.phase != closed
}

// retrySoon schedules the next attempt at a random instant soon, because the store can be
// reached again.
func (t *Throttler) retrySoon() {
	now := t.lock()
	defer t.settle(now)
	t.outage.retryAt = min(t.outage.retryAt, now+rand.N(retrySpread))
}

// noticeDue handles the notice, from the index, that the key was due at at. A later reply
// knows better.
func (t *Throttler) noticeDue(at machine.Time) {
	now := t.lock()
	defer t.settle(now)
	if at > t.replica.Heard() {
		t.pollLocked(now)
	}
}

// noticeStep handles the notice that the store's clock has been set back.
func (t *Throttler) noticeStep() {
	now := t.lock()
	defer t.settle(now)
	t.pollLocked(now)
}

// pollLocked makes the replica poll soon, because a run is probably due.
//
// +checklocks:t.mu
func (t *Throttler) pollLocked(now time.Duration) {
	if t.replica.Pending() {
		t.replica.SchedulePoll(now)
	} else {
		t.standByLocked(now)
	}
}

// standByLocked makes a replica without calls poll for the calls of other replicas. It polls
// after a random delay, because replicas with calls poll at once and usually make this poll
// needless.
//
// +checklocks:t.mu
func (t *Throttler) standByLocked(now time.Duration) {
	t.replica.SchedulePoll(now + rand.N(t.replica.Rules.Guard))
}

// noticeWake handles the notice that a run of another replica has ended, or that a call was
// made by other means than a claim.
func (t *Throttler) noticeWake(w machine.Wake) {
	now := t.lock()
	defer t.settle(now)
	switch {
	case !t.replica.Pending():
		if w.Poll == 0 { // perhaps no replica has calls
			t.standByLocked(now)
		}
	case len(t.waits) > 0: // the run that has ended may have covered them
		t.replica.SchedulePoll(now)
	default:
		t.replica.SchedulePoll(now + max(w.Poll, 0))
	}
}
