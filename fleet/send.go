package fleet

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
)

// A message is the claim or the finish that is out. At most one is out at a time, and the
// throttler sends it until it is answered. Renewals go beside it, and are sent once each.
type message struct {
	step    replica.Step // Claim or Finish; Wait if no message is out
	claim   machine.Claim
	finish  machine.Finish
	since   time.Duration // when it was made
	timeout time.Duration // how long the next attempt may take
	sending bool          // an attempt is being made
	attempt attempt       // the latest
}

// An outage records how many attempts of one throttler have failed since the last one that
// was answered.
type outage struct {
	err     error         // of the last attempt, or why none is made; nil if that was answered
	row     int           // how many attempts in a row have failed
	retryAt time.Duration // no attempt before this instant
}

const (
	firstTimeout     = time.Second           // of a message's first attempt, or the guard if that is longer
	laterTimeout     = 5 * time.Second       // of each later attempt
	firstPause       = 50 * time.Millisecond // after the first failed attempt
	longestPause     = 10 * time.Second
	retrySpread      = 200 * time.Millisecond // replicas spread their attempts over this time once the store is back
	resendClaim      = machine.KeepIDs / 2    // how long a claim is sent again
	finishAfterClose = 5 * time.Second        // how long a finish is sent again after Close
)

// The turns that a throttler can wait for, the more urgent one last.
type turnKind uint8

const (
	noTurn turnKind = iota
	turnToClaim
	turnToFinish
)

// newSession returns a random text that distinguishes the claims of one throttler from
// those of all others.
func newSession() string {
	return strconv.FormatUint(rand.Uint64(), 36)
}

// context returns the context of one attempt.
func (t *Throttler) context(timeout time.Duration) (context.Context, context.CancelFunc) {
	// The end of the parent must not interrupt an attempt: a claim may have been granted,
	// and a finish ends a grant.
	return context.WithTimeout(context.WithoutCancel(t.config.parent), timeout)
}

// takeTurn is the throttler's turn to send. It composes the message only now: a claim says
// how late its grant may come.
func (t *Throttler) takeTurn() {
	if m, ok := t.beginAttempt(); ok {
		t.send(m)
		t.endAttempt()
	}
}

// beginAttempt returns the message to send. It reports false if there is none any more, or
// if the store cannot be reached and another throttler finds out whether it is back.
func (t *Throttler) beginAttempt() (m message, ok bool) {
	now := t.lock()
	defer t.settle(now)
	t.turn = noTurn
	step, _ := t.replica.Next(now)
	if step = t.toSendLocked(step); step == replica.Wait || now < t.outage.retryAt {
		return message{}, false
	}
	a := t.attemptLocked()
	a.began = t.origin.Add(now)
	if wait, why := t.engine.base().reach.begin(&a); why != nil {
		t.outage.err = t.failed(step, why)
		t.outage.retryAt = now + wait + rand.N(retrySpread)
		return message{}, false
	}
	if t.message.step == replica.Wait {
		t.composeLocked(now, step)
	}
	t.message.sending, t.message.attempt = true, a
	t.active++
	return t.message, true
}

// attemptLocked returns an attempt that has not begun. The pause after it is short, so that a
// grant whose reply was lost can still be used.
//
// +checklocks:t.mu
func (t *Throttler) attemptLocked() attempt {
	return attempt{part: t.part, pause: t.replica.Rules.Guard / 4}
}

// endAttempt comes after everything that follows from an attempt.
func (t *Throttler) endAttempt() {
	now := t.lock()
	defer t.settle(now)
	t.active--
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

// failed returns the error of a message for step that failed with err.
func (t *Throttler) failed(step replica.Step, err error) *EngineError {
	op := "claim"
	if step == replica.Finish {
		op = "finish"
	}
	return &EngineError{Op: op, Key: t.key, Err: err}
}

// send makes one attempt to send m, and takes the answer.
func (t *Throttler) send(m message) {
	ctx, cancel := t.context(m.timeout)
	defer cancel()
	if m.step == replica.Claim {
		reply, err := t.engine.Claim(ctx, t.key, m.claim)
		if t.isAnswered(m, err) {
			t.claimAnswered(reply)
		}
		return
	}
	reply, err := t.engine.Finish(ctx, t.key, m.finish)
	if t.isAnswered(m, err) {
		t.finishAnswered(m.finish, reply)
	}
}

// isAnswered reports whether the attempt to send m has succeeded. If not, it takes the error.
func (t *Throttler) isAnswered(m message, err error) bool {
	until := t.heard(m.attempt, err)
	if err != nil {
		t.attemptFailed(t.failed(m.step, err), until)
	}
	return err == nil
}

// renew is the throttler's turn to renew the lease of token's grant. It makes one attempt,
// even if the store cannot be reached: there may not be time for another. If none succeeds in
// time, the run loses its lease.
func (t *Throttler) renew(token int64, a attempt) {
	defer t.endAttempt()
	sent := t.now()
	a.began = t.origin.Add(sent)
	ctx, cancel := t.context(max(t.config.lease/3, firstTimeout))
	defer cancel()
	held, err := t.engine.Renew(ctx, t.key, token)
	t.heard(a, err)
	if err != nil {
		return
	}
	now := t.lock()
	defer t.settle(now)
	t.replica.Renewed(sent, token, held)
}

// heard records what the end of an attempt says of the store, and tells the throttlers that
// this concerns. If the store cannot be reached, it returns until when nobody tries again.
func (t *Throttler) heard(a attempt, err error) (until time.Time) {
	base := t.engine.base()
	change, until := base.reach.ended(a, err, time.Now())
	switch change {
	case lost:
		base.eachIn(t.part, func(other *Throttler) {
			if other.config.local {
				other.wake() // to run without a grant
			}
		})
	case back:
		base.eachIn(t.part, (*Throttler).retrySoon)
	case noChange:
	}
	return until
}
