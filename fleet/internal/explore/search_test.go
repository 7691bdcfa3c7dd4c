package explore_test

// This file holds the exhaustive search: nothing that can befall a few replicas and their
// store breaks a guarantee. Searched are many small worlds, since one with everything
// in it would have too many states.

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/internal/explore"
	"github.com/throttle-go/throttle/internal/testkit/effort"
)

// A bounded is a configuration to search.
type bounded struct {
	effort int // from which on it is searched: 1 or 10, as no bound grows by degrees
	states int // that it has at least: a search that sees less is blind
	configuration
}

func TestNothingThatBefallsReplicasBreaksAGuarantee(t *testing.T) {
	program := build(t, nil)
	var steps [explore.StepCount]int
	asked, searched := 0, 0
	for name, s := range searches() {
		if s.effort > effort.Factor() {
			continue
		}
		asked++
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			found := search(t, program, s.configuration)
			require.Nil(t, found.Breach, "%s", found.Breach)
			t.Logf("%d states, %d once all is calm, %d transitions, %.1f s",
				found.States, found.Calm, found.Transitions, time.Since(began).Seconds())
			assert.GreaterOrEqual(t, found.States, s.states)
			for i := range steps {
				steps[i] += found.Steps[i]
			}
			searched++
		})
	}
	if searched < asked {
		return // it failed already, or was not to search it all
	}
	for step, taken := range steps {
		if name := explore.Step(step).String(); name != "" { // else it marks where a group of steps ends
			assert.NotZero(t, taken, "no search has made the step %q", name)
		}
	}
}

// searches returns all that is searched. None has a breach.
func searches() map[string]bounded {
	var all []explore.Kind
	for k := explore.Loss; k < explore.KindCount; k++ {
		all = append(all, k)
	}
	searches := map[string]bounded{
		"nothing goes wrong":            {1, 40_000, small(2, 1, 0)},
		"three calls":                   {1, 210_000, small(3, 0, 0)},
		"three replicas":                {1, 35_000, with(small(2, 0, 1, explore.Crash), three)},
		"a process stops for a while":   {1, 60_000, small(1, 1, 1, explore.Pause)},
		"renewals":                      {1, 400, with(small(1, 1, 1), shortLease)},
		"renewals, one lost":            {1, 2_000, with(small(1, 0, 1, explore.Loss), shortLease)},
		"renewals, one copied":          {1, 2_000, with(small(1, 0, 1, explore.Copy), shortLease)},
		"renewals, one slow":            {1, 2_000, with(small(1, 0, 1, explore.Slowness), shortLease)},
		"renewals, and a pause":         {1, 6_000, with(small(1, 0, 1, explore.Pause), shortLease)},
		"renewals, and a wipe":          {1, 80_000, with(small(1, 1, 1, explore.Wipe), shortLease)},
		"a run without a grant":         {1, 9_000, with(small(1, 0, 2, explore.Loss, explore.Failure), local)},
		"claims are forgotten":          {1, 800, with(small(1, 1, 1, explore.Copy), forgetful)},
		"a step back by a lot":          {1, 1_300, with(small(1, 1, 1, explore.Backward), far)},
		"a slow way there, and a wipe":  {1, 30_000, with(small(2, 0, 1, explore.Wipe), slowThere)},
		"a slow way back, and a crash":  {1, 30_000, with(small(2, 0, 1, explore.Crash), slowBack)},
		"more renewals":                 {10, 450_000, with(small(2, 0, 0), shortLease)},
		"more runs without a grant":     {10, 450_000, with(small(1, 1, 2, explore.Loss, explore.Failure), local)},
		"more claims are forgotten":     {10, 130_000, with(small(2, 0, 1, explore.Copy), forgetful)},
		"more steps back by a lot":      {10, 180_000, with(small(2, 0, 1, explore.Backward), far)},
		"a policy, and slowness":        {10, 590_000, small(2, 0, 2, explore.Steering, explore.Slowness)},
		"a loss of state, and of time":  {10, 1_600_000, small(2, 0, 2, explore.Rollback, explore.Backward)},
		"three calls of three replicas": {10, 1_200_000, with(small(3, 0, 0), three)},
	}
	for _, k := range all {
		if k != explore.Pause {
			searches["one fault: "+k.String()] = bounded{1, 18_000, small(2, 0, 1, k)}
		}
		searches["one fault, and a hint: "+k.String()] = bounded{10, 90_000, small(2, 1, 1, k)}
		searches["one fault, two hints, and three replicas: "+k.String()] = bounded{10, 200, with(small(1, 2, 1, k), three)}
	}
	searches["two faults of any kinds"] = bounded{10, 1_400_000, small(1, 0, 2, all...)}
	return searches
}

func TestStatesThatAreTheSameGoOnAlike(t *testing.T) {
	for name, c := range map[string]configuration{
		"rollback": small(1, 1, 1, explore.Rollback),
		"clock":    small(1, 1, 1, explore.Backward),
		"wipe":     small(1, 1, 1, explore.Wipe),
		"crash":    small(1, 1, 1, explore.Crash),
		"failure":  small(1, 1, 1, explore.Failure),
		"policy":   small(1, 1, 1, explore.Steering),
		"renewal":  with(small(1, 0, 1, explore.Copy), shortLease),
	} {
		t.Run(name, func(t *testing.T) {
			pairs, difference := explore.Alike(c)
			require.Empty(t, difference, "%s", &explore.Breach{Path: difference})
			assert.Greater(t, pairs, 100)
		})
	}
}
