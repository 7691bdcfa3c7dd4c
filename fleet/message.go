package fleet

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the messages to the engine. At most one is out at a time, and is sent
// until it is answered; renewals go beside it, once each.

// A message is what is to be sent.
type message struct {
	step     replica.Step // Claim or Finish; Wait if there is none
	claim    machine.Claim
	finish   machine.Finish
	since    time.Duration // when it was made
	patience time.Duration // how long to wait for an answer
	flying   bool          // a goroutine is sending it
}

// A trouble is what is wrong with the engine.
type trouble struct {
	last    error         // of the last attempt; nil if that was answered
	row     int           // how many attempts in a row have failed
	retryAt time.Duration // no attempt before
}

const (
	firstPatience = time.Second           // with a message's first attempt, or the guard if that is longer
	patience      = 5 * time.Second       // with each later one
	firstPause    = 50 * time.Millisecond // after the first failed attempt
	longestPause  = 10 * time.Second
	recovery      = 200 * time.Millisecond // over which attempts are spread once the store is back
	resend        = machine.KeepIDs / 2    // how long a claim is sent again
	farewell      = 5 * time.Second        // how long a finish is after Close
)

// newSession returns what tells the claims of one throttler from all others'.
func newSession() string {
	return strconv.FormatUint(rand.Uint64(), 36)
}

// context returns that of one attempt.
func (t *Throttler) context(within time.Duration) (context.Context, context.CancelFunc) {
	// What is out when the parent ends may have been granted, or be what ends a grant.
	return context.WithTimeout(context.WithoutCancel(t.extras.parent), within)
}

// send makes one attempt to send m.
func (t *Throttler) send(m message) {
	var told []error
	ctx, cancel := t.context(m.patience)
	defer cancel()
	if m.step == replica.Claim {
		if reply, err := t.engine.Claim(ctx, t.key, m.claim); err != nil {
			told = t.failed("claim", err)
		} else {
			told = t.answered(reply)
		}
	} else {
		if reply, err := t.engine.Finish(ctx, t.key, m.finish); err != nil {
			told = t.failed("finish", err)
		} else {
			told = t.finished(m.finish, reply)
		}
	}
	for _, err := range told {
		t.tell(err)
	}
}

// renew makes one attempt to prolong the lease of token's grant. If none succeeds the run
// loses it.
func (t *Throttler) renew(sent time.Duration, token int64, within time.Duration) {
	ctx, cancel := t.context(within)
	defer cancel()
	held, err := t.engine.Renew(ctx, t.key, token)
	if err != nil {
		return
	}
	now := t.lock()
	defer t.settle(now)
	t.replica.Renewed(sent, token, held)
}
