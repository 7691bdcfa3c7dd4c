package throttle

import (
	"container/heap"
	"context"
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"
)

// A shard's lock is also the lock of its entries' Throttlers. CONTRIBUTING.md says why
// the lock checker is off (checklocksignore) where a function takes the one and uses
// the other.

// An owner holds the Throttlers of a Group.
type owner interface {
	// close closes them all. cause is why the parent context ended; nil for Close.
	// No lock may be held.
	close(cause error)

	// settledLocked is called at the end of every transition of t, which began at
	// now, with t's lock held.
	settledLocked(t *Throttler, now instant)

	// enteredLocked is called when r enters its callback, and endedLocked when r is
	// over, with its Throttler's lock held.
	enteredLocked(r *run)
	endedLocked(r *run)
}

// A shard holds some of the keys, under one lock. It is the domain of their
// Throttlers.
type shard[K comparable] struct {
	domain
	group *Group[K]
	table table[K] // to be changed with mu held

	// +checklocks:mu
	phase phase
	// +checklocks:mu
	policy *Policy
	// +checklocks:mu
	idle heapOf[idleKey[K]] // ordered by when they can be forgotten
	// +checklocks:mu
	alarm *alarm // for the first idle key; nil if there is none
}

// An entry is a key and its Throttler. It is also the runner of that Throttler.
type entry[K comparable] struct {
	Throttler
	key  K
	next atomic.Pointer[entry[K]] // in the table's chain
	hash uint32

	// The shard's mu guards index: the entry's index in idle, notQueued if it is not
	// idle, or forgotten if the shard no longer holds it.
	index int32
}

const forgotten = -2

// An idleKey is a key that can be forgotten at the given instant.
type idleKey[K comparable] struct {
	entry *entry[K]
	until instant
}

// before implements element. (Mutants: equal instants may come in any order.)
func (k idleKey[K]) before(other idleKey[K]) bool { return k.until < other.until }

// placed implements element.
func (k idleKey[K]) placed(index int) { k.entry.index = int32(index) } //nolint:gosec // no shard holds so many

// callback implements runner.
func (e *entry[K]) callback(ctx context.Context) error {
	return e.config.owner.(*Group[K]).fn(ctx, e.key) //nolint:errcheck,forcetypeassert // its own Group
}

// keyOf implements runner.
func (e *entry[K]) keyOf() any { return e.key }

// A location is a key and the shard it belongs to.
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

// find returns the entry of the key; nil if the Group does not hold it. It needs mu.
func (l location[K]) find() *entry[K] { return l.table.find(l.key, l.hash) }

// findOrAddLocked returns the entry of the key, a new one if there is none.
//
// +checklocksignore
func (l location[K]) findOrAddLocked() (*entry[K], error) {
	switch e := l.find(); {
	case l.phase != open:
		return nil, l.closedLocked()
	case e != nil:
		return e, nil
	}
	now := l.now() // it may panic, so it comes before any change
	if !l.group.reserve() {
		return nil, detailed(ErrTooManyKeys, l.config.name, nil)
	}
	e := &entry[K]{key: l.key, hash: l.hash, index: notQueued}
	e.domain, e.fn, e.policy, e.history = &l.domain, e, l.policy, newHistory(now, rand.Float32())
	l.table.add(e)
	return e, nil
}

// reserve counts a new key. It reports false if there are too many.
func (g *Group[K]) reserve() bool {
	for {
		held := g.keys.Load()
		if limit := g.config.maxKeys; limit > 0 && held >= limit {
			return false
		}
		if g.keys.CompareAndSwap(held, held+1) {
			return true
		}
	}
}

// +checklocksignore
func (s *shard[K]) init(g *Group[K], built clock, p *Policy) {
	s.domain = newDomain(g.config, built)
	s.group, s.policy = g, p
}

// entries returns all entries.
func (s *shard[K]) entries() []*entry[K] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allLocked()
}

// allLocked returns all entries.
//
// +checklocks:s.mu
func (s *shard[K]) allLocked() (entries []*entry[K]) {
	for at := position(0); at < tableEnd; {
		var chunk []*entry[K]
		chunk, at = s.table.next(at, nil)
		entries = append(entries, chunk...)
	}
	return entries
}

// settledLocked implements owner.
//
// +checklocksignore
func (g *Group[K]) settledLocked(t *Throttler, now instant) {
	e := t.fn.(*entry[K]) //nolint:errcheck,forcetypeassert // its own Throttlers
	g.shard(e.hash).settledLocked(e, now)
}

// enteredLocked implements owner.
func (g *Group[K]) enteredLocked(r *run) {
	g.lastMu.Lock()
	defer g.lastMu.Unlock()
	g.last.started = max(g.last.started, r.started)
}

// endedLocked implements owner.
func (g *Group[K]) endedLocked(r *run) {
	g.lastMu.Lock()
	defer g.lastMu.Unlock()
	if r.ended >= g.last.ended { // a run that ended later may have had quicker hooks
		g.last.ended, g.last.took, g.last.err = r.ended, r.ended.since(r.started), r.err
	}
}

// settledLocked decides how long to hold e, after a transition that began at now.
//
// +checklocksignore
func (s *shard[K]) settledLocked(e *entry[K], now instant) {
	until := e.forgettableLocked()
	switch {
	case e.index == forgotten:
		return // a stale timer or turn made the transition
	case until <= now:
		s.forgetLocked(e)
	case until == never:
		if e.index >= 0 {
			s.idle.remove(int(e.index))
		}
		return // an alarm that is set too early does no harm
	case e.index >= 0:
		s.idle[e.index].until = until
		heap.Fix(&s.idle, int(e.index))
	default:
		s.idle.add(idleKey[K]{e, until})
	}
	s.setAlarmLocked(now)
}

// forgettableLocked returns the instant from which nobody can tell t from a new
// Throttler; never if t is not idle.
//
// +checklocks:t.mu
func (t *Throttler) forgettableLocked() instant {
	switch {
	case t.run != nil:
		return never
	case t.history.removed:
		return beginning
	case t.history.phase != open && !t.pendingLocked():
		return beginning
	default:
		return t.history.forgettable(t.policy)
	}
}

// forgetLocked removes e from the shard.
//
// +checklocks:s.mu
func (s *shard[K]) forgetLocked(e *entry[K]) {
	if e.index >= 0 {
		s.idle.remove(int(e.index))
	}
	e.index = forgotten
	s.table.remove(e)
	s.group.keys.Add(-1)
}

// setAlarmLocked makes the shard wake when the first key can be forgotten.
//
// +checklocks:s.mu
func (s *shard[K]) setAlarmLocked(now instant) {
	first := never
	if len(s.idle) > 0 {
		first = s.idle[0].until
	}
	s.alarm = s.alarm.set(s, now, first)
}

// wake is called by the alarm. It forgets the keys whose time has come.
func (s *shard[K]) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for len(s.idle) > 0 && s.idle[0].until <= now {
		s.forgetLocked(s.idle[0].entry)
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
		return s.closedLocked()
	}
	s.policy = p
	for _, e := range s.allLocked() {
		now := e.beginLocked()
		e.adoptLocked(now, p)
		e.settleLocked(now, false)
	}
	return nil
}

// setPaused pauses every key, or ends the pause.
//
// +checklocksignore
func (s *shard[K]) setPaused(paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = paused
	for _, e := range s.allLocked() {
		now := e.beginLocked()
		if paused {
			_ = e.pauseLocked() // a key has no value to lose
		}
		e.settleLocked(now, false)
	}
}

// close closes every key. cause is why the parent context ended; nil for Close. The
// caller must call the releases once it holds no lock.
//
// +checklocksignore
func (s *shard[K]) close(cause error) (releases []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != closed {
		s.phase = closed
		if cause != nil {
			s.rareLocked().cause = cause
		}
	}
	for _, e := range s.allLocked() {
		now := e.beginLocked()
		if release := e.closeLocked(nil); release != nil {
			releases = append(releases, release)
		}
		e.settleLocked(now, false)
	}
	return releases
}

// A wait is a Throttler that drains and the outcome to wait for, nil to wait only for
// its active run.
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
	for _, e := range s.allLocked() {
		now := e.beginLocked()
		if o := e.drainLocked(now); o != nil || e.run != nil {
			waits = append(waits, wait{&e.Throttler, o})
		}
		e.settleLocked(now, false)
	}
	return waits
}

// awaitActive returns the active runs, for Wait. It returns ErrClosed if the Group is
// closed, and otherwise ended, if that is not nil.
//
// +checklocksignore
func (s *shard[K]) awaitActive(ended error) (waits []wait, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase == closed:
		return nil, s.closedLocked()
	case ended != nil:
		return nil, ended
	}
	for _, e := range s.allLocked() {
		if o := e.awaitActiveLocked(); o != nil {
			waits = append(waits, wait{&e.Throttler, o})
		}
	}
	return waits, nil
}

// addTo adds the shard's past and the present state of its keys to stats.
//
// +checklocksignore
func (s *shard[K]) addTo(stats *Stats, clock clock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Closed = s.phase != open
	stats.Paused = s.paused
	for _, e := range s.allLocked() {
		e.absorbLocked(e.word.Load())
		e.addLocked(stats, clock)
	}
	s.addPastLocked(stats)
}
