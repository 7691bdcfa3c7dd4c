package throttle

// A walk visits all keys of a shard with the shard's lock held:
//
//	w := s.walk()
//	defer w.unlock()
//	for w.next() {
//		… w.entry …
//	}
//
// It visits every key that the shard holds all the time, exactly once. It may miss keys
// that come or go meanwhile.
//
// It frees the lock after each chunk of keys, so that no call waits for the whole shard.
// A sync.Mutex hands itself to a call that has waited for a millisecond, so the walk need
// not yield. With runtime.Gosched after each chunk, it would queue behind all goroutines
// that calls start, and SetPolicy would take many times as long.
type walk[K comparable] struct {
	shard *shard[K]
	entry *entry[K] // the one to look at

	chunk  []*entry[K]
	left   []*entry[K] // of chunk, after entry
	from   position    // of the following chunk
	locked bool
}

func (s *shard[K]) walk() *walk[K] { return &walk[K]{shard: s} }

// next moves on to the next entry, and reports whether there is one. From then on the
// walk holds the lock, until the last next or unlock.
func (w *walk[K]) next() bool {
	for len(w.left) == 0 {
		if !w.nextChunk() {
			return false
		}
	}
	w.entry, w.left = w.left[0], w.left[1:]
	return true
}

// nextChunk moves on to the next chunk, which may be empty, and reports whether there is
// one. It frees the lock in between.
//
// +checklocksignore
func (w *walk[K]) nextChunk() bool {
	w.unlock()
	if w.from == tableEnd {
		return false
	}
	w.shard.mu.Lock()
	w.locked = true
	w.chunk, w.from = w.shard.table.next(w.from, w.chunk)
	w.left = w.chunk
	return true
}

// unlock frees the lock, if the walk holds it.
//
// +checklocksignore
func (w *walk[K]) unlock() {
	if w.locked {
		w.locked = false
		w.shard.mu.Unlock()
	}
}
