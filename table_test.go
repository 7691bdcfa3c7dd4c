package throttle_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestGroup_table adds keys one by one and removes them again. Too many chains cost
// memory, too few cost time.
func TestGroup_table(t *testing.T) {
	const all, least = 1000, 4
	g := throttle.Must(throttle.NewGroup(throttle.Policy{Interval: time.Hour, Edges: throttle.Trailing}, nothing))
	for key := range all {
		require.NoError(t, g.Call(key))
		keys, chains := g.Table(key)
		require.LessOrEqual(t, keys, chains)
		require.True(t, chains == least || keys > chains/2, "%d chains for %d keys", chains, keys)
	}
	for key := range all {
		_, before := g.Table(key)
		require.True(t, g.Cancel(key)) // and so forget it
		keys, chains := g.Table(key)
		switch {
		case keys == 0:
			require.Zero(t, chains)
		case keys < before/4:
			require.Equal(t, before/2, chains)
		default:
			require.Equal(t, before, chains, "for %d keys", keys)
		}
	}
	require.Zero(t, g.Len())
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
