package throttle

import (
	"reflect"
	"runtime/debug"
)

// This file holds the ways of a batch that waits: into a run, back after a failure, or out
// because it was dropped.

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
	r.asked = taken.firstCall
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
	if next.flushes == failed.flushes {
		next.flush = false // that Flush has passed a delay for them already
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
	b.flushes++
	for waiting := b.oldest; waiting != nil; waiting = waiting.next {
		if !waiting.flush {
			waiting.flush, waiting.flushes, waiting.deadline = true, b.flushes, now
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
	if b.full(t.policy, b.newest.size, b.newest.weight) {
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
