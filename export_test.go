package throttle

import (
	"context"
	"time"
)

// This file lets tests see what the package hides: the arithmetic of due.go, the room of a
// heap and of a Group's table, stale timers, the locks, the queue for turns, and the one
// for room.

// A Room bounds how many values wait.
type Room struct{ room *room }

// NewRoom returns one for size values.
func NewRoom(size int) Room { return Room{&room{size: size}} }

func (r Room) TryEnter() bool                          { return r.room.tryEnter() }
func (r Room) Enter(ctx context.Context) (bool, error) { return r.room.enter(ctx) }
func (r Room) Entered()                                { r.room.entered(false) }
func (r Room) Leave(n int)                             { r.room.leave(n) }

// ForeignClock is the panic of a call from the other side of a bubble's border.
const ForeignClock = foreignClock

// ChunkSize is how many keys a chunk of a Group's table has, and sometimes a few more.
const ChunkSize = chunkSize

// A Step changes a history under a policy.
type Step func(h *history, p Policy)

// Called is a call at the given time, while no run is active.
func Called(at time.Duration) Step { return CalledWithin(at, noLimit) }

// CalledWithin is a call at the given time that must not wait longer than within.
func CalledWithin(at, within time.Duration) Step {
	return func(h *history, p Policy) { h.call(&p, instant(at), within, false) }
}

// CalledDuringRun is a call at the given time, while a run is active.
func CalledDuringRun(at time.Duration) Step {
	return func(h *history, p Policy) { h.call(&p, instant(at), noLimit, true) }
}

// Drawn draws the Jitter before the first run.
func Drawn(draw float32) Step {
	return func(h *history, _ Policy) { *h = newHistory(h.started, draw) }
}

// Started is a run's start at the given time, which draws no Jitter.
func Started(at time.Duration) Step { return StartedWith(at, 0) }

// StartedWith is a run's start at the given time; draw draws the Jitter.
func StartedWith(at time.Duration, draw float32) Step {
	return func(h *history, p Policy) {
		h.drop()
		h.enter(&p, instant(at), draw)
	}
}

// Succeeded is a run's end at the given time.
func Succeeded(at time.Duration) Step {
	return func(h *history, p Policy) { h.finish(&p, instant(at), verdict{}, false, 0) }
}

// Failed is a run's end at the given time; random draws the jitter.
func Failed(at time.Duration, random float64) Step {
	return func(h *history, p Policy) { h.finish(&p, instant(at), verdict{failed: true}, false, random) }
}

// Flushed makes what is pending due at the given time.
func Flushed(at time.Duration) Step {
	return func(h *history, _ Policy) { h.flushNow(instant(at)) }
}

// Never means not due, and Always means over before anything happened.
const (
	Never  = time.Duration(never)
	Always = time.Duration(beginning)
)

// MostDrawn is the greatest draw.
const MostDrawn = mostDrawn

// Due returns when the next run is due after the steps, and why.
func Due(p Policy, steps ...Step) (time.Duration, Cause) {
	at, cause := after(p, steps).due(&p)
	return time.Duration(at), cause
}

// Rests returns the instant from which the steps decide nothing any more.
func Rests(p Policy, steps ...Step) time.Duration {
	return time.Duration(after(p, steps).forgettable(&p))
}

func after(p Policy, steps []Step) *history {
	h := newHistory(0, 0)
	for _, step := range steps {
		step(&h, p)
	}
	return &h
}

// HeapRoom returns the capacity of a heap after so many elements were added and so many
// removed.
func HeapRoom(added, removed int) int {
	var h heapOf[*place]
	for range added {
		h.add(new(place))
	}
	for range removed {
		h.remove(0)
	}
	return cap(h)
}

// Locked calls do with the lock held.
func (t *Throttler) Locked(do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	do()
}

// Wake does what a timer does that fires now, even if it is stale or was stopped too
// late.
func (t *Throttler) Wake() { t.wake() }

// A Table is a table whose keys are ints, with hashes of the test's choice.
type Table struct {
	table   table[int]
	entries map[int]*entry[int]
}

// Add adds key, which must not be there.
func (t *Table) Add(key int, hash uint32) {
	if t.entries == nil {
		t.entries = map[int]*entry[int]{}
	}
	t.entries[key] = &entry[int]{key: key, hash: hash}
	t.table.add(t.entries[key])
}

// Remove removes key, which must be there.
func (t *Table) Remove(key int) {
	t.table.remove(t.entries[key])
	delete(t.entries, key)
}

// Find reports whether the table finds key.
func (t *Table) Find(key int, hash uint32) bool { return t.table.find(key, hash) != nil }

// FindUnlocked is Find without a lock, which may miss a key.
func (t *Table) FindUnlocked(key int, hash uint32) bool {
	e := t.table.first(hash)
	for e != nil && e.key != key {
		e = e.next.Load()
	}
	return e != nil
}

// Next returns the keys of the chunk at the given position, and the position of the
// next chunk; 0 after the last one.
func (t *Table) Next(at uint64) (keys []int, next uint64) {
	entries, following := t.table.next(position(at), nil)
	for _, e := range entries {
		keys = append(keys, e.key)
	}
	return keys, uint64(following % tableEnd)
}

// Moving reports whether the table still has its former buckets.
func (t *Table) Moving() bool { return t.table.old != nil }

// Buckets returns the number of buckets.
func (t *Table) Buckets() int {
	b := t.table.buckets.Load()
	if b == nil {
		return 0
	}
	return len(b.heads)
}

// Locked calls do with key's lock held.
func (g *Group[K]) Locked(key K, do func()) {
	s := g.locate(key).shard
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// CancelAfter calls do and then cancels key, all with key's lock held.
//
// +checklocksignore
func (g *Group[K]) CancelAfter(key K, do func()) {
	at := g.locate(key)
	at.mu.Lock()
	defer at.mu.Unlock()
	do()
	e := at.find()
	defer e.settleLocked(e.beginLocked(), false)
	e.cancelLocked()
}

// Together reports whether the two keys have one lock.
func (g *Group[K]) Together(a, b K) bool { return g.locate(a).shard == g.locate(b).shard }

// ForgetIdle lets d pass with the lock of key's shard held, and then does what the shard does
// when it wakes. It returns how many keys the shard forgets before it frees the lock.
//
// +checklocksignore
func (g *Group[K]) ForgetIdle(key K, d time.Duration) int {
	s, before := g.locate(key).shard, g.Len()
	s.mu.Lock()
	defer s.mu.Unlock()
	time.Sleep(d)
	s.forgetIdleLocked(s.now())
	return before - g.Len()
}

// Queued returns how many runs wait for their turn.
func (g *Group[K]) Queued() int {
	turns := g.config.turns
	turns.mu.Lock()
	defer turns.mu.Unlock()
	return len(turns.queue)
}
