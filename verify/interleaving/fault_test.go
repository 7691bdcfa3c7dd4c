package interleaving_test

// This file holds that the search of interleaving_test.go is not blind: it finds
// what breaks if any one thing that the design rests on is left out.

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/verify/interleaving"
)

func TestEveryFaultBreaksAGuarantee(t *testing.T) {
	var shown [interleaving.FaultCount]bool
	for name, d := range interleaving.Demonstrations() {
		shown[d.Fault] = true
		t.Run(name, func(t *testing.T) {
			require.Nil(t, interleaving.Search(d.Configuration, interleaving.NoFault).Breach, "without the fault")
			found := interleaving.Search(d.Configuration, d.Fault)
			require.NotNil(t, found.Breach, "%d states", found.States)
			t.Log(found.Breach)
			assert.Equal(t, d.Breaks, found.Breach.Guarantee)
		})
	}
	for fault := interleaving.NoFault + 1; fault < interleaving.FaultCount; fault++ {
		assert.True(t, shown[fault], "no demonstration of fault %d", fault)
	}
}
