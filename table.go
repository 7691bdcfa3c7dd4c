package throttle

import "sync/atomic"

// A table is a hash table of the keys of a shard, with chained buckets. find needs no
// lock; the other methods need the shard's.
//
// It is not a map because a map cannot be read without a lock, and most calls only
// find a key whose run is pending. A map also never gives memory back.
type table[K comparable] struct {
	// A find that runs while a chain changes may miss a key, but finds no wrong one.
	buckets atomic.Pointer[buckets[K]] // nil while the table is empty
	count   int                        // of keys
}

// The number of shards and the number of a shard's buckets are powers of two. The low
// shardBits bits of a key's hash select the shard, the bits above them the bucket.
const (
	shardBits    = 6
	shardCount   = 1 << shardBits
	leastBuckets = 4 // a single key is a quarter of them, so remove never goes below
)

// buckets are the heads of the chains.
type buckets[K comparable] []atomic.Pointer[entry[K]]

func (b buckets[K]) of(hash uint32) *atomic.Pointer[entry[K]] {
	return &b[int(hash>>shardBits)&(len(b)-1)]
}

// push puts e at the head of its chain.
func (b buckets[K]) push(e *entry[K]) {
	head := b.of(e.hash)
	e.next.Store(head.Load())
	head.Store(e)
}

// find returns the entry of key, nil if there is none. Without the lock it may miss
// the entry, or return one that was just removed.
func (t *table[K]) find(key K, hash uint32) *entry[K] {
	e := t.first(hash)
	for e != nil && e.key != key {
		e = e.next.Load()
	}
	return e
}

// first returns the first entry of the chain for hash, nil if there is none.
func (t *table[K]) first(hash uint32) *entry[K] {
	heads := t.buckets.Load()
	if heads == nil {
		return nil
	}
	return heads.of(hash).Load()
}

// add adds e, whose key must not be in the table.
func (t *table[K]) add(e *entry[K]) {
	heads := t.buckets.Load()
	t.count++
	switch {
	case heads == nil:
		heads = t.resize(leastBuckets)
	case t.count > len(*heads):
		heads = t.resize(2 * len(*heads))
	}
	heads.push(e)
}

// remove removes e, which must be in the table, and gives back memory that is no
// longer needed.
func (t *table[K]) remove(e *entry[K]) {
	heads := t.buckets.Load()
	link := heads.of(e.hash)
	for at := link.Load(); at != e; at = link.Load() {
		link = &at.next
	}
	link.Store(e.next.Load())
	t.count--
	switch {
	case t.count == 0:
		t.buckets.Store(nil)
	case t.count < len(*heads)/4: // never true for leastBuckets
		t.resize(len(*heads) / 2)
	}
}

// resize moves all entries to n new buckets, and returns these.
func (t *table[K]) resize(n int) *buckets[K] {
	heads := make(buckets[K], n)
	for _, e := range t.all() {
		heads.push(e)
	}
	t.buckets.Store(&heads)
	return &heads
}

// all returns the entries, in no order.
func (t *table[K]) all() []*entry[K] {
	heads := t.buckets.Load()
	if heads == nil {
		return nil
	}
	entries := make([]*entry[K], 0, t.count)
	for i := range *heads {
		for e := (*heads)[i].Load(); e != nil; e = e.next.Load() {
			entries = append(entries, e)
		}
	}
	return entries
}
