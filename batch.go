package throttle

import (
	"context"
	"errors"
	"math"
	"time"
)

// This file holds the values of a Coalescer, or of one key of a KeyedCoalescer, and
// decides in which batch each of them goes. What becomes of the batches is in deliver.go.
// When a batch's run is due is not decided in either: the history judges the request of
// the oldest batch.

// A request is what the history knows of a Coalescer's batch.
type request struct {
	calls     uint64  // that no run has covered
	retry     bool    // a run of it has failed, and it is due again when the hold ends
	flush     bool    // it is due at deadline, whatever the policy says
	firstCall instant // of calls; beginning if there are none
	deadline  instant // as in history
}

// present makes r what is pending; nothing if r is nil. r is the request of the oldest
// batch: those behind it do not matter until a run has taken it.
func (h *history) present(r *request) {
	h.drop()
	if r != nil {
		h.pending, h.retry, h.flush = r.calls > 0, r.retry, r.flush
		h.firstCall, h.deadline = r.firstCall, r.deadline
	}
}

// request returns the request of a call at now that begins a batch. It reports false if
// the call is dropped. behind says that another batch has calls already.
func (h *history) request(p *Policy, now instant, within time.Duration, active, behind bool) (r request, covered bool) {
	alone := *h
	alone.drop()
	alone.callCount = 0
	if behind {
		// The batch before it is due as soon as permitted, and this one is covered next.
		alone.pending, alone.firstCall = true, now
	}
	covered = alone.call(p, now, max(within, 0), active)
	h.lastCall = alone.lastCall
	return request{calls: 1, firstCall: now, deadline: alone.deadline}, covered
}

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
	flushes  int      // which Flush it is due for, or was in its last run; see batches
	awaited  *outcome // nil if nobody waits for its run
	next     *batch[A]
}

// A batches holds the values of a Throttler's calls. They wait in batches, and each run
// takes the oldest batch. The newest one takes further values while there is room in it. A
// failed batch that is repeated is the oldest one again; then its request has no calls,
// unless it was joined with other batches.
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
	joinable int // how many further calls join the newest batch and change nothing else
	// +checklocks:throttler.mu
	waiting int // number of batches
	// +checklocks:throttler.mu
	values int // number of calls whose values wait in them
	// +checklocks:throttler.mu
	flushes int // calls of Flush and Shutdown
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

// full reports whether a batch of so many calls, with values of this weight, takes no more.
func (b *merging[V, A]) full(p *Policy, calls, weight int) bool {
	return p.MaxCalls > 0 && calls >= p.MaxCalls || b.maxWeight > 0 && weight >= b.maxWeight
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
	if b.joinable > 0 && within == noLimit {
		b.addLocked(d)
		b.joinable--
		return nil
	}
	return b.chooseBatchLocked(d, within)
}

// openLocked lets calls join the newest batch, as many as change nothing else: these
// neither read the clock nor settle anything. It implements valueHolder.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) openLocked() {
	t, into := b.throttler, b.newest
	switch { // (mutants: a call that is not let in here is let in by chooseBatchLocked)
	case into == nil, into.calls == 0, t.history.phase != open, t.policy.Quiet > 0, b.room != nil, b.weigh != nil:
		b.joinable = 0
	case t.policy.MaxCalls > 0:
		b.joinable = max(t.policy.MaxCalls-into.size-1, 0) // the last one fills it
	default:
		b.joinable = math.MaxInt
	}
}

// chooseBatchLocked makes a call that may change more than the newest batch.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) chooseBatchLocked(d delivery[V], within time.Duration) error {
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

// fills reports whether a batch takes no more once it has one more call's value.
func (b *merging[V, A]) fills(p *Policy, into *batch[A], weight int) bool {
	return b.full(p, into.size+1, into.weight+weight)
}

// addLocked adds a value to the newest batch.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) addLocked(d delivery[V]) {
	b.addWeightlessLocked(d.value)
	b.newest.weight += d.weight
}

// addWeightlessLocked is addLocked for a value that weighs nothing.
//
// +checklocks:b.throttler.mu
func (b *batches[V, A]) addWeightlessLocked(v V) {
	into := b.newest
	into.value = b.merger.Add(into.value, v)
	into.size++
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
	var now instant
	if t.policy.Quiet > 0 || within != noLimit { // (mutants: nobody minds a needless reading)
		now = t.now()
	}
	if err := b.enterRoomLocked(d); err != nil {
		return err
	}
	b.addLocked(*d)
	if t.policy.Quiet > 0 { // (mutants: without Quiet nobody reads lastCall; adoptLocked sets it then)
		t.history.lastCall = now
	}
	if within == noLimit {
		return nil
	}
	into.hasten(now.add(max(within, 0)))
	b.presentLocked()
	t.settleLocked(now, false)
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
	if b.full(t.policy, begun.size, begun.weight) {
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
	b.flushes = max(b.flushes, next.flushes)
	if next.awaited != nil {
		b.awaited = next.awaited
	}
	b.next = next.next
}
