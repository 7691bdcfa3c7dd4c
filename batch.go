package throttle

import (
	"context"
	"errors"
	"reflect"
	"runtime/debug"
	"time"
)

// This file holds the values of a Coalescer, or of one key of a KeyedCoalescer, and
// decides in which batch each of them goes. When a batch's run is due is not decided
// here: the history judges the request of the oldest batch.

// A merging is what all batches of a Coalescer or KeyedCoalescer share. It does not
// change.
type merging[V, A any] struct {
	merger    Merger[V, A]
	weigh     func(V) int // nil if WithMaxWeight is not given
	maxWeight int
	room      *room // nil if WithMaxPending is not given
}

// A batch is what one run takes: the values of some calls.
type batch[A any] struct {
	request

	value    A
	size     int      // number of calls that handed over the values
	weight   int      // of the values
	failures int32    // its own failed runs
	awaited  *outcome // nil if nobody waits for its run
	next     *batch[A]
}

// A batches holds the values of a Throttler's calls. They wait
// in batches, and each run takes the oldest batch. The newest one takes further values
// while there is room in it. A failed batch that is repeated is the oldest one again;
// then its request has no calls, unless it was joined with other batches.
type batches[V, A any] struct {
	*merging[V, A]

	throttler *Throttler

	// The Throttler's mu guards the fields below. So a call and its value change
	// together, and so do a run and what it takes, a drop and what it drops.

	// +checklocks:throttler.mu
	oldest *batch[A] // nil if none waits
	// +checklocks:throttler.mu
	newest *batch[A] // nil if none waits
	// +checklocks:throttler.mu
	waiting int // number of batches
	// +checklocks:throttler.mu
	values int // number of calls whose values wait in them
	// +checklocks:throttler.mu
	running *batch[A] // of the active run; nil once that is decided
}

// runningValue returns the value of the active run.
func (b *batches[V, A]) runningValue() A {
	b.throttler.mu.Lock()
	defer b.throttler.mu.Unlock()
	return b.running.value
}

// delivery returns v with its weight; waits says whether its call waits for room. It calls
// foreign code, so no lock may be held.
func (b *merging[V, A]) delivery(v V, waits bool) delivery[V] {
	d := delivery[V]{value: v, waits: waits}
	if b.weigh != nil {
		d.weight = max(b.weigh(v), 0)
	}
	return d
}

// fits reports whether further calls, with values of this weight, fit into a batch.
func (b *merging[V, A]) fits(p *Policy, into *batch[A], calls, weight int) bool {
	return (p.MaxCalls == 0 || calls <= p.MaxCalls-into.size) &&
		(b.maxWeight == 0 || weight <= b.maxWeight-into.weight)
}

// full reports whether no further value fits into a batch.
func (b *merging[V, A]) full(p *Policy, into *batch[A]) bool {
	return p.MaxCalls > 0 && into.size >= p.MaxCalls || b.maxWeight > 0 && into.weight >= b.maxWeight
}

// A delivery is a value to hand over.
type delivery[V any] struct {
	value   V
	weight  int
	waits   bool // for room, if there is none
	hasRoom bool // room is reserved for it
}

// handOverLocked makes a call that must not wait longer than within.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) handOverLocked(d delivery[V], within time.Duration) error {
	if b.joinsQuietlyLocked(d.weight, within) {
		b.addLocked(d)
		return nil
	}
	accepted := false
	if b.room != nil && !d.hasRoom {
		defer func() {
			if d.hasRoom && !accepted { // First, Add or Join has panicked
				b.room.leave(1)
			}
		}()
	}
	t, into := b.throttler, b.newest
	if t.history.phase != open {
		return t.closedLocked()
	}
	var err error
	if into != nil && into.calls > 0 && b.fits(t.policy, into, 1, d.weight) {
		err = b.joinBatchLocked(&d, within)
	} else {
		err = b.beginBatchLocked(&d, within)
	}
	accepted = err == nil
	return err
}

// joinsQuietlyLocked reports whether a call joins the newest batch and changes nothing
// else. That is the usual call: it neither reads the clock nor settles anything.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) joinsQuietlyLocked(weight int, within time.Duration) bool {
	t, into := b.throttler, b.newest
	return into != nil && into.calls > 0 && t.history.phase == open && within == noLimit && b.room == nil &&
		t.policy.Quiet == 0 && !b.fills(t.policy, into, weight)
}

// fills reports whether a batch takes no more once it has one more call's value.
func (b *merging[V, A]) fills(p *Policy, into *batch[A], weight int) bool {
	return p.MaxCalls > 0 && into.size+1 >= p.MaxCalls || b.maxWeight > 0 && into.weight+weight >= b.maxWeight
}

// addLocked adds a value to the newest batch.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) addLocked(d delivery[V]) {
	into := b.newest
	into.value = b.merger.Add(into.value, d.value)
	into.size++
	into.weight += d.weight
	into.calls++
	b.countLocked()
}

// joinBatchLocked makes a call that joins the newest batch.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) joinBatchLocked(d *delivery[V], within time.Duration) error {
	t, into := b.throttler, b.newest
	if b.fills(t.policy, into, d.weight) {
		within = 0
	}
	now := t.now()
	if err := b.enterRoomLocked(d); err != nil {
		return err
	}
	b.addLocked(*d)
	if t.policy.Quiet > 0 {
		t.history.lastCall = now
	}
	if within != noLimit {
		into.hasten(now.add(max(within, 0)))
		b.presentLocked()
		t.settleLocked(now, false)
	}
	return nil
}

// sendLocked makes a call for Send or, if it waits for the run, for Do. It returns the
// outcome to wait for. own is the run that ctx belongs to, ended is ctx.Err().
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) sendLocked(ctx context.Context, d delivery[V], own *run, ended error, waits bool) (*outcome, error) {
	t := b.throttler
	active := t.isActiveLocked(own)
	if !waits {
		own = nil // Send may be called in the callback
	}
	if err := t.admitLocked(open, own, ended); err != nil {
		return nil, err
	}
	if err := b.handOverLocked(d, noLimit); err != nil {
		if active && errors.Is(err, ErrFull) {
			err = detailed(ErrReentrant, t.config.name, nil)
		}
		return nil, err
	}
	if !waits {
		return nil, nil
	}
	return t.awaitCallLocked(ctx), nil
}

// beginBatchLocked makes a call that does not fit into the newest batch. If that has
// failed and has no calls yet, the Merger may join it with the new one.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) beginBatchLocked(d *delivery[V], within time.Duration) error {
	t, before := b.throttler, b.newest
	now := t.now()
	defer t.settleLocked(now, false)
	history := t.history // a copy: nothing may change if First or Join panics
	behind := before != nil && before.calls > 0
	request, covered := history.request(t.policy, now, within, t.run != nil, behind)
	if !covered {
		t.history.lastCall = history.lastCall
		t.dropped.Add(1)
		return t.refusalLocked(now)
	}
	if err := b.enterRoomLocked(d); err != nil {
		return err
	}
	begun := &batch[A]{request: request, value: b.merger.First(d.value), size: 1, weight: d.weight}
	if b.full(t.policy, begun) {
		begun.hasten(now)
	}
	switch {
	case before == nil:
		b.oldest = begun
		b.newest = begun
		b.waiting++
	case !behind && b.joins(t.policy, before, begun):
		begun.value = b.merger.Join(before.value, begun.value)
		before.join(begun)
	default:
		before.hasten(now) // it takes no more
		before.next, b.newest = begun, begun
		b.waiting++
	}
	t.history.lastCall = history.lastCall
	b.countLocked()
	b.presentLocked()
	return nil
}

// countLocked counts a call whose value waits now.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) countLocked() {
	b.values++
	b.throttler.rareLocked().calls++
}

// enterRoomLocked takes room for d, unless d has it.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) enterRoomLocked(d *delivery[V]) error {
	switch {
	case b.room == nil || d.hasRoom:
		return nil
	case b.room.tryEnter():
		d.hasRoom = true
		return nil
	case !d.waits:
		b.throttler.rareLocked().refused++
	}
	return detailed(ErrFull, b.throttler.config.name, nil)
}

// presentLocked tells the history what is pending.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) presentLocked() {
	var oldest *request
	if b.oldest != nil {
		oldest = &b.oldest.request
	}
	b.throttler.history.present(oldest)
}

// joins reports whether a failed batch and the next one become one.
func (b *merging[V, A]) joins(p *Policy, failed, next *batch[A]) bool {
	return b.merger.Join != nil && b.fits(p, failed, next.size, next.weight)
}

// join makes b, which has failed, one with the next batch, whose value is that of both.
// It counts its attempts anew.
func (b *batch[A]) join(next *batch[A]) {
	flush, flushed := b.flush, b.deadline
	b.request = next.request
	b.retry = true
	if flush {
		b.flush, b.deadline = true, flushed
	}
	b.value = next.value
	b.size += next.size
	b.weight += next.weight
	b.failures = 0
	if next.awaited != nil {
		b.awaited = next.awaited
	}
	b.next = next.next
}

// takeLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) takeLocked(r *run) {
	taken := b.oldest
	b.oldest = taken.next
	if b.oldest == nil {
		b.newest = nil
	}
	b.waiting--
	b.values -= taken.size
	b.room.leave(taken.size)
	r.attempt = int(taken.failures) + 1
	r.calls, r.awaited = taken.calls, taken.awaited
	if taken.calls > 0 {
		r.asked = taken.firstCall
	}
	taken.request, taken.awaited, taken.next = request{}, nil, nil
	b.running = taken
	b.presentLocked()
}

// settleRunLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) settleRunLocked(r *run) {
	t, failed := b.throttler, b.running
	b.running = nil
	asIf := t.history
	asIf.failures = failed.failures // attempts are the batch's own
	r.verdict.kept = asIf.retries(t.policy, r.verdict, r.canceled)
	r.verdict.hasValue = true
	if r.err == nil {
		return
	}
	if r.unfinished != nil {
		if rest, ok := r.unfinished.rest.(*A); ok {
			failed.value = *rest
		} else {
			r.addError(b.wrongRest(r.unfinished.rest))
		}
	}
	if !r.verdict.kept {
		r.outcomeErr = b.lost(failed.value, r.outcomeErr)
		return
	}
	if r.verdict.failed {
		increment(&failed.failures)
	}
	b.returnLocked(r, failed)
}

// wrongRest is the error about a rest of another type than A.
func (b *batches[V, A]) wrongRest(rest any) error {
	return &PolicyError{
		Field: "Unfinished", Value: reflect.TypeOf(rest).Elem(), Reason: "must be a " + reflect.TypeFor[A]().String(), name: b.throttler.config.name,
	}
}

// returnLocked makes failed, the batch of r, the oldest again, and joins it with the
// next one if the Merger can.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) returnLocked(r *run, failed *batch[A]) {
	next := b.oldest
	failed.request = request{retry: true, firstCall: beginning, deadline: never}
	failed.next = next
	b.oldest = failed
	if next == nil {
		b.newest = failed
	}
	b.waiting++
	b.values += failed.size
	b.room.reenter(failed.size)
	b.presentLocked()
	if next != nil && b.joins(b.throttler.policy, failed, next) {
		b.joinLocked(r, failed, next)
	}
}

// joinLocked joins failed, the batch of r, with the next one. If Join panics or ends the
// goroutine, both stay as they are, and r's error says so.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) joinLocked(r *run, failed, next *batch[A]) {
	joined := false
	defer r.recoverJoin(&joined)
	value := b.merger.Join(failed.value, next.value)
	joined = true
	next.value = value
	if r.cause == CauseFlush && next.deadline <= r.due {
		next.flush = false // that flush has passed a delay for them already
	}
	failed.join(next)
	if b.newest == next {
		b.newest = failed
	}
	b.waiting--
	b.presentLocked()
}

// recoverJoin recovers a panic of Join, after r has failed. It needs the Throttler's mu.
func (r *run) recoverJoin(joined *bool) {
	name := r.of.config.name
	switch cause := recover(); {
	case *joined:
	case cause != nil:
		r.addError(&PanicError{Value: cause, Stack: debug.Stack(), name: name})
	default:
		r.addError(detailed(ErrGoexit, name, nil))
	}
}

// pendingCallsLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) pendingCallsLocked() (calls uint64) {
	for waiting := b.oldest; waiting != nil; waiting = waiting.next {
		calls += waiting.calls
	}
	return calls
}

// valuesLocked returns the values of all batches that wait, the oldest first.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) valuesLocked() (values []A) {
	for waiting := b.oldest; waiting != nil; waiting = waiting.next {
		values = append(values, waiting.value)
	}
	return values
}

// waitingLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) waitingLocked() (batches, values int) { return b.waiting, b.values }

// flushLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) flushLocked(now instant) {
	for waiting := b.oldest; waiting != nil; waiting = waiting.next {
		if !waiting.flush {
			waiting.flush, waiting.deadline = true, now
		}
	}
	b.presentLocked()
}

// adoptLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) adoptLocked(now instant, previous *Policy) {
	t := b.throttler
	if b.newest == nil || b.newest.calls == 0 {
		return
	}
	if previous.Quiet == 0 {
		t.history.lastCall = b.newest.firstCall
	}
	if b.full(t.policy, b.newest) {
		b.newest.hasten(now)
	}
	b.presentLocked()
}

// awaitNewestLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) awaitNewestLocked() *outcome { return b.newest.awaitLocked() }

// awaitAllLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) awaitAllLocked() (outcomes []*outcome) {
	for waiting := b.oldest; waiting != nil; waiting = waiting.next {
		outcomes = append(outcomes, waiting.awaitLocked())
	}
	return outcomes
}

// awaitLocked adds a waiter to the outcome of b's run, and returns that.
func (b *batch[A]) awaitLocked() *outcome {
	if b.awaited == nil {
		b.awaited = newOutcome()
	}
	b.awaited.waiters++
	return b.awaited
}

// hasten moves the deadline of b to at, if that is earlier.
func (b *batch[A]) hasten(at instant) { b.deadline = min(b.deadline, at) }

// dropAllLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) dropAllLocked(why error, lost bool) (unclaimed []error) {
	for dropped := b.oldest; dropped != nil; dropped = dropped.next {
		err := why
		if lost {
			err = b.lost(dropped.value, why)
		}
		claimed := dropped.awaited.drop(err)
		if lost && !claimed {
			unclaimed = append(unclaimed, err)
		}
		b.room.leave(dropped.size)
	}
	b.oldest, b.newest, b.waiting, b.values = nil, nil, 0, 0
	b.presentLocked()
	return unclaimed
}

// dropTakenLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) dropTakenLocked(why error) error {
	if r := b.throttler.run; r == nil || r.entered {
		return nil
	}
	taken := b.running
	b.running = nil
	return b.lost(taken.value, why)
}

// undecidedLocked implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) undecidedLocked() error {
	if b.running == nil {
		return nil
	}
	return b.lost(b.running.value, detailed(ErrClosed, b.throttler.config.name, ErrUndecided))
}

// refuse implements valueHolder.
func (b *merging[V, A]) refuse() { b.room.close() }

// lost returns the error that reports value as lost.
func (b *batches[V, A]) lost(value A, why error) error {
	return &LostError{Value: value, Err: why, name: b.throttler.config.name}
}
