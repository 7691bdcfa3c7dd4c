package throttle

import (
	"container/heap"
	"context"
	"hash/maphash"
	"sync/atomic"
)

// This file holds the keys of a Group: how they are found, held, and forgotten.
//
// A shard's lock is that of its entries' Throttlers, too. The lock checker cannot
// know that, so what holds the one and uses the other is exempt from it.

// A keeper holds the Throttlers of a Group.
type keeper interface {
	// close closes them all, because the parent context ended if cause is not
	// nil. No lock may be held.
	close(cause error)

	// settledLocked is called at the end of every transition of t, which began
	// at now, with t's lock held.
	settledLocked(t *Throttler, now instant)
}

// A shard holds a part of the keys, under one lock. Its Throttlers have it as
// their domain.
//
// The keys lie in a hash table with chains. A map cannot be read without a lock,
// which the call that coalesces, the one that is made most, is to do; and it
// never gives memory back.
type shard[K comparable] struct {
	domain
	group *Group[K]

	// buckets are changed with mu held, and read without it by find: who walks
	// a chain while it is changed may miss a key, but finds no wrong one.
	buckets atomic.Pointer[buckets[K]]

	// +checklocks:mu
	phase phase
	// +checklocks:mu
	policy *Policy
	// +checklocks:mu
	count int // of keys
	// +checklocks:mu
	resting heapOf[rest[K]] // the keys that are idle, by when they can be forgotten
	// +checklocks:mu
	alarm *alarm // set for the first of them; nil if there is none
}

// The number of shards is a power of two, as is that of a shard's buckets: some
// low bits of a key's hash are the one's index, and the next the other's.
const (
	shardBits    = 6
	shardCount   = 1 << shardBits
	leastBuckets = 4 // one key is a quarter of them, and so removeLocked never makes them fewer
)

// buckets are the heads of the chains.
type buckets[K comparable] []atomic.Pointer[entry[K]]

func (b buckets[K]) of(hash uint32) *atomic.Pointer[entry[K]] {
	return &b[int(hash>>shardBits)&(len(b)-1)]
}

// An entry is a key with its Throttler, of whose runs it is the callback.
type entry[K comparable] struct {
	Throttler
	key  K
	next atomic.Pointer[entry[K]] // in the chain
	hash uint32

	// Guarded by the shard's mu: where in resting it is, notQueued if it is
	// not, forgotten if the shard does not hold it any more.
	index int32
}

const forgotten = -2

// A rest is when an idle key can be forgotten.
type rest[K comparable] struct {
	entry *entry[K]
	until instant
}

// before implements element.
func (r rest[K]) before(other rest[K]) bool { return r.until < other.until }

// placed implements element.
func (r rest[K]) placed(index int) { r.entry.index = int32(index) } //nolint:gosec // no shard holds so many

// callback implements part.
func (e *entry[K]) callback(ctx context.Context) error {
	return e.extras.keeper.(*Group[K]).fn(ctx, e.key) //nolint:errcheck,forcetypeassert // its own Group
}

// keyOf implements keyed.
func (e *entry[K]) keyOf() any { return e.key }

// A location is a key and where it belongs.
type location[K comparable] struct {
	*shard[K]
	key  K
	hash uint32
}

func (g *Group[K]) locate(key K) location[K] {
	hash := g.hash(key)
	return location[K]{g.shard(hash), key, hash}
}

func (g *Group[K]) hash(key K) uint32 {
	return uint32(maphash.Comparable(g.seed, key)) //nolint:gosec // the lower half of it
}

func (g *Group[K]) shard(hash uint32) *shard[K] { return &g.shards[hash%shardCount] }

// find returns the entry of the key, nil if it is not held. Without the lock it
// may also miss it, or return one that is just forgotten.
func (l location[K]) find() *entry[K] {
	e := l.first(l.hash)
	for e != nil && e.key != l.key {
		e = e.next.Load()
	}
	return e
}

// first returns the first entry of the chain for hash, nil if there is none.
func (s *shard[K]) first(hash uint32) *entry[K] {
	heads := s.buckets.Load()
	if heads == nil {
		return nil
	}
	return heads.of(hash).Load()
}

// holdLocked returns the entry of the key, a new one if need be.
//
// +checklocksignore
func (l location[K]) holdLocked() (*entry[K], error) {
	switch e := l.find(); {
	case l.phase != open:
		return nil, l.closedError(l.phase)
	case e != nil:
		return e, nil
	case !l.group.reserve():
		return nil, sentinel(ErrTooManyKeys, l.extras.name, nil)
	}
	e := &entry[K]{key: l.key, hash: l.hash, index: notQueued}
	e.domain, e.fn, e.policy, e.history = &l.domain, e, l.policy, newHistory(l.now())
	l.addLocked(e)
	return e, nil
}

// reserve counts a new key, or reports that there are too many.
func (g *Group[K]) reserve() bool {
	for {
		held := g.keys.Load()
		if limit := g.extras.maxKeys; limit > 0 && held >= limit {
			return false
		}
		if g.keys.CompareAndSwap(held, held+1) {
			return true
		}
	}
}

// +checklocksignore
func (s *shard[K]) init(g *Group[K], p *Policy) {
	s.domain = newDomain(g.extras, g.base)
	s.group, s.policy = g, p
}

// addLocked puts e into the table.
//
// +checklocks:s.mu
func (s *shard[K]) addLocked(e *entry[K]) {
	heads := s.buckets.Load()
	s.count++
	switch {
	case heads == nil:
		heads = s.resizeLocked(leastBuckets)
	case s.count > len(*heads):
		heads = s.resizeLocked(2 * len(*heads))
	}
	head := heads.of(e.hash)
	e.next.Store(head.Load())
	head.Store(e)
}

// resizeLocked moves all entries to n buckets, and returns them.
//
// +checklocks:s.mu
func (s *shard[K]) resizeLocked(n int) *buckets[K] {
	heads := make(buckets[K], n)
	for _, e := range s.heldLocked() {
		head := heads.of(e.hash)
		e.next.Store(head.Load())
		head.Store(e)
	}
	s.buckets.Store(&heads)
	return &heads
}

// removeLocked takes e out of the table, which gives back what it needs no more.
//
// +checklocks:s.mu
func (s *shard[K]) removeLocked(e *entry[K]) {
	heads := s.buckets.Load()
	link := heads.of(e.hash)
	for at := link.Load(); at != e; at = link.Load() {
		link = &at.next
	}
	link.Store(e.next.Load())
	s.count--
	switch {
	case s.count == 0:
		s.buckets.Store(nil)
	case s.count < len(*heads)/4: // never so with leastBuckets
		s.resizeLocked(len(*heads) / 2)
	}
}

// held returns the entries.
func (s *shard[K]) held() []*entry[K] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heldLocked()
}

// heldLocked returns the entries.
//
// +checklocks:s.mu
func (s *shard[K]) heldLocked() []*entry[K] {
	heads := s.buckets.Load()
	if heads == nil {
		return nil
	}
	entries := make([]*entry[K], 0, s.count)
	for i := range *heads {
		for e := (*heads)[i].Load(); e != nil; e = e.next.Load() {
			entries = append(entries, e)
		}
	}
	return entries
}

// settledLocked implements keeper.
//
// +checklocksignore
func (g *Group[K]) settledLocked(t *Throttler, now instant) {
	e := t.fn.(*entry[K]) //nolint:errcheck,forcetypeassert // its own Throttlers
	g.shard(e.hash).settledLocked(e, now)
}

// settledLocked takes note of until when e, after a transition that began at
// now, is to be held.
//
// +checklocksignore
func (s *shard[K]) settledLocked(e *entry[K], now instant) {
	until := e.restsLocked()
	switch {
	case e.index == forgotten:
		// A stale timer or turn came to it.
		return
	case until <= now:
		s.forgetLocked(e)
	case until == never:
		if e.index >= 0 {
			s.resting.remove(int(e.index))
		}
		return // an alarm that is set too early does no harm
	case e.index >= 0:
		s.resting[e.index].until = until
		heap.Fix(&s.resting, int(e.index))
	default:
		s.resting.add(rest[K]{e, until})
	}
	s.setAlarmLocked(now)
}

// restsLocked returns the instant from which nobody could tell t from a new
// Throttler; never if it is not idle.
//
// +checklocks:t.mu
func (t *Throttler) restsLocked() instant {
	switch {
	case t.run != nil:
		return never
	case t.history.phase != open && !t.pendingLocked():
		return beginning
	default:
		return t.history.rests(t.policy)
	}
}

// forgetLocked holds e no longer.
//
// +checklocks:s.mu
func (s *shard[K]) forgetLocked(e *entry[K]) {
	if e.index >= 0 {
		s.resting.remove(int(e.index))
	}
	e.index = forgotten
	s.removeLocked(e)
	s.group.keys.Add(-1)
}

// setAlarmLocked sees to it that the shard wakes when the first key can be
// forgotten.
//
// +checklocks:s.mu
func (s *shard[K]) setAlarmLocked(now instant) {
	first := never
	if len(s.resting) > 0 {
		first = s.resting[0].until
	}
	s.alarm = s.alarm.set(s, now, first)
}

// wake is what the alarm calls: it forgets the keys whose time has come.
func (s *shard[K]) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for len(s.resting) > 0 && s.resting[0].until <= now {
		s.forgetLocked(s.resting[0].entry)
	}
	s.setAlarmLocked(now)
}

// setPolicy gives every key the policy p.
//
// +checklocksignore
func (s *shard[K]) setPolicy(p *Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != open {
		return s.closedError(s.phase)
	}
	s.policy = p
	for _, e := range s.heldLocked() {
		now := e.beginLocked()
		e.adoptLocked(now, p)
		e.settleLocked(now, false)
	}
	return nil
}

// close closes every key, and returns what is to be called once no lock is held.
//
// +checklocksignore
func (s *shard[K]) close() (releases []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = closed
	for _, e := range s.heldLocked() {
		now := e.beginLocked()
		if release := e.closeLocked(nil); release != nil {
			releases = append(releases, release)
		}
		e.settleLocked(now, false)
	}
	return releases
}

// A wait is a Throttler that drains, and what is to be waited for: nil if that is
// just its active run.
type wait struct {
	throttler *Throttler
	outcome   *outcome
}

// drain begins to drain every key, and returns those that are not idle.
//
// +checklocksignore
func (s *shard[K]) drain() (waits []wait) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = max(s.phase, draining)
	for _, e := range s.heldLocked() {
		now := e.beginLocked()
		if o := e.drainLocked(now); o != nil || e.run != nil {
			waits = append(waits, wait{&e.Throttler, o})
		}
		e.settleLocked(now, false)
	}
	return waits
}

// addTo adds what has happened to past, and to present what the keys do now.
//
// +checklocksignore
func (s *shard[K]) addTo(past *tally, present *Stats, clock clock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	past.add(&s.tally)
	present.Closed = s.phase != open
	for _, e := range s.heldLocked() {
		e.absorbLocked(e.word.Load())
		e.addLocked(present, clock)
	}
}
