// Package replica holds what one process knows of one key of a fleet's throttle, and
// decides what it does next: the client's side of package machine, and like that a
// pure state machine, with no clock, no lock, and no input or output. Package fleet
// drives it; a model check explores all it can do.
package replica

import (
	"slices"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the state of a replica, and what changes it. Instants are
// durations since some origin on the process's monotonic clock.

// Never is later than any instant.
const Never time.Duration = 1<<63 - 1

// Rules are what a replica is told about its key.
type Rules struct {
	Guard time.Duration // how long the reply to a claim may take for a grant to be used

	// For the claims. Spacing includes Guard.
	Spacing, Lease time.Duration
	Policy         string
}

// A Replica is the state. Its zero value, with Rules, has neither calls nor a run.
type Replica struct {
	Rules Rules

	calls   uint64        // how many were made
	pending bool          // a call is not known to be covered
	newest  time.Duration // when the newest call was made; of meaning while pending
	dirty   bool          // a call is not known to be registered in the store

	out       bool          // a claim is out: it was sent, and not answered yet
	claim     machine.Claim // the claim that is out
	sent      time.Duration // when that was first sent
	sentCalls uint64        // calls when it was sent
	guard     time.Duration // Rules.Guard when it was sent, as Rules may change

	holdUntil time.Duration // until then, calls join what is pending in the store
	pollAt    time.Duration
	polling   bool // a poll is due at pollAt
	vain      int  // polls in a row that were answered with "due now" and no grant

	phase    phase
	token    int64         // of the grant
	failures int           // runs in a row that failed before it
	renewAt  time.Duration // when to renew the lease
	leaseEnd time.Duration // when the lease ends for all that is known here
	lost     bool          // it has ended, and that was told
	finish   machine.Finish

	local     bool          // a run without a grant is planned or active
	notBefore time.Duration // neither such a run nor a grant comes before

	seen     int64        // highest token seen
	storeNow machine.Time // the store's time in the last reply; 0 if none came yet
	storeAt  time.Duration

	registered []registration // of calls that are not known to be covered, in order
}

// A registration says that the calls up to Through, beyond the one before, are
// covered once generation is acknowledged.
type registration struct {
	through    uint64
	generation int64
}

// A phase is where a grant stands.
type phase uint8

const (
	idle      phase = iota // there is none
	granted                // the run is to begin, and has not
	running                // the callback has been entered, and not returned
	finishing              // the store has not been told yet that it has returned, or was not entered
)

// A Settlement says that the calls up to Through, beyond those settled before, were
// covered by a run of another replica that has ended. Known is set if Token and Outcome
// are that run's.
type Settlement struct {
	Through uint64
	Known   bool
	Token   int64
	Outcome machine.Outcome
}

// Call makes a call, and returns its number.
func (r *Replica) Call(now time.Duration) uint64 {
	r.calls++
	r.pending, r.newest = true, now
	if r.out || r.phase != idle || r.local || now >= r.holdUntil {
		r.dirty = true
		return r.calls
	}
	r.register(r.calls, r.registered[len(r.registered)-1].generation)
	if !r.polling { // the calls before were forgotten while the claim was out
		r.Notice(max(r.holdUntil, r.notBefore))
	}
	return r.calls
}

// Cancel forgets the calls that were made, and reports whether any was not known to be
// covered. What the store has registered of them stays there.
func (r *Replica) Cancel() (pending bool) {
	pending = r.pending
	r.forget()
	r.sentCalls = r.calls
	return pending
}

// forget forgets all calls, as they are covered or cancelled.
func (r *Replica) forget() {
	r.pending, r.dirty, r.registered = false, false, nil
	r.holdUntil = 0
}

// Calls returns how many calls were made.
func (r *Replica) Calls() uint64 { return r.calls }

// Pending reports whether a call is not known to be covered.
func (r *Replica) Pending() bool { return r.pending }

// Dirty reports whether a call is not known to be registered.
func (r *Replica) Dirty() bool { return r.dirty }

// Quiet reports whether the store knows all that the replica does.
func (r *Replica) Quiet() bool { return r.phase == idle && !r.local && !r.out && !r.dirty }

// Lost reports whether the run's context was cancelled as its lease may be over.
func (r *Replica) Lost() bool { return r.lost }

// Vain returns how many polls in a row were answered with "due now" and no grant.
func (r *Replica) Vain() int { return r.vain }

// Due returns when the replica polls next, and false if it does not.
func (r *Replica) Due() (time.Duration, bool) { return r.pollAt, r.polling }

// A Step is what is to be done next.
type Step uint8

// The steps.
const (
	Wait   Step = iota // nothing, until an instant
	Claim              // send what SendClaim returns, until Answer or Abandon
	Finish             // send what SendFinish returns, until Finished
	Renew              // send what SendRenew returns, beside whatever is out
	Lose               // cancel the run's context, after Lose: its lease may be over
)

// Next returns the next step, and until when there is nothing to do beside it.
func (r *Replica) Next(now time.Duration) (step Step, until time.Duration) {
	if r.phase == finishing && !r.out { // else the claim's reply could tell of the time before
		return Finish, Never
	}
	until = Never
	if r.phase == running && !r.lost {
		switch {
		case now >= r.leaseEnd:
			return Lose, now
		case now >= r.renewAt:
			return Renew, now
		default:
			until = min(r.renewAt, r.leaseEnd)
		}
	}
	switch {
	case r.out, r.phase == granted, r.phase == finishing:
		return Wait, until
	case r.dirty:
		return Claim, until
	case !r.polling || r.phase == running:
		return Wait, until
	case now >= r.pollAt:
		return Claim, until
	default:
		return Wait, r.pollAt
	}
}

// SendClaim returns the claim that is out from now on, with the identifier id.
func (r *Replica) SendClaim(now time.Duration, id string) machine.Claim {
	r.claim = machine.Claim{
		ID:      id,
		New:     r.dirty,
		Age:     machine.None,
		By:      r.by(now),
		Seen:    r.seen,
		Spacing: r.Rules.Spacing,
		Lease:   r.Rules.Lease,
		Policy:  r.Rules.Policy,
	}
	if r.pending && !r.dirty {
		r.claim.Age = now - r.newest
	}
	r.out, r.sent, r.sentCalls, r.guard = true, now, r.calls, r.Rules.Guard
	r.dirty, r.polling = false, false
	return r.claim
}

// by returns until when a claim that is sent now may be granted. It is 0 if the run
// could not start then.
func (r *Replica) by(now time.Duration) machine.Time {
	if r.storeNow == 0 || r.phase != idle || r.local || now < r.notBefore {
		return 0
	}
	return r.storeNow.Add(now - r.storeAt + r.Rules.Guard)
}

// Observe tells the store's time, of a reply that has come now.
func (r *Replica) Observe(now time.Duration, store machine.Time) {
	r.storeNow, r.storeAt = store, now
}

// Suppose tells the store's time in a reply about another key, which counts until one about
// this has come: in a cluster that may be of another server's clock.
func (r *Replica) Suppose(now time.Duration, store machine.Time) {
	if r.storeNow == 0 {
		r.Observe(now, store)
	}
}

// Abandon gives the claim up that is out: whether it has reached the store is not known.
func (r *Replica) Abandon(now time.Duration) {
	r.out = false
	r.dirty = r.dirty || r.claim.New && r.pending
	r.polling, r.pollAt = r.pending, now
}

// Answer takes the reply to the claim that is out. It reports whether a run is to be
// started, which calls Begin, and what it says of calls.
func (r *Replica) Answer(now time.Duration, reply machine.Reply) (start bool, settled []Settlement) {
	r.out = false
	r.seen = max(r.seen, reply.Token, reply.Last.Token)
	r.Observe(now, reply.Now)
	forgotten := r.forgotten(reply)
	settled = r.settle(reply, forgotten)
	switch {
	case reply.Verdict == machine.Granted:
		start = r.grant(now, reply)
	case forgotten:
		r.registered, r.holdUntil, r.vain = nil, 0, 0
		r.dirty = r.pending
	case reply.Verdict == machine.Served:
		r.served()
	default:
		r.deferred(now, reply)
	}
	return start, settled
}

// forgotten reports whether reply, to a poll, shows that the store has lost what was
// registered. Whether a run has covered it since, the store can tell by its clock
// alone, which may have been stepped, so it is registered anew. If the store has as many
// generations again, one of those was taken by a run after the loss, which covers it.
func (r *Replica) forgotten(reply machine.Reply) bool {
	last := len(r.registered) - 1
	return last >= 0 && !r.claim.New && reply.Generation < r.registered[last].generation
}

// settle returns what reply says of runs that have ended.
func (r *Replica) settle(reply machine.Reply, forgotten bool) (settled []Settlement) {
	n := 0
	for n < len(r.registered) && r.registered[n].generation <= reply.Acknowledged {
		g := r.registered[n]
		known := reply.Last.From < g.generation && g.generation <= reply.Last.Through
		s := Settlement{Through: g.through, Known: known}
		if known {
			s.Token, s.Outcome = reply.Last.Token, reply.Last.Outcome
		}
		settled = append(settled, s)
		n++
	}
	r.registered = slices.Delete(r.registered, 0, n)
	if reply.Verdict == machine.Served && !forgotten && r.pending && (n == 0 || settled[n-1].Through < r.sentCalls) {
		settled = append(settled, Settlement{Through: r.sentCalls})
	}
	return settled
}

// served is for a reply by which all calls are covered that were made before the claim
// was sent.
func (r *Replica) served() {
	since := r.calls > r.sentCalls
	if !since {
		r.forget()
	}
	r.registered, r.holdUntil, r.vain = nil, 0, 0
	r.dirty = since
}

// deferred is for a reply by which calls are pending in the store.
func (r *Replica) deferred(now time.Duration, reply machine.Reply) {
	r.holdUntil = r.sent + reply.Hold
	r.dirty = r.calls > r.sentCalls && r.newest >= r.holdUntil
	through := r.calls
	if r.dirty {
		through = r.sentCalls
	}
	r.register(through, reply.Generation)

	// The claim was judged at some time between sent and now: a poll at sent+Poll would
	// come too early as often as not.
	at := r.sent + reply.Poll + min(now-r.sent, r.Rules.Guard)
	if reply.Poll > 0 {
		r.vain = 0
	} else {
		at = now + r.pause()
		r.vain++
	}
	at = max(at, r.notBefore)
	if r.pending || reply.Poll <= r.Rules.Guard {
		r.Notice(at) // or at what was noticed since the claim was sent
	}
}

// pause is how long to wait with the next poll, after one that was answered with "due
// now": nothing at first, as the store's time is known now; but if the store is
// farther away than Guard, so will the next be.
func (r *Replica) pause() time.Duration {
	if r.vain == 0 {
		return 0
	}
	return min(r.Rules.Guard<<min(r.vain-1, 10), r.Rules.Spacing)
}

// register says that calls up to through are covered once generation is.
func (r *Replica) register(through uint64, generation int64) {
	// A generation that is not the newest was given by a store which has lost its state
	// since, and has registered the calls anew.
	for len(r.registered) > 0 && r.registered[len(r.registered)-1].generation >= generation {
		r.registered = r.registered[:len(r.registered)-1]
	}
	r.registered = append(r.registered, registration{through, generation})
}

// grant is for a reply that grants a run, and reports whether it is accepted.
func (r *Replica) grant(now time.Duration, reply machine.Reply) bool {
	if r.phase != idle {
		return false // none was asked for; its lease will end
	}
	r.holdUntil, r.vain = 0, 0
	r.register(r.sentCalls, reply.Generation)
	r.phase, r.token, r.failures = granted, reply.Token, reply.Failures
	if r.local || now < r.notBefore || r.late(now) {
		r.GiveBack()
		return false
	}
	return true
}

// late reports whether a run whose claim is answered may not start any more.
func (r *Replica) late(now time.Duration) bool { return now-r.sent > r.guard }

// Discharge ends what is planned and has not begun: no more claims are sent.
func (r *Replica) Discharge() {
	r.local, r.polling = false, false
	if r.phase == granted {
		r.GiveBack()
	}
}

// Forsake gives the finish up that is to be sent. Its lease will end.
func (r *Replica) Forsake() { r.phase = idle }

// GiveBack ends a grant whose run has not begun, or was broken off: what it took is
// pending again.
func (r *Replica) GiveBack() {
	r.phase, r.finish = finishing, machine.Finish{Token: r.token}
}

// Begin begins the run that was granted, if it is not too late for that, as the last
// thing before the callback. The run covers all calls made up to now.
func (r *Replica) Begin(now time.Duration) (token int64, failures int, begun bool) {
	if r.phase != granted {
		return 0, 0, false
	}
	if r.late(now) {
		r.GiveBack()
		return 0, 0, false
	}
	r.phase, r.lost, r.leaseEnd = running, false, 0
	r.renewed(r.sent)
	r.notBefore = now + r.Rules.Spacing - r.Rules.Guard
	r.forget()
	return r.token, r.failures, true
}

// End ends the run, with what the store is to be told of it beside the token.
func (r *Replica) End(f machine.Finish) {
	f.Token, f.Ran = r.token, true
	r.phase, r.finish = finishing, f
}

// SendFinish returns the finish to be sent.
func (r *Replica) SendFinish() machine.Finish { return r.finish }

// Finished takes the reply to the finish.
func (r *Replica) Finished(now time.Duration, reply machine.Finished) {
	r.phase = idle
	r.Observe(now, reply.Now)
	// Who ends a run sees to the next: those who called may be gone.
	r.polling = reply.Pending || r.pending
	r.pollAt = now
	if reply.Pending {
		r.pollAt = now + reply.Poll
	}
}

// SendRenew returns the token of the lease to be renewed.
func (r *Replica) SendRenew(now time.Duration) (token int64) {
	r.renewAt = now + r.Rules.Lease/3
	return r.token
}

// Renewed takes the reply to a renewal that was sent at sent: whether it is held.
func (r *Replica) Renewed(sent time.Duration, token int64, held bool) {
	switch {
	case r.phase != running || r.token != token:
	case held:
		r.renewed(sent)
	default:
		r.leaseEnd = sent
	}
}

// renewed says that the lease was given at sent or later.
func (r *Replica) renewed(sent time.Duration) {
	r.renewAt = sent + r.Rules.Lease/3
	r.leaseEnd = max(r.leaseEnd, sent+r.Rules.Lease)
}

// Lose says that the run knows that its lease may be over.
func (r *Replica) Lose() { r.lost = true }

// Notice says that the key may be due at at, whether calls were made here or not.
func (r *Replica) Notice(at time.Duration) {
	if !r.polling || at < r.pollAt {
		r.polling, r.pollAt = true, at
	}
}

// PlanLocal plans a run without a grant, which calls BeginLocal, if no run is active,
// calls are pending and the last start here is as long ago as the policy demands.
// Otherwise it returns false, and when to ask again, Never if not by time alone.
func (r *Replica) PlanLocal(now time.Duration) (planned bool, again time.Duration) {
	switch {
	case !r.pending, r.local, r.phase == granted, r.phase == running:
		return false, Never
	case now < r.notBefore:
		return false, r.notBefore
	}
	r.local = true
	return true, 0
}

// BeginLocal begins the run that was planned, if one was. It covers all calls made up to
// now.
func (r *Replica) BeginLocal(now time.Duration) bool {
	if !r.local {
		return false
	}
	r.notBefore = now + r.Rules.Spacing - r.Rules.Guard
	r.forget()
	return true
}

// EndLocal ends a run without a grant. It is repeated if again is set.
func (r *Replica) EndLocal(now time.Duration, again bool) {
	r.local = false
	if again {
		r.Call(now)
	}
}
