package fleet

import (
	"math"
	"sync"
	"time"

	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// The slots of a Group bound how many of its runs are active at once in this process. A throttler
// takes a slot before it sends a claim: a grant cannot wait for one, because it is a lease, and
// useless once the guard has passed. A throttler without a slot sends claims only to register
// calls. A slot that becomes free goes to the throttler that has waited for longest, and if none
// waits, to a key that is due and that no throttler here holds.
type slots struct {
	mu sync.Mutex // guards the fields below; taken after a Throttler's

	// +checklocks:mu
	free int
	// +checklocks:mu
	waiting []*Throttler
	// Keys that were due when the index was last looked at, and that nobody here held.
	// +checklocks:mu
	orphans []string
	// Whether more keys were due than that look has seen.
	// +checklocks:mu
	more bool
	// How many throttlers have been made for such keys, and wait for the answer to their claim.
	// +checklocks:mu
	adopting int
}

// maxAdopting is how many claims for keys that nobody here held are on their way at most. By the
// time that more were sent, other processes would have taken those keys.
const maxAdopting = 2 * DefaultInFlight

func newSlots(limit int) *slots {
	if limit == 0 {
		limit = math.MaxInt
	}
	return &slots{free: limit}
}

// take takes a slot for t. If none is free, it makes t wait, and reports false.
func (s *slots) take(t *Throttler) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free > 0 {
		s.free--
		return true
	}
	s.waiting = append(s.waiting, t)
	return false
}

// next returns who gets a slot that is not needed any more. If nobody wants it, it is free.
func (s *slots) next() (t *Throttler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		s.waiting = nil
		s.free++
		return nil
	}
	t = s.waiting[0]
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
	return t
}

// offer replaces the keys that nobody here holds by those that a look has seen.
func (s *slots) offer(orphans []string, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans, s.more = orphans, more
}

// adopt takes a slot for one of the keys that nobody here holds. It reports false if there is no
// slot or no such key. again is set if this was the last of them and more are due.
func (s *slots) adopt() (key string, again, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.orphans) - 1
	if last < 0 || s.free == 0 || s.adopting == maxAdopting {
		return "", false, false
	}
	key = s.orphans[last]
	s.orphans = s.orphans[:last]
	s.free--
	s.adopting++
	if last == 0 {
		again, s.more = s.more, false
	}
	return key, again, true
}

// adopted records that the claim for a key from adopt was answered.
func (s *slots) adopted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adopting--
}

// A slotState says whether a throttler has a slot.
type slotState uint8

const (
	noSlot slotState = iota
	waitsForSlot
	hasSlot
)

// settleSlotLocked takes a slot if a run may follow, or gives up one that is of no use any more.
// Then the caller must pass on the slot. If adopted is set, it must tell the Group that a claim
// for a key that it took over was answered.
//
// +checklocks:t.mu
func (t *Throttler) settleSlotLocked(now time.Duration) (freed, adopted bool) {
	if t.group == nil {
		return false, false
	}
	switch wants := t.wantsSlotLocked(now); {
	case t.slot == hasSlot && !wants:
		t.slot, freed = noSlot, true
	case t.slot == noSlot && wants:
		t.slot = waitsForSlot
		if t.group.slots.take(t) {
			t.slot = hasSlot
		}
	}
	t.replica.Full = t.slot != hasSlot
	if t.adopted && !t.claimsLocked(now) {
		t.adopted, adopted = false, true
	}
	return freed, adopted
}

// wantsSlotLocked reports whether a run is active, or one may follow from what the throttler does
// now.
//
// +checklocks:t.mu
func (t *Throttler) wantsSlotLocked(now time.Duration) bool {
	return t.replica.Active() || t.claimsLocked(now) || t.mayRunLocalLocked() && now >= t.replica.LocalFrom()
}

// claimsLocked reports whether a claim is out whose grant would be in time, or whether one is about
// to be sent if there is a slot.
//
// +checklocks:t.mu
func (t *Throttler) claimsLocked(now time.Duration) bool {
	if now <= t.claimLateLocked() || t.turn == turnToClaim {
		return true
	}
	mayTry := t.phase == open || t.phase == draining && t.replica.Dirty()
	return mayTry && now >= t.outage.retryAt && t.replica.WantsClaim(now)
}

// claimLateLocked returns until when a grant of the claim that is out would be in time. It is before
// any instant if no claim is out.
//
// +checklocks:t.mu
func (t *Throttler) claimLateLocked() time.Duration {
	if t.message.step != replica.Claim {
		return -1
	}
	return t.message.since + t.replica.Rules.Guard
}

// slotUntilLocked returns when the throttler takes or gives up a slot although nothing happens.
//
// +checklocks:t.mu
func (t *Throttler) slotUntilLocked(now time.Duration) (at time.Duration) {
	switch late := t.claimLateLocked(); {
	case t.slot == hasSlot && now <= late:
		return late + 1
	case t.slot == noSlot && now < t.outage.retryAt && t.replica.WantsClaim(now):
		return t.outage.retryAt
	default:
		return replica.Never
	}
}

// useSlot gives t a slot for which it has waited. It reports false if t wants none any more.
func (t *Throttler) useSlot() bool {
	now := t.lock()
	defer t.settle(now)
	t.slot = noSlot
	if !t.wantsSlotLocked(now) {
		return false
	}
	t.slot = hasSlot
	return true
}
