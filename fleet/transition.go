package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
	"github.com/throttle-go/throttle/internal/backoff"
)

// This file contains the transitions of a Throttler. Each one changes the state under the
// lock and ends with settle. Only settle sends messages, plans runs and arms the timer: it
// does what the replica wants next. So no transition can forget to, and a timer that fires
// early or late is harmless.

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
	t.armLocked(now, min(t.advanceLocked(now), t.planLocalLocked(now)))
	if t.drained != nil && t.isDrainedLocked() {
		close(t.drained)
		t.drained = nil
	}
	t.mu.Unlock()
	if lose != nil {
		lose(t.named(ErrLeaseLost))
	}
}

// keepLeaseLocked renews the active run's lease when it is time to. If it is too late for
// that, it returns the function that cancels the run's context.
//
// +checklocks:t.mu
func (t *Throttler) keepLeaseLocked(now time.Duration) (lose context.CancelCauseFunc) {
	switch step, _ := t.replica.Next(now); step {
	case replica.Renew:
		token, timeout := t.replica.SendRenew(now), max(t.replica.Rules.Lease/3, firstTimeout)
		t.spawnLocked(func() { t.renew(now, token, timeout) })
	case replica.Lose:
		t.replica.Lose()
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

// advanceLocked sends the message that the replica wants to send, and returns the instant
// until which there is nothing else to do.
//
// +checklocks:t.mu
func (t *Throttler) advanceLocked(now time.Duration) (until time.Duration) {
	step, until := t.replica.Next(now)
	m := &t.message
	switch {
	case m.sending, m.step == replica.Wait && !t.allowsLocked(step):
		return until
	case now < t.outage.retryAt:
		return min(until, t.outage.retryAt)
	case m.step == replica.Wait:
		t.composeLocked(now, step)
	}
	m.sending = true
	sent := *m
	t.spawnLocked(func() { t.send(sent) })
	_, until = t.replica.Next(now)
	return until
}

// allowsLocked reports whether the throttler may take the step in its phase.
//
// +checklocks:t.mu
func (t *Throttler) allowsLocked(step replica.Step) bool {
	switch step {
	case replica.Finish:
		return true
	case replica.Claim:
		return t.phase == open || t.phase == draining && t.replica.Dirty()
	case replica.Wait, replica.Renew, replica.Lose:
	}
	return false
}

// composeLocked makes the message for a step.
//
// +checklocks:t.mu
func (t *Throttler) composeLocked(now time.Duration, step replica.Step) {
	m := message{step: step, since: now, timeout: firstTimeout}
	if step == replica.Claim {
		if last := t.engine.base().clock(); last.store != 0 {
			t.replica.EstimateClock(last.at.Sub(t.origin), last.store)
		}
		t.claims++
		m.claim = t.replica.SendClaim(now, t.session+"-"+strconv.FormatUint(t.claims, 36))
		m.timeout = max(m.timeout, t.replica.Rules.Guard)
	} else {
		m.finish = t.replica.SendFinish()
	}
	t.message = m
}

// planLocalLocked starts a run without a grant if the store cannot be reached and RunLocal
// allows it. It returns when to try again.
//
// +checklocks:t.mu
func (t *Throttler) planLocalLocked(now time.Duration) (until time.Duration) {
	if !t.config.local || !errors.Is(t.outage.err, ErrEngineUnavailable) {
		return replica.Never
	}
	planned, until := t.replica.PlanLocal(now)
	if planned {
		t.runner.Call()
	}
	return until
}

// armLocked makes the timer call settle at until.
//
// +checklocks:t.mu
func (t *Throttler) armLocked(now, until time.Duration) {
	switch {
	case until == replica.Never && t.timer == nil:
	case until == replica.Never:
		t.timer.Stop()
	case t.timer == nil:
		t.timer = time.AfterFunc(until-now, func() { t.settle(t.lock()) })
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

// spawnLocked runs f in a goroutine. Shutdown waits for it.
//
// +checklocks:t.mu
func (t *Throttler) spawnLocked(f func()) {
	t.active++
	go func() {
		f()
		now := t.lock()
		defer t.settle(now)
		t.active--
	}()
}

// claimAnswered takes the reply to the claim that is out, and returns the errors to report.
func (t *Throttler) claimAnswered(reply machine.Reply) (reports []error) {
	t.engine.base().observe(reply.Now)
	now := t.lock()
	defer t.settle(now)
	t.message, t.outage = message{}, outage{}
	start, settled := t.replica.Answer(now, reply)
	t.settleWaitsLocked(settled)
	switch {
	case start && t.phase == closed:
		t.replica.GiveBack()
	case start:
		t.runner.Call()
	case reply.Verdict == machine.Granted, t.replica.Misses() == maxMisses:
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

// finishAnswered takes the reply to the finish that is out, and returns the errors to
// report.
func (t *Throttler) finishAnswered(sent machine.Finish, reply machine.Finished) (reports []error) {
	t.engine.base().observe(reply.Now)
	now := t.lock()
	defer t.settle(now)
	// A finish that was sent more than once is stale if an earlier copy took effect.
	if reply.Stale && sent.Ran && t.outage.row == 0 {
		reports = append(reports, t.named(ErrLeaseLost))
	}
	t.message, t.outage = message{}, outage{}
	t.replica.Finished(now, reply)
	return reports
}

// attemptFailed records that an attempt to send the message that is out failed with err. It
// returns the errors to report.
func (t *Throttler) attemptFailed(op string, err error) (reports []error) {
	now := t.lock()
	defer t.settle(now)
	t.message.sending, t.message.timeout = false, laterTimeout
	o := &t.outage
	o.row++
	o.err = &EngineError{Op: op, Key: t.key, Err: err}
	first := min(firstPause, t.replica.Rules.Guard/4) // short, so that a grant whose reply was lost can still be used
	o.retryAt = now + backoff.Delay(first, longestPause, 0.5, o.row, rand.Float64())
	if o.row == 1 && t.phase != closed {
		reports = append(reports, o.err)
	}
	return reports
}

// retrySoon schedules the next attempt at a random instant soon, because the store can be
// reached again.
func (t *Throttler) retrySoon() {
	now := t.lock()
	defer t.settle(now)
	t.outage.retryAt = min(t.outage.retryAt, now+rand.N(retrySpread))
}

// noticeDue handles the notice, from the index, that the key is due.
func (t *Throttler) noticeDue() {
	now := t.lock()
	defer t.settle(now)
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

// begin begins r, unless its grant is too late, and reports whether it did. It is the last
// thing before the callback. The run covers all calls made up to now.
func (t *Throttler) begin(r *run) bool {
	now := t.lock()
	defer t.settle(now)
	switch token, failures, begun := t.replica.Begin(now); {
	case begun:
		r.token, r.failures = token, failures
	case t.replica.BeginLocal(now):
	default:
		t.late++
		return false
	}
	r.waits, t.waits = t.waits, nil
	t.run = r
	return true
}

// end ends the active run, which seen describes, and returns it. It returns nil if no run is
// active.
func (t *Throttler) end(seen throttle.Run) *run {
	now := t.lock()
	defer t.settle(now)
	r := t.run
	if r == nil {
		return nil
	}
	t.run = nil
	for _, w := range r.waits {
		w.decided, w.err = true, seen.Err
	}
	f := t.finishLocked(r, seen)
	switch lost := seen.Err != nil && (t.phase == closed || t.replica.Lost()); {
	case r.token == 0:
		t.replica.EndLocal(now, f.Again)
	case lost:
		t.replica.GiveBack() // the callback was interrupted; another run does its work
	default:
		t.replica.End(f)
	}
	if t.phase == draining {
		r.drained, t.drainedErr = true, seen.Err
	}
	return r
}

// finishLocked returns the finish that the store receives for r.
//
// +checklocks:t.mu
func (t *Throttler) finishLocked(r *run, seen throttle.Run) machine.Finish {
	f := machine.Finish{Outcome: outcome(seen.Err)}
	b := t.policy.Retry
	var again *throttle.RetryError
	switch {
	case seen.Err == nil:
	case seen.Result == throttle.ResultRetryIn && errors.As(seen.Err, &again):
		f.Again, f.Delay, f.Failures = true, max(0, again.In), r.failures
	case b.Initial > 0:
		f.Failures = r.failures + 1
		f.Delay = backoff.Delay(b.Initial, b.Max, b.Jitter, f.Failures, rand.Float64())
		f.Again = b.MaxAttempts == 0 || f.Failures < b.MaxAttempts
		if !f.Again {
			f.Failures = 0
		}
	}
	f.Delay = min(f.Delay, machine.MaxSpan)
	if r.canceled {
		f.Again, f.Failures = false, 0
	}
	return f
}

// close closes the throttler. If cause is not nil, the parent context has ended with it.
func (t *Throttler) close(cause error) {
	unwatch := t.closeState(cause)
	_ = t.runner.Close() // always nil
	if unwatch != nil {
		unwatch()
	}
	t.engine.base().leave(t)
}

// closeState makes the transition to closed, and returns the function that stops watching the
// parent context, the first time only.
func (t *Throttler) closeState(cause error) (unwatch func() bool) {
	now := t.lock()
	defer t.settle(now)
	if t.phase == closed {
		return nil
	}
	t.phase, t.closedAt = closed, now
	err := t.named(throttle.ErrClosed)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	t.replica.Cancel()
	t.replica.Stop()
	t.endWaitsLocked(len(t.waits), err)
	return t.unwatch
}

// A wait is a Do that waits for its run.
type wait struct {
	call uint64
	done chan struct{}

	// Guarded by the Throttler's mu until done is closed. After err is decided, done stays
	// open until the run's hooks have returned.
	decided bool
	err     error
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
