package throttle_test

// This file holds what the heaps take and give back: of the runs that wait for a
// turn, and of the keys that will be forgotten.

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestHeapGivesRoomBackOnceLessThanAQuarterIsUsed tells that it keeps its room until
// then, too: to give some back whenever something is taken out would copy the heap
// each time.
func TestHeapGivesRoomBackOnceLessThanAQuarterIsUsed(t *testing.T) {
	const added = 1000
	full := throttle.HeapRoom(added, 0)
	quarter := full / 4
	require.Equal(t, full, throttle.HeapRoom(added, added-quarter))
	require.Less(t, throttle.HeapRoom(added, added-quarter+1), full/2)
	require.Zero(t, throttle.HeapRoom(added, added))
}
