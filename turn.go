package throttle

import "sync"

// This file holds the turns of WithMaxConcurrent.

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
	due       instant

	// Guarded by turns.mu.
	number uint64 // orders places with the same due
	index  int    // in the queue; notQueued if it is not there
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
	for next := t.next(); next != nil && !next.throttler.useTurn(); {
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

// useTurn starts the run that is due, and reports false if none is any more.
func (t *Throttler) useTurn() bool {
	now := t.lock()
	defer t.mu.Unlock()
	return t.settleLocked(now, true)
}

// before implements element.
func (p *place) before(other *place) bool {
	if p.due != other.due {
		return p.due < other.due
	}
	return p.number < other.number
}

// placed implements element.
func (p *place) placed(index int) { p.index = index }
