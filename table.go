package throttle

import (
	"slices"
	"sync/atomic"
)

// A table is a hash table of the keys of a shard, with chained buckets. first needs no
// lock; the other methods need the shard's.
//
// It is not a map because a map cannot be read without a lock, and most calls only
// find a key whose run is pending. A map also never gives memory back.
//
// No method takes long, even in a large table. When the number of buckets changes, the
// keys stay where they are; later operations move them, a few buckets each. You visit
// all keys in chunks, and between two chunks keys may come and go.
type table[K comparable] struct {
	buckets atomic.Pointer[buckets[K]] // nil while the table is empty
	old     *buckets[K]                // those before the last resize; nil once all their keys have moved
	moved   int                        // how many of old's buckets are empty, counted from the first
	count   int                        // of keys
}

// The low shardBits bits of a key's hash select the shard, the high bits the bucket.
const (
	shardBits  = 6
	shardCount = 1 << shardBits
	hashBits   = 32
	mostShift  = hashBits - 2 // four buckets: a single key is a quarter of them, so remove never goes below
)

// pace is how many of old's buckets an operation moves. All keys must have moved before
// the number of buckets changes again. This is closest when n buckets become n/2: they
// then hold n/4 keys, and become n/4 after n/8 removals.
const pace = 8

// chunkSize is how many keys a chunk has, not counting the rest of its last bucket. A key
// takes up to two microseconds, and a call may wait for two chunks: for one that has begun,
// and for another before the walk hands over the lock.
const chunkSize = 400

// buckets are the heads of the chains, in the order of their keys' hashes.
type buckets[K comparable] struct {
	heads []atomic.Pointer[entry[K]] // as many as a power of two
	shift uint8                      // how many low bits of a hash do not select the bucket
}

func newBuckets[K comparable](shift uint8) *buckets[K] {
	return &buckets[K]{make([]atomic.Pointer[entry[K]], 1<<(hashBits-shift)), shift}
}

// index returns the index of the bucket for hash.
func (b *buckets[K]) index(hash uint32) int { return int(hash >> b.shift) }

// push puts e at the head of its chain.
func (b *buckets[K]) push(e *entry[K]) {
	head := &b.heads[b.index(e.hash)]
	e.next.Store(head.Load())
	head.Store(e)
}

// first returns the first entry of the chain for hash, nil if there is none. Without
// the lock, the chain may lack entries that are in the table, contain entries of other
// chains, and contain entries that were just removed.
func (t *table[K]) first(hash uint32) *entry[K] {
	b := t.buckets.Load()
	if b == nil {
		return nil
	}
	return b.heads[b.index(hash)].Load()
}

// find returns the entry of key, nil if there is none.
func (t *table[K]) find(key K, hash uint32) *entry[K] {
	t.prepare(hash)
	e := t.first(hash)
	for e != nil && e.key != key {
		e = e.next.Load()
	}
	return e
}

// add adds e, whose key must not be in the table.
func (t *table[K]) add(e *entry[K]) {
	t.prepare(e.hash)
	t.count++
	switch b := t.buckets.Load(); {
	case b == nil:
		t.resize(mostShift)
	case t.count > len(b.heads):
		t.resize(b.shift - 1)
	}
	t.buckets.Load().push(e)
}

// remove removes e, which must be in the table, and gives back memory that is no
// longer needed.
func (t *table[K]) remove(e *entry[K]) {
	t.prepare(e.hash)
	b := t.buckets.Load()
	link := &b.heads[b.index(e.hash)]
	for at := link.Load(); at != e; at = link.Load() {
		link = &at.next
	}
	link.Store(e.next.Load())
	t.count--
	switch {
	case t.count == 0:
		t.buckets.Store(nil)
	case t.count < len(b.heads)/4: // never true for mostShift
		t.resize(b.shift + 1)
	}
}

// resize begins to move the keys to new buckets.
func (t *table[K]) resize(shift uint8) {
	t.old, t.moved = t.buckets.Load(), 0
	t.buckets.Store(newBuckets[K](shift))
}

// prepare moves the keys that an operation on hash may need, and some more.
func (t *table[K]) prepare(hash uint32) {
	if t.old == nil {
		return
	}
	i, next := t.old.index(hash), min(t.moved+pace, len(t.old.heads))
	t.move(i, i)
	t.move(t.moved, next-1)
	t.moved = next
	if next == len(t.old.heads) {
		t.old = nil
	}
}

// move moves the keys of old's buckets from first to last.
func (t *table[K]) move(first, last int) {
	b := t.buckets.Load()
	for i := range t.old.heads[first : last+1] {
		for e := t.old.heads[first+i].Swap(nil); e != nil; {
			next := e.next.Load()
			b.push(e)
			e = next
		}
	}
}

// A position is a point in the order of all hashes, given by the hash that follows. It
// stays valid when the number of buckets changes.
type position uint64

const tableEnd position = 1 << hashBits // after all hashes

// next returns the entries of the chunk that begins at from, and the position of the
// following chunk. It overwrites room, which may be nil, and uses its memory. Chunk by
// chunk from 0 to tableEnd, you get every entry that is in the table all the time
// exactly once; one that is added or removed meanwhile, once or not at all.
func (t *table[K]) next(from position, room []*entry[K]) (entries []*entry[K], following position) {
	b := t.buckets.Load()
	if b == nil {
		return nil, tableEnd
	}
	entries = slices.Grow(room[:0], min(t.count, chunkSize))
	for from < tableEnd && len(entries) < chunkSize {
		lowest := uint32(from)
		i := b.index(lowest)
		highest := lowest | (1<<b.shift - 1)
		if t.old != nil {
			t.move(t.old.index(lowest), t.old.index(highest))
		}
		for e := b.heads[i].Load(); e != nil; e = e.next.Load() {
			if e.hash >= lowest { // a lower one was in the previous chunk, before the table shrank
				entries = append(entries, e)
			}
		}
		from = position(highest) + 1
	}
	return entries, from
}
