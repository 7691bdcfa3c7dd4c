package throttle_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestTable compares a table with a map while keys come and go. Few hashes are
// distinct, so that chains are long.
func TestTable(t *testing.T) {
	const keys, least = 500, 4
	random := rand.New(rand.NewPCG(1, 2))
	var table throttle.Table
	held := map[int]bool{}
	hash := func(key int) uint32 { return uint32(key/3) << 6 }
	for step := range 20_000 {
		// Keys come at first and go in the end, so that the table grows and shrinks.
		key := random.IntN(keys)
		before := table.Chains()
		switch grow := random.IntN(20_000) > step; {
		case grow && !held[key]:
			table.Add(key, hash(key))
			held[key] = true
			if len(held) <= before {
				require.Equal(t, before, table.Chains(), "for %d keys", len(held))
			} else {
				require.Equal(t, max(2*before, least), table.Chains(), "for %d keys", len(held))
			}
		case !grow && held[key]:
			table.Remove(key)
			delete(held, key)
			switch {
			case len(held) == 0:
				require.Zero(t, table.Chains())
			case len(held) < before/4:
				require.Equal(t, before/2, table.Chains())
			default:
				require.Equal(t, before, table.Chains(), "for %d keys", len(held))
			}
		}
		require.LessOrEqual(t, len(held), table.Chains())
		require.Equal(t, held[key], table.Find(key, hash(key)))
		if step%100 == 0 {
			all := slices.Sorted(slices.Values(table.All()))
			require.Len(t, all, len(held))
			for _, key := range all {
				require.True(t, held[key])
				require.True(t, table.Find(key, hash(key)))
			}
		}
	}
}

// TestTable_find calls find without the lock while other goroutines change the
// table: it may miss a key, but the race detector must find nothing.
func TestTable_find(t *testing.T) {
	var table throttle.Table
	var finders sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		finders.Go(func() {
			for key := 0; ; key++ {
				select {
				case <-done:
					return
				default:
					table.Find(key%100, uint32(key%100)<<6)
				}
			}
		})
	}
	for range 20 {
		for key := range 100 {
			table.Add(key, uint32(key)<<6)
		}
		for key := range 100 {
			require.True(t, table.Find(key, uint32(key)<<6))
			table.Remove(key)
		}
	}
	close(done)
	finders.Wait()
	require.Zero(t, table.Chains())
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
