package throttle_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestGroup_table adds keys one by one, and takes them
// away again. A chain is a key's memory if it is too many, and its time if too few.
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
		require.True(t, g.Cancel(key)) // and so forgotten
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

// TestHeap_room tells that it keeps its room until
// then, too: to give some back whenever something is taken out would copy the heap
// each time.
func TestHeap_room(t *testing.T) {
	const added = 1000
	full := throttle.HeapRoom(added, 0)
	quarter := full / 4
	require.Equal(t, full, throttle.HeapRoom(added, added-quarter))
	require.Less(t, throttle.HeapRoom(added, added-quarter+1), full/2)
	require.Zero(t, throttle.HeapRoom(added, added))
}
