package throttle

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// A room bounds how many values wait. Send and Do wait for room in order of arrival.
// One of them at a time is let in: the next one follows once it has handed over its
// value, so that the values keep the order too. A nil room has no bound.
//
// Its mutex is taken with the Throttler's held, never the other way round.
type room struct {
	size int

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	taken int // at most size, except for batches that have come back
	// +checklocks:mu
	queue list.List // of *guest
	// +checklocks:mu
	entering bool // a guest that was let in has not handed over its value yet
	// +checklocks:mu
	closed bool
}

// A guest waits for room.
type guest struct {
	called  chan struct{} // closed when the wait is over
	hasRoom bool          // room is reserved; set before called is closed
}

// send tries to hand over a value, and waits for room if there is none. try hands it
// over; ended is the context's error. *hasRoom tells try that room is reserved.
func (r *room) send(ctx context.Context, hasRoom *bool, try func(ended error) (*outcome, error)) (*outcome, error) {
	o, err := try(ctx.Err())
	if r == nil || !errors.Is(err, ErrFull) {
		return o, err
	}
	if *hasRoom, err = r.enter(ctx); err != nil {
		return nil, err
	}
	delivered := false
	defer func() { r.entered(*hasRoom && !delivered) }()
	o, err = try(nil)
	delivered = err == nil
	return o, err
}

// tryEnter takes room for one value. It fails if there is none or others wait for it.
func (r *room) tryEnter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entering || r.queue.Len() > 0 || r.taken >= r.size {
		return false
	}
	r.taken++
	return true
}

// enter waits until there is room for one value and takes it. hasRoom is false if the
// room was closed. Unless enter returns an error, the caller must call entered once it
// has handed over its value.
func (r *room) enter(ctx context.Context) (hasRoom bool, err error) {
	g, place := r.line()
	select {
	case <-g.called:
		return g.hasRoom, nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-g.called:
		if g.hasRoom {
			r.taken--
			r.entering = false
		}
	default:
		r.queue.Remove(place)
	}
	r.admitLocked()
	return false, ctx.Err()
}

// line puts a new guest at the end of the queue.
func (r *room) line() (*guest, *list.Element) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &guest{called: make(chan struct{})}
	place := r.queue.PushBack(g)
	r.admitLocked()
	return g, place
}

// entered says that the guest that was let in has handed over its value or, if it leaves,
// could not.
func (r *room) entered(leaves bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entering = false
	if leaves {
		r.taken--
	}
	r.admitLocked()
}

// leave gives back room for n values.
func (r *room) leave(n int) { r.add(-n) }

// reenter takes room for n values that have come back, whether there is any or not.
func (r *room) reenter(n int) { r.add(n) }

func (r *room) add(n int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken += n
	r.admitLocked()
}

// close ends all waiting, present and future.
func (r *room) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for first := r.queue.Front(); first != nil; first = r.queue.Front() {
		r.callLocked(first, false)
	}
}

// admitLocked lets the first guest in if there is room.
//
// +checklocks:r.mu
func (r *room) admitLocked() {
	first := r.queue.Front()
	switch {
	case first == nil:
	case r.closed:
		r.callLocked(first, false)
	case !r.entering && r.taken < r.size:
		r.taken++
		r.entering = true
		r.callLocked(first, true)
	}
}

// callLocked takes the guest at place from the queue and ends its wait.
//
// +checklocks:r.mu
func (r *room) callLocked(place *list.Element, hasRoom bool) {
	g := r.queue.Remove(place).(*guest) //nolint:errcheck,forcetypeassert // nothing else is in the queue
	g.hasRoom = hasRoom                 // before the close: the guest reads it without the lock
	close(g.called)
}
