package throttle

// This file opens to tests what cannot be seen of a Group from outside: its table, its
// locks, and the queue for its turns.

// Table returns how many keys the part of g's table holds to which key belongs, and how
// many chains that has.
func (g *Group[K]) Table(key K) (keys, chains int) {
	s := g.locate(key).shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if heads := s.table.buckets.Load(); heads != nil {
		chains = len(*heads)
	}
	return s.table.count, chains
}

// Locked calls do with the lock of key held.
func (g *Group[K]) Locked(key K, do func()) {
	s := g.locate(key).shard
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// CancelAfter cancels key once do has returned, which is called with key's lock held.
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

// Queued returns how many runs wait for their turn.
func (g *Group[K]) Queued() int {
	turns := g.config.turns
	turns.mu.Lock()
	defer turns.mu.Unlock()
	return len(turns.queue)
}
