package throttle

import "sync"

// The turns of a Group bound how many of its runs are active at once. Who finds
// none free has a place in a queue, in the order in which the runs became due.
//
// A semaphore with a goroutine waiting for each run would hand out turns in the
// order in which the scheduler ran those goroutines, and each would cost more
// than all the rest of its key.
type turns struct {
	mu sync.Mutex // guards the fields below; taken after a Throttler's

	// +checklocks:mu
	free int // 0 if the queue is not empty
	// +checklocks:mu
	queue heapOf[*place]
	// +checklocks:mu
	joined uint64 // how many places there have been
}

// A place in the queue of turns.
type place struct {
	throttler *Throttler

	// Guarded by turns.mu.
	due    instant // orders the queue; changed by the Throttler outside of it
	number uint64  // orders places with the same due
	index  int     // in the queue; notQueued if it is not there
}

// take takes a turn, or puts p into the queue and reports false.
func (t *turns) take(p *place) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		return true
	}
	t.joined++
	p.number = t.joined
	t.queue.add(p)
	return false
}

// leave takes p out of the queue, if it is still there.
func (t *turns) leave(p *place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.index != notQueued {
		t.queue.remove(p.index)
	}
}

// pass hands the turn of a run that is over to the first in the queue that has a
// use for it. t may be nil; no lock may be held.
func (t *turns) pass() {
	if t == nil {
		return
	}
	for next := t.next(); next != nil && !next.throttler.useTurn(next); {
		next = t.next()
	}
}

// next returns the first place, taken out of the queue, or frees a turn if there
// is none.
func (t *turns) next() *place {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.free++
		return nil
	}
	first := t.queue[0]
	t.queue.remove(0)
	return first
}

// rejoin puts p, which was taken out of the queue, back for a later due.
func (t *turns) rejoin(p *place, due instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.due = due
	t.queue.add(p)
}

// useTurn starts the run that had the place p, and reports false if it is not due
// any more, or has to queue again.
func (t *Throttler) useTurn(p *place) bool {
	now := t.lock()
	defer t.mu.Unlock()
	postponed := t.postponedLocked(p, now)
	return t.settleLocked(now, !postponed)
}

// postponedLocked reports whether the run that had the place p has become due
// later than that says, and then puts it back into the queue: calls that coalesce
// postpone a Quiet run without the lock.
//
// +checklocks:t.mu
func (t *Throttler) postponedLocked(p *place, now instant) bool {
	if t.alarm == nil || t.alarm.place != p || t.history.flush {
		return false // a flush is due when it is made, but postpones nothing
	}
	due, _ := t.history.due(t.policy)
	if due <= p.due || due > now {
		return false
	}
	t.extras.turns.rejoin(p, due)
	return true
}

// before implements element.
func (p *place) before(other *place) bool {
	return p.due < other.due || p.due == other.due && p.number < other.number
}

// placed implements element.
func (p *place) placed(index int) { p.index = index }

// takeTurnLocked takes a turn for a run that is due, in a Group that has a limit
// to them, or joins the queue for one and reports false.
//
// +checklocks:t.mu
func (t *Throttler) takeTurnLocked(due instant) bool {
	if t.extras.turns == nil {
		return true
	}
	if t.alarm != nil && t.alarm.place != nil {
		return false // its place in the queue stays the same
	}
	wanted := &place{throttler: t, due: due}
	if t.extras.turns.take(wanted) {
		return true
	}
	t.alarm.set(t, due, never) // it is the place now that will wake the Throttler
	t.alarm = &alarm{at: due, place: wanted}
	return false
}
