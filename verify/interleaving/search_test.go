package interleaving_test

// This file holds the exhaustive search of the orders in which callers, a run, the
// timer and the parent context can meet: no order breaks a guarantee.

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/verify/interleaving"
	"github.com/throttle-go/throttle/verify/internal/effort"
)

func TestNoOrderOfStepsBreaksAGuarantee(t *testing.T) {
	var steps [interleaving.StepCount]int
	names, words := map[string]bool{}, map[string]bool{}
	asked, searched := 0, 0
	for name, search := range interleaving.Searches() {
		if search.Effort > effort.Factor() {
			continue
		}
		asked++
		t.Run(name, func(t *testing.T) {
			found := interleaving.Search(search.Configuration, interleaving.NoFault)
			require.Nil(t, found.Breach, "%s", found.Breach)
			t.Logf("%d states, %d transitions", found.States, found.Transitions)
			assert.GreaterOrEqual(t, found.States, search.States)
			for i := range steps {
				steps[i] += found.Steps[i]
			}
			maps.Copy(names, found.Names)
			maps.Copy(words, found.Words)
			searched++
		})
	}
	if searched < asked {
		return // it failed already, or was not to search it all
	}
	for step, taken := range steps {
		assert.NotZero(t, taken, "no search has made the step %q", interleaving.Step(step))
	}
	assert.Len(t, names, 6, "states of the diagram")
	assert.Len(t, words, 4, "kinds of words")
}
