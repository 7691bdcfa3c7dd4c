package throttle

import "sync"

// The turns of a Group bound how many of its runs are active at once. A run that
// finds no free turn gets a place in a queue, in the order in which runs became due.
//
// A semaphore with a waiting goroutine per run would hand out turns in the order in
// which the scheduler ran those goroutines. Each would also cost more than all the
// rest of its key.
type turns struct {
	mu sync.Mutex // guards the fields below; taken after a Throttler's

	// +checklocks:mu
	free int // 0 unless the queue is empty
	// +checklocks:mu
	queue heapOf[*place]
	// +checklocks:mu
	joined uint64 // number of places so far
}

// A place is a run's place in the queue for a turn.
type place struct {
	throttler *Throttler

	// The mu of turns guards the fields below.

	due    instant // orders the queue; the Throttler may change it while the place is not queued
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

// pass hands on the turn of a run that is over, to the first place in the queue
// whose run can use it. t may be nil. No lock may be held.
func (t *turns) pass() {
	if t == nil {
		return
	}
	for next := t.next(); next != nil && !next.throttler.useTurn(next); {
		next = t.next()
	}
}

// next takes the first place out of the queue and returns it. If the queue is empty,
// it frees a turn and returns nil.
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

// rejoin puts p, which next has taken out of the queue, back for a later due.
func (t *turns) rejoin(p *place, due instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.due = due
	t.queue.add(p)
}

// takeTurnLocked takes a turn for a run that is due. In a Group that limits them, it
// may find none free: then it joins the queue and reports false.
//
// +checklocks:t.mu
func (t *Throttler) takeTurnLocked(due instant) bool {
	turns := t.config.turns
	if turns == nil {
		return true
	}
	if t.alarm != nil && t.alarm.place != nil {
		return false // it keeps its place in the queue
	}
	wanted := &place{throttler: t, due: due}
	if turns.take(wanted) {
		return true
	}
	t.alarm.set(t, due, never) // from now on the place wakes the Throttler
	t.alarm = &alarm{at: due, place: wanted}
	return false
}

// useTurn starts the run that had the place p. It reports false if that run is no
// longer due, or has to queue again.
func (t *Throttler) useTurn(p *place) bool {
	now := t.lock()
	defer t.mu.Unlock()
	postponed := t.postponedLocked(p, now)
	return t.settleLocked(now, !postponed)
}

// postponedLocked reports whether the run that had the place p is now due later
// than p says, and then puts p back into the queue. This happens because coalescing
// calls postpone a Quiet run without the lock.
//
// +checklocks:t.mu
func (t *Throttler) postponedLocked(p *place, now instant) bool {
	if t.alarm == nil || t.alarm.place != p || t.history.flush {
		return false // a flush is due at its own time, and so later than p, but postpones nothing
	}
	due, _ := t.history.due(t.policy)
	if due <= p.due || due > now {
		return false
	}
	t.config.turns.rejoin(p, due)
	return true
}

// before implements element. (Mutants: no two places have the same number.)
func (p *place) before(other *place) bool {
	return p.due < other.due || p.due == other.due && p.number < other.number
}

// placed implements element.
func (p *place) placed(index int) { p.index = index }
