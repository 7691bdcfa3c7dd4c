// Package replica keeps what one process knows of one key of a fleet's throttle, and
// decides what the process does next. It is the client's side of package machine. Like
// machine, it is a pure state machine: it has no clock and no lock, and does no I/O.
// Package fleet drives it, and package explore searches everything it can do.
//
// Instants are durations since some origin on the process's monotonic clock.
package replica

import (
	"slices"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// Never is later than any instant.
const Never time.Duration = 1<<63 - 1

// Rules are the settings of a replica.
type Rules struct {
	Guard time.Duration // how long the reply to a claim may take for its grant to be used

	// The replica copies these into its claims. Spacing includes Guard.
	Spacing, Lease time.Duration
	Quiet, MaxWait time.Duration
	Policy         string

	// The replica tells the store of calls that join what is pending at most once per Slack.
	// It has no effect without Quiet.
	Slack time.Duration
}

// A Replica is the state of one replica. With Rules set, its zero value is ready for use: it
// has no calls and no run.
type Replica struct {
	Rules Rules

	// Full is set while no run may start here, because the driver has enough of them. The
	// replica then registers calls, but does not ask for a run.
	Full bool

	calls   uint64        // how many calls were made
	pending bool          // a call is not known to be covered
	newest  time.Duration // when the newest call was made; valid while pending
	dirty   bool          // the store must be told of a call
	fresh   time.Duration // when the oldest such call was made; valid while dirty
	told    time.Duration // when the newest call was made of which the store was told

	out       bool          // a claim is out: it was sent and not answered yet
	claim     machine.Claim // the claim that is out
	sent      time.Duration // when that claim was first sent
	sentCalls uint64        // how many calls had been made then
	guard     time.Duration // Rules.Guard at that time; Rules may have changed since

	holdUntil time.Duration // until then, new calls join what is pending in the store
	pollAt    time.Duration
	polling   bool // a poll is due at pollAt
	misses    int  // how many polls in a row were answered "due now" without a grant

	phase    phase
	token    int64          // of the grant
	failures int            // how many runs in a row had failed before it
	renewAt  time.Duration  // when to renew the lease
	leaseEnd time.Duration  // until when the lease is certain to hold
	lost     bool           // the lease may have ended, and the run's context was canceled
	finish   machine.Finish // the finish to send while finishing

	local     bool          // a run without a grant is planned or active
	notBefore time.Duration // no run, with or without a grant, may start before this

	seen     int64         // highest token seen
	storeNow machine.Time  // the store's time in the last reply; 0 if no reply came yet
	storeAt  time.Duration // when that reply came

	registered []registration // calls that are not known to be covered, in order
}

// A registration records that a run covers the calls up to through, from where the previous
// registration ends, once the store has acknowledged generation. None of them is older than first.
type registration struct {
	through    uint64
	generation int64
	first      time.Duration
}

// A phase is how far a grant has come.
type phase uint8

const (
	idle      phase = iota // there is no grant
	granted                // the run has not begun yet
	running                // the callback has been entered and has not returned
	finishing              // the finish has not been answered yet
)

// A Settlement reports that a run of another replica, which has ended, covered the calls up
// to Through that were not settled before. Known is set if Token and Outcome are those of
// that run.
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
	if r.out || r.phase != idle || r.local || !r.joins(now) {
		if !r.dirty {
			r.fresh = now
		}
		r.dirty = true
		return r.calls
	}
	r.register(r.calls, r.registered[len(r.registered)-1].generation)
	if !r.polling { // the earlier calls were canceled or covered while the claim was out
		r.SchedulePoll(max(r.holdUntil, r.notBefore))
	}
	return r.calls
}

// joins reports whether a call of that instant joins what is pending in the store, although the
// store is not told of it: the pending run comes late enough to cover it and to keep Quiet.
func (r *Replica) joins(made time.Duration) bool {
	return made < r.holdUntil && (r.Rules.Quiet == 0 || made-r.told < r.Rules.Slack)
}

// Cancel drops all calls, and reports whether any of them was not known to be covered. Calls
// that the store has registered stay registered there.
func (r *Replica) Cancel() (pending bool) {
	pending = r.pending
	r.forget()
	r.sentCalls = r.calls
	return pending
}

// forget drops all calls, because they are covered or canceled.
func (r *Replica) forget() {
	r.pending, r.dirty, r.registered = false, false, nil
	r.holdUntil = 0
	r.claim.New = false // should the claim be given up, no other has to register its calls
}

// Calls returns how many calls were made.
func (r *Replica) Calls() uint64 { return r.calls }

// Pending reports whether a call is not known to be covered.
func (r *Replica) Pending() bool { return r.pending }

// Idle reports whether the driver may drop the replica: no call is pending here, nothing is active,
// and the replica plans no poll within the guard. Later polls are left to whoever looks at the
// index then. A new replica in the place of this one must know Seen. With runs without a grant,
// NotBefore must have passed, too.
func (r *Replica) Idle(now time.Duration) bool {
	return !r.pending && r.Synced() && !(r.polling && r.pollAt-now <= r.Rules.Guard)
}

// NotBefore returns the instant before which no run may start here.
func (r *Replica) NotBefore() time.Duration { return r.notBefore }

// Seen returns the highest token that the replica has seen.
func (r *Replica) Seen() int64 { return r.seen }

// See makes token one that the replica has seen. It may be the token of another key.
func (r *Replica) See(token int64) { r.seen = max(r.seen, token) }

// Active reports whether a run is active or about to begin.
func (r *Replica) Active() bool { return r.phase == granted || r.phase == running || r.local }

// WantsClaim reports whether the replica would send a claim now if it was not Full, and that claim
// could be granted.
func (r *Replica) WantsClaim(now time.Duration) bool {
	return !r.out && r.phase == idle && !r.local && (r.dirty || r.polling && now >= r.pollAt)
}

// Dirty reports whether a call is not known to be registered.
func (r *Replica) Dirty() bool { return r.dirty }

// Synced reports whether the store knows everything that the replica knows.
func (r *Replica) Synced() bool { return r.phase == idle && !r.local && !r.out && !r.dirty }

// Lost reports whether the run's context was canceled because its lease may have ended.
func (r *Replica) Lost() bool { return r.lost }

// Misses returns how many polls in a row were answered "due now" without a grant.
func (r *Replica) Misses() int { return r.misses }

// Due returns when the replica polls next, and false if it plans no poll.
func (r *Replica) Due() (time.Duration, bool) { return r.pollAt, r.polling }

// A Step is something that the replica wants its driver to do.
type Step uint8

// The steps.
const (
	Wait   Step = iota // do nothing until an instant
	Claim              // send what SendClaim returns, until Answer or Abandon
	Finish             // send what SendFinish returns, until Finished
	Renew              // send what SendRenew returns, even if another message is out
	Lose               // call Lose and cancel the run's context: its lease may have ended
)

// Next returns the next step, and the instant until which there is nothing else to do.
func (r *Replica) Next(now time.Duration) (step Step, until time.Duration) {
	if r.phase == finishing && !r.out { // wait for the claim's reply, which could be older than the finish
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
	case now < r.pollAt:
		return Wait, r.pollAt
	case r.Full:
		return Wait, until
	default:
		return Claim, until
	}
}

// SendClaim returns a claim with the identifier id. The claim is out from now on.
func (r *Replica) SendClaim(now time.Duration, id string) machine.Claim {
	r.claim = machine.Claim{
		ID:      id,
		New:     r.dirty,
		Age:     machine.None,
		By:      r.by(now),
		Seen:    r.seen,
		Spacing: r.Rules.Spacing,
		Quiet:   r.Rules.Quiet,
		MaxWait: r.Rules.MaxWait,
		Lease:   r.Rules.Lease,
		Policy:  r.Rules.Policy,
	}
	switch {
	case r.dirty && r.Rules.Quiet > 0:
		// Later calls join for Slack without a word.
		r.claim.Quiet += r.Rules.Slack
		r.claim.Age, r.claim.First = now-r.newest, now-r.fresh
		r.told = r.newest
	case r.pending && !r.dirty:
		r.claim.Age, r.claim.First = now-r.newest, now-r.newest
	}
	r.out, r.sent, r.sentCalls, r.guard = true, now, r.calls, r.Rules.Guard
	r.dirty, r.polling = false, false
	return r.claim
}

// by returns the store's time until which a claim that is sent now may be granted. It is 0
// if a granted run could not start.
func (r *Replica) by(now time.Duration) machine.Time {
	if r.storeNow == 0 || r.phase != idle || r.local || r.Full || now < r.notBefore {
		return 0
	}
	return r.storeNow.Add(now - r.storeAt + r.Rules.Guard)
}

// Observe records the store's time from a reply that has just come.
func (r *Replica) Observe(now time.Duration, store machine.Time) {
	r.storeNow, r.storeAt = store, now
}

// Heard returns the store's time in the last reply; 0 if no reply came yet.
func (r *Replica) Heard() machine.Time { return r.storeNow }

// EstimateClock records the store's time from a reply about another key. It has no effect
// once a reply about this key has come, because in a cluster the other reply may carry the
// time of another server's clock.
func (r *Replica) EstimateClock(now time.Duration, store machine.Time) {
	if r.storeNow == 0 {
		r.Observe(now, store)
	}
}

// Abandon gives up the claim that is out. It may or may not have reached the store.
func (r *Replica) Abandon(now time.Duration) {
	r.out = false
	if r.claim.New && r.pending {
		r.dirty, r.fresh = true, r.sent-r.claim.First
	}
	r.polling, r.pollAt = r.pending, now
}

// Answer takes the reply to the claim that is out. It reports whether the driver must start
// a run, which then calls Begin. It returns which calls the reply settles.
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
		r.dirty, r.fresh = r.pending, r.oldest()
		r.registered, r.holdUntil, r.misses = nil, 0, 0
	case reply.Verdict == machine.Served:
		r.served()
	default:
		r.deferred(now, reply)
	}
	return start, settled
}

// forgotten reports whether reply, to a poll, shows that the store has lost registered calls.
// The replica then registers them again. A run may have covered them since, but the store
// could tell that only by its clock, which may have been stepped. If the store has counted
// up to the same generation again, a run after the loss took one of the new generations,
// and that run covers the calls.
func (r *Replica) forgotten(reply machine.Reply) bool {
	last := len(r.registered) - 1
	return last >= 0 && !r.claim.New && reply.Generation < r.registered[last].generation
}

// settle returns which calls are covered by runs that, according to reply, have ended.
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

// served handles a reply that says that all calls made before the claim was sent are
// covered.
func (r *Replica) served() {
	since := r.calls > r.sentCalls
	if !since {
		r.forget()
	}
	r.registered, r.holdUntil, r.misses = nil, 0, 0
	r.dirty = since
}

// deferred handles a reply that says that calls are pending in the store.
func (r *Replica) deferred(now time.Duration, reply machine.Reply) {
	r.holdUntil = r.sent + reply.Hold
	r.dirty = r.pending && r.calls > r.sentCalls && !r.joins(r.newest)
	through := r.calls
	if r.dirty {
		through = r.sentCalls
	}
	r.register(through, reply.Generation)

	// The store judged the claim at some time between sent and now. A poll at sent+Poll
	// would often come too early.
	at := r.sent + reply.Poll + min(now-r.sent, r.Rules.Guard)
	switch {
	case reply.Poll > 0:
		r.misses = 0
	case r.Full:
		at = now // no miss: the claim did not ask for a run
	default:
		at = now + r.pause()
		r.misses++
	}
	at = max(at, r.notBefore)
	if r.pending || reply.Poll <= r.Rules.Guard {
		r.SchedulePoll(at) // or earlier, if that was asked for since the claim was sent
	}
}

// pause returns how long to wait before the next poll after one that was answered "due now".
// The first time it is 0, because the reply has brought the store's time. But if replies take
// longer than Guard, the next poll will miss, too.
func (r *Replica) pause() time.Duration {
	if r.misses == 0 {
		return 0
	}
	return min(r.Rules.Guard<<min(r.misses-1, 10), r.Rules.Spacing)
}

// oldest returns when the oldest call was made that is not known to be covered, or an earlier
// instant.
func (r *Replica) oldest() time.Duration {
	switch {
	case len(r.registered) > 0:
		return r.registered[0].first
	case r.out && r.claim.New:
		return r.sent - r.claim.First
	default:
		return r.fresh
	}
}

// register records that calls up to through are covered once generation is.
func (r *Replica) register(through uint64, generation int64) {
	// If an earlier registration has the same or a higher generation, the store has lost its
	// state since, and has registered the calls again.
	first := r.sent - r.claim.First
	for len(r.registered) > 0 && r.registered[len(r.registered)-1].generation >= generation {
		first = r.registered[len(r.registered)-1].first
		r.registered = r.registered[:len(r.registered)-1]
	}
	r.registered = append(r.registered, registration{through, generation, first})
}

// grant handles a reply that grants a run, and reports whether the replica accepts it.
func (r *Replica) grant(now time.Duration, reply machine.Reply) bool {
	if r.phase != idle {
		return false // the replica asked for no grant; its lease will end
	}
	r.holdUntil, r.misses = 0, 0
	r.register(r.sentCalls, reply.Generation)
	r.phase, r.token, r.failures = granted, reply.Token, reply.Failures
	if r.local || now < r.notBefore || r.late(now) {
		r.GiveBack()
		return false
	}
	return true
}

// late reports whether it is too late to start the run that the answered claim granted.
func (r *Replica) late(now time.Duration) bool { return now-r.sent > r.guard }

// Stop drops the runs and polls that are planned. A grant whose run has not begun is given
// back.
func (r *Replica) Stop() {
	r.Decline()
	r.polling = false
}

// Decline gives back a grant whose run has not begun, and drops a planned run without a
// grant: neither will begin.
func (r *Replica) Decline() {
	r.local = false
	if r.phase == granted {
		r.GiveBack()
	}
}

// DropFinish gives up sending the finish. The lease will end by itself.
func (r *Replica) DropFinish() { r.phase = idle }

// GiveBack ends a grant whose run has not begun or was interrupted. What the grant took is
// pending again.
func (r *Replica) GiveBack() {
	r.phase, r.finish = finishing, machine.Finish{Token: r.token}
}

// Begin begins the granted run, unless it is too late. Call it as the last thing before the
// callback. The run covers all calls made up to now.
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

// End ends the run. The finish that the replica then sends is f with the run's token.
func (r *Replica) End(f machine.Finish) {
	f.Token, f.Ran = r.token, true
	r.phase, r.finish = finishing, f
}

// SendFinish returns the finish to send.
func (r *Replica) SendFinish() machine.Finish { return r.finish }

// Finished takes the reply to the finish.
func (r *Replica) Finished(now time.Duration, reply machine.Finished) {
	r.phase = idle
	r.Observe(now, reply.Now)
	// The replica that ends a run polls for the next one: the replicas that called may be gone.
	r.polling = reply.Pending || r.pending
	r.pollAt = now
	if reply.Pending {
		r.pollAt = now + reply.Poll
	}
}

// SendRenew returns the token of the lease to renew.
func (r *Replica) SendRenew(now time.Duration) (token int64) {
	r.renewAt = now + r.Rules.Lease/3
	return r.token
}

// Renewed takes the reply to a renewal that was sent at sent: whether the lease is still held.
func (r *Replica) Renewed(sent time.Duration, token int64, held bool) {
	switch {
	case r.phase != running || r.token != token:
	case held:
		r.renewed(sent)
	default:
		r.leaseEnd = sent
	}
}

// renewed records that the lease was granted or renewed at sent or later.
func (r *Replica) renewed(sent time.Duration) {
	r.renewAt = sent + r.Rules.Lease/3
	r.leaseEnd = max(r.leaseEnd, sent+r.Rules.Lease)
}

// Lose records that the run's context is canceled because its lease may have ended.
func (r *Replica) Lose() { r.lost = true }

// SchedulePoll makes the replica poll at at, or earlier if it already plans to. The key may be
// due then, whether or not calls were made here.
func (r *Replica) SchedulePoll(at time.Duration) {
	if !r.polling || at < r.pollAt {
		r.polling, r.pollAt = true, at
	}
}

// LocalFrom returns when a run without a grant may be planned: once the last start and the calls
// here are as long ago as the policy demands. It is Never while a run is active or no call is pending.
func (r *Replica) LocalFrom() time.Duration {
	if !r.pending || r.local || r.phase == granted || r.phase == running {
		return Never
	}
	if r.Rules.Quiet == 0 {
		return r.notBefore
	}
	from := r.newest + r.Rules.Quiet
	if r.Rules.MaxWait > 0 {
		from = min(from, r.oldest()+r.Rules.MaxWait)
	}
	return max(r.notBefore, from)
}

// PlanLocal plans a run without a grant, which then calls BeginLocal, and reports whether it may
// be planned now.
func (r *Replica) PlanLocal(now time.Duration) (planned bool) {
	if r.Full || now < r.LocalFrom() {
		return false
	}
	r.local = true
	return true
}

// BeginLocal begins the run that PlanLocal planned, and reports whether there was one. The
// run covers all calls made up to now.
func (r *Replica) BeginLocal(now time.Duration) bool {
	if !r.local {
		return false
	}
	r.notBefore = now + r.Rules.Spacing - r.Rules.Guard
	r.forget()
	return true
}

// EndLocal ends a run without a grant. If again is set, the run is repeated.
func (r *Replica) EndLocal(now time.Duration, again bool) {
	r.local = false
	if again {
		r.Call(now)
	}
}
