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

// An entry is a key and its Throttler. It is also the runner of that Throttler, unless
// the key's calls carry values.
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
	e.domain, e.policy, e.history = &l.domain, l.policy, newHistory(now, rand.Float32())
	if e.fn = e; l.group.holderOf != nil {
		e.fn = l.group.holderOf(e)
	}
	l.table.add(e)
	return e, nil
}

// admitLocked returns the entry for a Do, a new one if need be. own is the run that its
// context belongs to, ended that context's error. If no key may be added, but the key is
// own's, the caller learns from the entry that it must not wait for itself.
//
// +checklocksignore
func (l location[K]) admitLocked(own *run, ended error) (*entry[K], error) {
	e := l.find()
	switch {
	case e != nil && (l.phase == open || e.isActiveLocked(own)):
		return e, nil
	case l.phase == open && ended != nil:
		return nil, ended
	default:
		return l.findOrAddLocked()
	}
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

// settledLocked implements owner.
//
// +checklocksignore
func (g *Group[K]) settledLocked(t *Throttler, now instant) {
	e, ok := t.fn.(*entry[K])
	if !ok {
		e = t.fn.(keyHolder[K]).entryOf() //nolint:errcheck,forcetypeassert // its own Throttlers
	}
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

// wake is called by the alarm.
func (s *shard[K]) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetIdleLocked(s.now())
}

// forgetIdleLocked forgets the keys whose time has come, but only a chunk of them, so that no
// call waits for long. If there are more, the alarm goes off again at once.
//
// +checklocks:s.mu
func (s *shard[K]) forgetIdleLocked(now instant) {
	for n := 0; n < chunkSize && len(s.idle) > 0 && s.idle[0].until <= now; n++ {
		s.forgetLocked(s.idle[0].entry)
	}
	s.setAlarmLocked(now)
}

// SetPolicy, Close and Shutdown first change all shards, and then walk over the keys.
// Each key changes at an instant of its own:
//   - After setPolicy, new keys have the new policy. adopt gives it to the others.
//   - After refuse, no new key comes, and calls that take the lock are refused. A call
//     that finds a run pending takes no lock: it is accepted until the walk reaches its
//     key. It then counts as earlier than Close or Shutdown: closeKeys drops it, or drain
//     makes sure that a run covers it.

// setPolicy makes p the policy of keys that are added from now on.
func (s *shard[K]) setPolicy(p *Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != open {
		return s.closedLocked()
	}
	s.policy = p
	return nil
}

// pause pauses the shard, or ends the pause.
func (s *shard[K]) pause(paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = paused
}

// pauseKeys does for every key what a pause or its end requires. The caller must call the
// reports, of lost values, once it holds no lock.
//
// +checklocksignore
func (s *shard[K]) pauseKeys(paused bool) (reports []func()) {
	w := s.walk()
	defer w.unlock()
	for w.next() {
		now := w.entry.beginLocked()
		if paused {
			if lost := w.entry.pauseLocked(); lost != nil {
				t := &w.entry.Throttler
				reports = append(reports, func() { t.reportLost(lost) })
			}
		}
		w.entry.settleLocked(now, false)
	}
	return reports
}

// adopt gives every key the policy p.
//
// +checklocksignore
func (s *shard[K]) adopt(p *Policy) {
	w := s.walk()
	defer w.unlock()
	for w.next() {
		now := w.entry.beginLocked()
		w.entry.adoptLocked(now, p)
		w.entry.settleLocked(now, false)
	}
}

// refuse refuses calls from now on. The phase is draining or closed; cause is why the
// parent context ended, nil for Close and Shutdown.
func (s *shard[K]) refuse(p phase, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase >= p {
		return
	}
	s.phase = p
	if cause != nil {
		s.rareLocked().cause = cause
	}
}

// closeKeys closes every key. The caller must call the releases once it holds no lock.
//
// +checklocksignore
func (s *shard[K]) closeKeys() (releases []func()) {
	w := s.walk()
	defer w.unlock()
	for w.next() {
		now := w.entry.beginLocked()
		if release := w.entry.closeLocked(nil); release != nil {
			releases = append(releases, release)
		}
		w.entry.settleLocked(now, false)
	}
	return releases
}

// drain begins to drain every key, and returns what to wait for. If late, see
// drainLocked.
//
// +checklocksignore
func (s *shard[K]) drain(late bool) (waits []wait) {
	w := s.walk()
	defer w.unlock()
	for w.next() {
		now := w.entry.beginLocked()
		before := len(waits)
		waits = w.entry.drainLocked(waits, now, late)
		if idle := len(waits) == before+1 && waits[before].outcome == nil && w.entry.run == nil; idle {
			waits = waits[:before]
		}
		w.entry.settleLocked(now, false)
	}
	return waits
}

// awaitActive returns the active runs, for Wait. It returns ErrClosed if the Group is
// closed, and otherwise ended, if that is not nil.
//
// +checklocksignore
func (s *shard[K]) awaitActive(ended error) (waits []wait, err error) {
	if err := s.admit(ended); err != nil {
		return nil, err
	}
	w := s.walk()
	defer w.unlock()
	for w.next() {
		if o := w.entry.awaitActiveLocked(); o != nil {
			waits = append(waits, wait{&w.entry.Throttler, o})
		}
	}
	return waits, nil
}

// admit returns the reason why Wait must not wait, nil if it may.
func (s *shard[K]) admit(ended error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == closed {
		return s.closedLocked()
	}
	return ended
}

// addTo adds the present state of the shard's keys and its past to stats.
//
// +checklocksignore
func (s *shard[K]) addTo(stats *Stats, clock clock) {
	w := s.walk()
	defer w.unlock()
	for w.next() {
		w.entry.absorbLocked(w.entry.word.Load()) // counts calls
		w.entry.addLocked(stats, clock)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addPastLocked(stats)
	stats.Closed = s.phase != open
	stats.Paused = s.paused
}
