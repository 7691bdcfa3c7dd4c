package throttle_test

import (
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestTable compares a table with a map while keys come and go, and while walks visit
// all keys.
func TestTable(t *testing.T) {
	for _, test := range []struct {
		name  string
		grows func(random *rand.Rand, progress float64) bool // whether to add a key, not remove one
	}{
		{"slowly", func(random *rand.Rand, progress float64) bool { return random.Float64() > progress }},
		{"fast", func(_ *rand.Rand, progress float64) bool { return progress < 0.5 }},
		{"up and down", func(_ *rand.Rand, progress float64) bool { return int(progress*20)%3 > 0 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			const steps = 60_000
			random := rand.New(rand.NewPCG(1, 2))
			m := &tableModel{t: t, held: map[int]bool{}}
			for step := range steps {
				m.change(random.IntN(modelKeys), test.grows(random, float64(step)/steps))
				switch random.IntN(100) {
				case 0:
					m.visit(random.IntN(len(m.walks)))
				case 1:
					m.find(random.IntN(modelKeys))
				}
			}
			for key := range modelKeys {
				if m.held[key] {
					m.change(key, false)
				}
			}
			require.Zero(t, m.table.Buckets())
		})
	}
}

const modelKeys = 10_000

// modelHash gives the same hash to a few keys.
func modelHash(key int) uint32 { return uint32(key/3) * 2_654_435_769 } // spread over all hashes

// A tableModel is a table, and what it must hold.
type tableModel struct {
	t     *testing.T
	table throttle.Table
	held  map[int]bool
	left  int // former buckets that are left to move
	walks [3]tableWalk
}

// A tableWalk visits the keys chunk by chunk.
type tableWalk struct {
	position uint64
	missing  map[int]bool // held since the walk began and not visited yet; nil before it begins
	seen     map[int]bool
}

// change adds or removes key, if it can.
func (m *tableModel) change(key int, add bool) {
	if m.held[key] == add {
		m.find(key)
		return
	}
	before, want := m.table.Buckets(), 0
	if add {
		m.table.Add(key, modelHash(key))
		m.held[key] = true
		if want = before; len(m.held) > before {
			want = max(2*before, 4)
		}
	} else {
		m.table.Remove(key)
		delete(m.held, key)
		for i := range m.walks {
			delete(m.walks[i].missing, key)
		}
		switch {
		case len(m.held) == 0:
		case len(m.held) < before/4:
			want = before / 2
		default:
			want = before
		}
	}
	require.Equal(m.t, want, m.table.Buckets(), "buckets for %d keys", len(m.held))
	if m.left -= 8; want != before && len(m.held) > 0 {
		require.LessOrEqual(m.t, m.left, 0)
		m.left = before
	}
}

func (m *tableModel) find(key int) {
	require.Equal(m.t, m.held[key], m.table.Find(key, modelHash(key)))
	m.left -= 8
	require.Equal(m.t, m.left > 0, m.table.Moving(), "with %d of %d buckets left", m.left, m.table.Buckets())
}

// visit visits the next chunk of a walk.
func (m *tableModel) visit(walk int) {
	w := &m.walks[walk]
	if w.missing == nil {
		w.missing, w.seen = maps.Clone(m.held), map[int]bool{}
	}
	keys, next := m.table.Next(w.position)
	require.Less(m.t, len(keys), throttle.ChunkSize+20, "in a chunk")
	require.True(m.t, next == 0 || len(keys) >= throttle.ChunkSize, "%d keys in a chunk", len(keys))
	for _, key := range keys {
		if !m.held[key] || w.seen[key] { // a require for each would take seconds
			m.t.Fatalf("key %d: in the table: %t, visited before: %t", key, m.held[key], w.seen[key])
		}
		w.seen[key] = true
		delete(w.missing, key)
	}
	if w.position = next; next == 0 {
		require.Empty(m.t, w.missing, "of %d keys", len(m.held))
		w.missing = nil
	}
}

// TestTable_first finds keys without the lock while other goroutines change the
// table: it may miss a key, but the race detector must find nothing.
func TestTable_first(t *testing.T) {
	const keys = 500
	var table throttle.Table
	var finders sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		finders.Go(func() {
			for key := 0; ; key = (key + 1) % keys {
				select {
				case <-done:
					return
				default:
					table.FindUnlocked(key, modelHash(key))
				}
			}
		})
	}
	for range 20 {
		for key := range keys {
			table.Add(key, modelHash(key))
		}
		_, _ = table.Next(0) // the only chunk
		for key := range keys {
			require.True(t, table.FindUnlocked(key, modelHash(key)), "nothing is left to move")
		}
		for key := range keys {
			table.Remove(key)
		}
	}
	close(done)
	finders.Wait()
	require.Zero(t, table.Buckets())
}

// TestHeap_room checks that a heap gives room back once less than a quarter is used, and
// not earlier: giving some back at each removal would copy the heap each time.
func TestHeap_room(t *testing.T) {
	const added = 1000
	full := throttle.HeapRoom(added, 0)
	quarter := full / 4
	require.Equal(t, full, throttle.HeapRoom(added, added-quarter))
	require.Less(t, throttle.HeapRoom(added, added-quarter+1), full/2)
	require.Zero(t, throttle.HeapRoom(added, added))
}
