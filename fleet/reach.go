package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/throttle-go/throttle/internal/backoff"
)

// A reach is what the throttlers on one engine know together of which parts of the store
// they can reach. While a part cannot be reached, one attempt at a time finds out whether it
// is back. The others wait, so that an outage costs few messages, however many keys there
// are.
type reach struct {
	mu sync.Mutex // guards the field below

	// +checklocks:mu
	parts map[int]*partReach
}

// A partReach is a reach's knowledge of one part.
type partReach struct {
	answered time.Time // when the last answer came, which may have been an error
	doubted  time.Time // when an attempt failed, with no answer since; zero if none did

	// While the part cannot be reached:
	failure error // of the last attempt; nil otherwise
	row     int   // attempts that have failed in a row, one after the other
	probing bool  // an attempt is on its way
	retryAt time.Time
}

// An attempt is one try to send a message.
type attempt struct {
	part  int
	began time.Time
	pause time.Duration // after the first attempt in a row that fails, if this is less than firstPause
	probe bool          // the part could not be reached when the attempt began
}

// ofLocked returns what is known of the part.
//
// +checklocks:r.mu
func (r *reach) ofLocked(part int) *partReach {
	p := r.parts[part]
	if p == nil {
		if r.parts == nil {
			r.parts = map[int]*partReach{}
		}
		p = new(partReach)
		r.parts[part] = p
	}
	return p
}

// begin begins a, or returns how long to wait before the next try, and why.
func (r *reach) begin(a *attempt) (wait time.Duration, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.ofLocked(a.part)
	a.probe = p.failure != nil
	switch {
	case !a.probe:
	case p.probing:
		return laterTimeout, p.failure // if the store is back, all are told
	case a.began.Before(p.retryAt):
		return p.retryAt.Sub(a.began), p.failure
	default:
		p.probing = true
	}
	return 0, nil
}

// A change is what an attempt has changed in a reach.
type change uint8

const (
	noChange change = iota
	lost            // the part cannot be reached any more
	back            // the part can be reached again
)

// ended records that a has ended now with err. An attempt that could not reach the part
// counts only if nobody has reached it since the attempt began. Otherwise the store is well,
// and just this message or this process was slow. The part is lost if a second attempt, which
// began after the first had failed, fails too. Then no further attempt begins for a.pause, and
// for longer if more fail: ended returns until when. An attempt that has waited in this
// process until its context ended says nothing of the store.
func (r *reach) ended(a attempt, err error, now time.Time) (c change, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.ofLocked(a.part)
	wasLost := p.failure != nil
	switch {
	case errors.Is(err, ErrEngineUnavailable):
		switch {
		case wasLost && !a.probe, !wasLost && !a.began.After(p.answered):
			return noChange, time.Time{}
		case !wasLost && p.doubted.IsZero():
			p.doubted = now
			return noChange, time.Time{}
		case !wasLost && !a.began.After(p.doubted):
			return noChange, time.Time{}
		}
		p.row++
		p.failure, p.probing = err, false
		p.retryAt = now.Add(pause(a.pause, p.row))
		if !wasLost {
			c = lost
		}
		return c, p.retryAt
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		if a.probe {
			p.probing, p.retryAt = false, now.Add(pause(a.pause, p.row))
		}
		return noChange, time.Time{}
	default:
		*p = partReach{answered: now}
		if wasLost {
			c = back
		}
		return c, time.Time{}
	}
}

// pause returns how long to wait after so many failed attempts in a row. first is the pause
// after the first one, if it is less than firstPause.
func pause(first time.Duration, row int) time.Duration {
	return backoff.Delay(min(firstPause, first), longestPause, 0.5, row, rand.Float64())
}

// retrySoon lets the next attempt begin at once, because the store seems to be back.
func (r *reach) retrySoon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.parts {
		p.row, p.retryAt = 0, time.Time{}
	}
}

// isLost reports whether the part cannot be reached.
func (r *reach) isLost(part int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.parts[part]
	return p != nil && p.failure != nil
}

// failure returns why a part cannot be reached; nil if all can.
func (r *reach) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.parts {
		if p.failure != nil {
			return p.failure
		}
	}
	return nil
}
