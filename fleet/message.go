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
	sending bool          // a goroutine is making an attempt
}

// An outage records how many attempts to reach the engine have failed since the last one
// that was answered.
type outage struct {
	err     error         // of the last attempt; nil if that was answered
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

// send makes one attempt to send m.
func (t *Throttler) send(m message) {
	var reports []error
	ctx, cancel := t.context(m.timeout)
	defer cancel()
	if m.step == replica.Claim {
		if reply, err := t.engine.Claim(ctx, t.key, m.claim); err != nil {
			reports = t.attemptFailed("claim", err)
		} else {
			reports = t.claimAnswered(reply)
		}
	} else {
		if reply, err := t.engine.Finish(ctx, t.key, m.finish); err != nil {
			reports = t.attemptFailed("finish", err)
		} else {
			reports = t.finishAnswered(m.finish, reply)
		}
	}
	for _, err := range reports {
		t.report(err)
	}
}

// renew makes one attempt to renew the lease of token's grant. If no attempt succeeds in
// time, the run loses its lease.
func (t *Throttler) renew(sent time.Duration, token int64, timeout time.Duration) {
	ctx, cancel := t.context(timeout)
	defer cancel()
	held, err := t.engine.Renew(ctx, t.key, token)
	if err != nil {
		return
	}
	now := t.lock()
	defer t.settle(now)
	t.replica.Renewed(sent, token, held)
}
