package fleet

import (
	"context"
	"runtime/pprof"
	"sync"
)

// DefaultInFlight is how many messages of an engine are in flight at most, unless the
// engine sets another limit.
const DefaultInFlight = 16

// A queue lets the throttlers on one engine send their messages, at most limit at a time.
// Whoever waits here has not read the clock for its message yet, so the wait makes no grant
// late. Finishes and renewals go before claims. Otherwise first come, first served: a
// throttler waits with one message of each kind at most, so its key cannot hold up others.
type queue struct {
	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	limit int // 0 means DefaultInFlight
	// +checklocks:mu
	senders int // goroutines that send
	// +checklocks:mu
	urgent, claims []turn
}

// A turn is what somebody waits for in a queue. It composes a message, sends it, and
// returns when the message is no longer in flight.
type turn func()

// setLimit lets at most n messages be in flight.
func (q *queue) setLimit(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = n
}

// add makes the queue call take, soon.
func (q *queue) add(take turn, urgent bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if urgent {
		q.urgent = append(q.urgent, take)
	} else {
		q.claims = append(q.claims, take)
	}
	limit := q.limit
	if limit == 0 {
		limit = DefaultInFlight
	}
	if q.senders < limit {
		q.senders++
		go q.send() // ends when nobody waits
	}
}

// send calls the turns of those who wait, until nobody does.
func (q *queue) send() {
	pprof.SetGoroutineLabels(context.Background()) // not those of whoever made a call
	for take := q.next(); take != nil; take = q.next() {
		take()
	}
}

// next returns the next turn. If nobody waits, it returns nil, and one sender fewer counts.
func (q *queue) next() turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.urgent) > 0:
		return pop(&q.urgent)
	case len(q.claims) > 0:
		return pop(&q.claims)
	default:
		q.senders--
		return nil
	}
}

// pop removes the first turn. An empty queue keeps no memory.
func pop(turns *[]turn) turn {
	first := (*turns)[0]
	(*turns)[0] = nil
	*turns = (*turns)[1:]
	if len(*turns) == 0 {
		*turns = nil
	}
	return first
}

// counts returns how many turns wait, and how many are being taken.
func (q *queue) counts() (waiting, taken int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.urgent) + len(q.claims), q.senders
}
