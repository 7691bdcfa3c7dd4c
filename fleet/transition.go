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

// This file holds the transitions of a Throttler. Each changes the state under the lock
// and ends with settle, which alone sends messages, plans runs and arms the timer: it does
// what the replica says is next. So no transition can forget to, and a timer that fires
// early or late is harmless.

// now returns the instant.
func (t *Throttler) now() time.Duration { return time.Since(t.origin) }

// lock locks mu, and returns the instant. The caller must settle.
//
// +checklocksacquire:t.mu
func (t *Throttler) lock() time.Duration {
	t.mu.Lock()
	return t.now()
}

// settle does all that is to be done at now, and unlocks mu.
//
// +checklocksrelease:t.mu
func (t *Throttler) settle(now time.Duration) {
	lose := t.holdLocked(now)
	t.giveUpLocked(now)
	t.armLocked(now, min(t.stepLocked(now), t.fallBackLocked(now)))
	if t.quiet != nil && t.isQuietLocked() {
		close(t.quiet)
		t.quiet = nil
	}
	t.mu.Unlock()
	if lose != nil {
		lose(t.named(ErrLeaseLost))
	}
}

// holdLocked prolongs the active run's lease if it is time for that, and returns what
// cancels the run's context if it has become too late.
//
// +checklocks:t.mu
func (t *Throttler) holdLocked(now time.Duration) (lose context.CancelCauseFunc) {
	switch step, _ := t.replica.Next(now); step {
	case replica.Renew:
		token, within := t.replica.SendRenew(now), max(t.replica.Rules.Lease/3, firstPatience)
		t.spawnLocked(func() { t.renew(now, token, within) })
	case replica.Lose:
		t.replica.Lose()
		return t.run.cancel
	case replica.Wait, replica.Claim, replica.Finish:
	}
	return nil
}

// giveUpLocked gives the message up that is out if it is no use to send it again.
//
// +checklocks:t.mu
func (t *Throttler) giveUpLocked(now time.Duration) {
	stopping := t.phase == closed || t.phase == draining && !t.replica.Pending()
	switch m := &t.message; {
	case m.flying:
	case m.step == replica.Claim && (now >= m.since+resend || stopping):
		t.replica.Abandon(now)
		*m = message{}
	case m.step == replica.Finish && t.phase == closed && now >= t.closedAt+farewell:
		t.replica.Forsake()
		*m = message{}
	}
}

// stepLocked sends what the replica wants to be sent, and returns until when there is
// nothing to do.
//
// +checklocks:t.mu
func (t *Throttler) stepLocked(now time.Duration) (until time.Duration) {
	step, until := t.replica.Next(now)
	m := &t.message
	switch {
	case m.flying, m.step == replica.Wait && !t.wantsLocked(step):
		return until
	case now < t.trouble.retryAt:
		return min(until, t.trouble.retryAt)
	case m.step == replica.Wait:
		t.composeLocked(now, step)
	}
	m.flying = true
	sent := *m
	t.spawnLocked(func() { t.send(sent) })
	_, until = t.replica.Next(now)
	return until
}

// wantsLocked reports whether a step is one to take, of a throttler that may be closed.
//
// +checklocks:t.mu
func (t *Throttler) wantsLocked(step replica.Step) bool {
	switch step {
	case replica.Finish:
		return true
	case replica.Claim:
		return t.phase == open || t.phase == draining && t.replica.Dirty()
	case replica.Wait, replica.Renew, replica.Lose:
	}
	return false
}

// composeLocked makes the message of a step.
//
// +checklocks:t.mu
func (t *Throttler) composeLocked(now time.Duration, step replica.Step) {
	m := message{step: step, since: now, patience: firstPatience}
	if step == replica.Claim {
		if last := t.engine.base().clock(); last.store != 0 {
			t.replica.Suppose(last.at.Sub(t.origin), last.store)
		}
		t.claims++
		m.claim = t.replica.SendClaim(now, t.session+"-"+strconv.FormatUint(t.claims, 36))
		m.patience = max(m.patience, t.replica.Rules.Guard)
	} else {
		m.finish = t.replica.SendFinish()
	}
	t.message = m
}

// fallBackLocked starts a run without a grant if there is reason to, and returns when to
// look again.
//
// +checklocks:t.mu
func (t *Throttler) fallBackLocked(now time.Duration) (until time.Duration) {
	if !t.extras.local || !errors.Is(t.trouble.last, ErrEngineUnavailable) {
		return replica.Never
	}
	planned, until := t.replica.PlanLocal(now)
	if planned {
		t.runner.Call()
	}
	return until
}

// armLocked has settle called at until.
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

// isQuietLocked reports whether the store knows all that this replica does, and nothing of
// it is active.
//
// +checklocks:t.mu
func (t *Throttler) isQuietLocked() bool {
	return t.active == 0 && t.message.step == replica.Wait && t.replica.Quiet()
}

// spawnLocked runs f in a goroutine, which Shutdown waits for.
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

// answered takes the reply to the claim that is out, and returns what the error handler is
// to be told.
func (t *Throttler) answered(reply machine.Reply) (told []error) {
	t.engine.base().observe(reply.Now)
	now := t.lock()
	defer t.settle(now)
	t.message, t.trouble = message{}, trouble{}
	start, settled := t.replica.Answer(now, reply)
	t.settleWaitsLocked(settled)
	switch {
	case start && t.phase == closed:
		t.replica.GiveBack()
	case start:
		t.runner.Call()
	case reply.Verdict == machine.Granted, t.replica.Vain() == vainPolls:
		told = append(told, t.named(ErrLate))
	}
	if own := t.replica.Rules.Policy; reply.Policy == own || reply.Policy == "" {
		t.mismatch = ""
	} else if reply.Policy != t.mismatch {
		t.mismatch = reply.Policy
		told = append(told, &MismatchError{Key: t.key, Own: own, Other: reply.Policy})
	}
	return told
}

// vainPolls is how many polls in a row are answered with "due now" and no grant, before
// the store is said to be too far away.
const vainPolls = 3

// finished takes the reply to the finish that is out, and returns what the error handler
// is to be told.
func (t *Throttler) finished(sent machine.Finish, reply machine.Finished) (told []error) {
	t.engine.base().observe(reply.Now)
	now := t.lock()
	defer t.settle(now)
	// A finish that was sent before is stale if that copy was taken.
	if reply.Stale && sent.Ran && t.trouble.row == 0 {
		told = append(told, t.named(ErrLeaseLost))
	}
	t.message, t.trouble = message{}, trouble{}
	t.replica.Finished(now, reply)
	return told
}

// failed takes err for the answer to the message that is out, and returns what the error
// handler is to be told.
func (t *Throttler) failed(op string, err error) (told []error) {
	now := t.lock()
	defer t.settle(now)
	t.message.flying, t.message.patience = false, patience
	d := &t.trouble
	d.row++
	d.last = &EngineError{Op: op, Key: t.key, Err: err}
	first := min(firstPause, t.replica.Rules.Guard/4) // a grant whose reply is lost can be used yet
	d.retryAt = now + backoff.Delay(first, longestPause, 0.5, d.row, rand.Float64())
	if d.row == 1 && t.phase != closed {
		told = append(told, d.last)
	}
	return told
}

// hurry makes the next attempt soon, at a random instant: the store can be reached again.
func (t *Throttler) hurry() {
	now := t.lock()
	defer t.settle(now)
	t.trouble.retryAt = min(t.trouble.retryAt, now+rand.N(recovery))
}

// due takes the index's word that the key is due.
func (t *Throttler) due() {
	now := t.lock()
	defer t.settle(now)
	if t.replica.Pending() {
		t.replica.Notice(now)
	} else {
		t.standByLocked(now)
	}
}

// standByLocked has a replica without calls poll for others'. Those with calls poll at
// once; others do so a little later each, so that they need not.
//
// +checklocks:t.mu
func (t *Throttler) standByLocked(now time.Duration) {
	t.replica.Notice(now + rand.N(t.replica.Rules.Guard))
}

// woken takes the news that a run of another replica has ended, or that a call was made
// otherwise.
func (t *Throttler) woken(w machine.Wake) {
	now := t.lock()
	defer t.settle(now)
	switch {
	case !t.replica.Pending():
		if w.Poll == 0 { // nobody else may know
			t.standByLocked(now)
		}
	case len(t.waits) > 0: // the run may have been theirs, whatever is due next
		t.replica.Notice(now)
	default:
		t.replica.Notice(now + max(w.Poll, 0))
	}
}

// begin begins r, as the last thing before the callback, if its grant is not too late
// for that. The run covers all calls made up to now.
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

// end ends the active run, if there is one, of which seen tells, and returns it.
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
		t.replica.GiveBack() // the callback did as it was told; another's will do what it left
	default:
		t.replica.End(f)
	}
	if t.phase == draining {
		r.heard, t.drained = true, seen.Err
	}
	return r
}

// finishLocked returns what the store is told of r.
//
// +checklocks:t.mu
func (t *Throttler) finishLocked(r *run, seen throttle.Run) machine.Finish {
	f := machine.Finish{Outcome: outcome(seen.Err)}
	b := t.policy.Retry
	switch again, asked := errors.AsType[*throttle.RetryError](seen.Err); {
	case seen.Err == nil:
	case asked && seen.Result == throttle.ResultRetryIn:
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

// close closes the throttler, because its parent context ended if cause is not nil.
func (t *Throttler) close(cause error) {
	unwatch := t.closeAt(cause)
	_ = t.runner.Close() // always nil
	if unwatch != nil {
		unwatch()
	}
	t.engine.base().leave(t)
}

func (t *Throttler) closeAt(cause error) (unwatch func() bool) {
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
	t.replica.Discharge()
	t.endWaitsLocked(len(t.waits), err)
	return t.unwatch
}

// A wait is what a Do call waits for.
type wait struct {
	call uint64
	done chan struct{}

	// Guarded by the Throttler's mu until done is closed, which may have to wait for the
	// run's hooks once err is decided.
	decided bool
	err     error
}

// settleWaitsLocked gives those their outcome whose calls were covered by another replica.
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

// endWaitsLocked gives err to the first n of those whose run has not begun.
//
// +checklocks:t.mu
func (t *Throttler) endWaitsLocked(n int, err error) {
	for _, w := range t.waits[:n] {
		w.decided, w.err = true, err
		close(w.done)
	}
	t.waits = slices.Delete(t.waits, 0, n)
}

// leave takes w, whose ctx has ended, from those who wait, and returns Do's error: what w
// has been given if that is decided, for nobody else hears of it.
func (t *Throttler) leave(ctx context.Context, w *wait) error {
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
	if t.trouble.last != nil {
		return errors.Join(ctx.Err(), t.trouble.last)
	}
	return ctx.Err()
}

// isOwnLocked reports whether ctx is, or comes from, the active run's.
//
// +checklocks:t.mu
func (t *Throttler) isOwnLocked(ctx context.Context) bool {
	own, _ := ctx.Value(runKey{}).(*run)
	return own != nil && own == t.run
}
