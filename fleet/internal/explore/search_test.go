package explore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/internal/explore"
	"github.com/throttle-go/throttle/internal/testkit/effort"
)

// How thorough a test run is. Each level includes those before it.
const (
	short    = 0  // with -short
	normal   = 1  // by default
	thorough = 10 // with -effort 10
)

func level() int {
	if testing.Short() {
		return short
	}
	return effort.Factor()
}

// A bounded is a configuration to search.
type bounded struct {
	level  int // the lowest level at which it is searched
	states int // how many states it has at least: a search that visits fewer misses some
	configuration
}

// No search finds a breach of a guarantee. Each configuration is small, because one with
// everything in it would have too many states.
func TestSearch(t *testing.T) {
	program := build(t, nil)
	var steps [explore.StepCount]int
	selected, passed := 0, 0
	for name, s := range searches() {
		if s.level > level() {
			continue
		}
		selected++
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			found := program.search(t, s.configuration)
			require.Nil(t, found.Breach, "%s", found.Breach)
			t.Logf("%d states, %d once all is calm, %d transitions, %.1f s",
				found.States, found.Calm, found.Transitions, time.Since(began).Seconds())
			assert.GreaterOrEqual(t, found.States, s.states)
			for i := range steps {
				steps[i] += found.Steps[i]
			}
			passed++
		})
	}
	if passed < selected {
		return // a search has failed, or -run selects only some
	}
	for step, taken := range steps {
		if name := explore.Step(step).String(); name != "" { // otherwise it marks the end of a group of steps
			assert.NotZero(t, taken, "some search takes the step %q", name)
		}
	}
}

func searches() map[string]bounded {
	var all []explore.Kind
	for k := explore.Loss; k < explore.KindCount; k++ {
		all = append(all, k)
	}
	searches := map[string]bounded{
		"renewals":                       {short, 400, with(small(1, 1, 1), shortLease)},
		"renewals, one lost":             {short, 2_000, with(small(1, 0, 1, explore.Loss), shortLease)},
		"renewals, one copied":           {short, 2_000, with(small(1, 0, 1, explore.Copy), shortLease)},
		"renewals, one slow":             {short, 2_000, with(small(1, 0, 1, explore.Slowness), shortLease)},
		"renewals, and a pause":          {short, 6_000, with(small(1, 0, 1, explore.Pause), shortLease)},
		"a local run":                    {short, 9_000, with(small(1, 0, 2, explore.Loss, explore.Failure), local)},
		"claims are forgotten":           {short, 800, with(small(1, 1, 1, explore.Copy), forgetful)},
		"a long step back":               {short, 1_300, with(small(1, 1, 1, explore.Backward), far)},
		"a group":                        {short, 25_000, with(small(1, 1, 1, explore.Filling), group)},
		"a group, and a crash":           {normal, 25_000, with(small(2, 0, 1, explore.Crash), group)},
		"a full group, and a crash":      {normal, 2_500, with(small(1, 0, 2, explore.Crash, explore.Filling), group)},
		"local runs of a group":          {normal, 400_000, with(small(2, 0, 1, explore.Loss), local, group)},
		"more of a full group":           {thorough, 900_000, with(small(2, 1, 1, explore.Filling), group)},
		"a full group":                   {normal, 80_000, with(small(2, 0, 1, explore.Filling), group)},
		"a group, and two faults":        {thorough, 900_000, with(small(2, 0, 2, explore.Wipe, explore.Backward, explore.Filling), group)},
		"quiet, one call":                {short, 40_000, with(small(1, 1, 0), quiet)},
		"quiet":                          {normal, 75_000, with(small(2, 0, 0), quiet)},
		"quiet, and a crash":             {normal, 250_000, with(small(2, 0, 1, explore.Crash), quiet)},
		"quiet, and Cancel":              {normal, 320_000, with(small(2, 0, 1, explore.Canceling), quiet)},
		"quiet, and a local run":         {normal, 180_000, with(small(1, 0, 1, explore.Loss), quiet, local)},
		"quiet, and a wipe":              {thorough, 460_000, with(small(2, 0, 1, explore.Wipe), quiet)},
		"quiet, and slowness":            {thorough, 810_000, with(small(2, 0, 1, explore.Slowness), quiet)},
		"quiet, and a step back":         {thorough, 760_000, with(small(2, 0, 1, explore.Backward), quiet)},
		"quiet, and a failure":           {thorough, 1_000_000, with(small(2, 0, 1, explore.Failure), quiet)},
		"quiet, and a loss":              {thorough, 1_400_000, with(small(2, 0, 1, explore.Loss), quiet)},
		"quiet without limit, a loss":    {thorough, 1_300_000, with(small(2, 0, 1, explore.Loss), quiet, unlimited)},
		"quiet, an interval, and a loss": {thorough, 1_600_000, with(small(2, 0, 1, explore.Loss), quiet, spaced)},
		"quiet, and a longer slack":      {thorough, 950_000, with(small(2, 1, 0), quiet, slack)},
		"quiet, three calls":             {thorough, 1_900_000, with(small(3, 0, 0), quiet)},
		"quiet keys of a full group":     {thorough, 200_000, with(small(2, 0, 1, explore.Filling), quiet, group)},
		"no faults":                      {normal, 40_000, small(2, 1, 0)},
		"three calls":                    {normal, 210_000, small(3, 0, 0)},
		"three replicas":                 {normal, 35_000, with(small(2, 0, 1, explore.Crash), three)},
		"one call and a pause":           {normal, 60_000, small(1, 1, 1, explore.Pause)},
		"renewals, and a wipe":           {normal, 80_000, with(small(1, 1, 1, explore.Wipe), shortLease)},
		"a slow way there, and a wipe":   {normal, 30_000, with(small(2, 0, 1, explore.Wipe), slowThere)},
		"a slow way back, and a crash":   {normal, 30_000, with(small(2, 0, 1, explore.Crash), slowBack)},
		"more renewals":                  {thorough, 450_000, with(small(2, 0, 0), shortLease)},
		"more local runs":                {thorough, 450_000, with(small(1, 1, 2, explore.Loss, explore.Failure), local)},
		"more claims are forgotten":      {thorough, 130_000, with(small(2, 0, 1, explore.Copy), forgetful)},
		"more long steps back":           {thorough, 180_000, with(small(2, 0, 1, explore.Backward), far)},
		"a policy, and slowness":         {thorough, 590_000, small(2, 0, 2, explore.Steering, explore.Slowness)},
		"a rollback, and a step back":    {thorough, 1_600_000, small(2, 0, 2, explore.Rollback, explore.Backward)},
		"three calls of three replicas":  {thorough, 1_200_000, with(small(3, 0, 0), three)},
		"two faults of any kinds":        {thorough, 1_400_000, small(1, 0, 2, all...)},
	}
	for _, k := range all {
		if k != explore.Pause { // it has many more states
			searches["one call, one fault: "+k.String()] = bounded{short, 200, small(1, 1, 1, k)}
			searches["one fault: "+k.String()] = bounded{normal, 18_000, small(2, 0, 1, k)}
		}
		searches["one fault, and a hint: "+k.String()] = bounded{thorough, 90_000, small(2, 1, 1, k)}
		searches["one fault, two hints, and three replicas: "+k.String()] = bounded{thorough, 200, with(small(1, 2, 1, k), three)}
	}
	return searches
}

// States with the same key lead to states with the same keys.
func TestAlike(t *testing.T) {
	for name, c := range map[string]configuration{
		"rollback": small(1, 1, 1, explore.Rollback),
		"clock":    small(1, 1, 1, explore.Backward),
		"wipe":     small(1, 1, 1, explore.Wipe),
		"crash":    small(1, 1, 1, explore.Crash),
		"failure":  small(1, 1, 1, explore.Failure),
		"policy":   small(1, 1, 1, explore.Steering),
		"renewal":  with(small(1, 0, 1, explore.Copy), shortLease),
		"quiet":    with(small(1, 1, 0), quiet),
	} {
		t.Run(name, func(t *testing.T) {
			pairs, difference := explore.Alike(c)
			require.Empty(t, difference, "%s", &explore.Breach{Path: difference})
			assert.Greater(t, pairs, 100)
		})
	}
}
