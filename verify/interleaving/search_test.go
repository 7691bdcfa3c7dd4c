package interleaving_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/effort"
	"github.com/throttle-go/throttle/verify/interleaving"
)

// A bounded is a configuration to search.
type bounded struct {
	effort int // the least effort at which it is searched: 1 or 10
	states int // that the search must visit at least
	interleaving.Configuration
}

// TestSearch searches all orders in which callers, a run, the timer and the parent context can
// meet: none breaks a guarantee. It searches many small configurations, because one with
// everything in it would have too many states.
func TestSearch(t *testing.T) {
	var steps [interleaving.StepCount]int
	names, words := map[string]bool{}, map[string]bool{}
	selected, searched := 0, 0
	for name, search := range searches() {
		if search.effort > effort.Factor() {
			continue
		}
		selected++
		t.Run(name, func(t *testing.T) {
			found := interleaving.Search(search.Configuration, interleaving.NoFault)
			require.Nil(t, found.Breach, "%s", found.Breach)
			t.Logf("%d states, %d transitions", found.States, found.Transitions)
			assert.GreaterOrEqual(t, found.States, search.states)
			for i := range steps {
				steps[i] += found.Steps[i]
			}
			maps.Copy(names, found.Names)
			maps.Copy(words, found.Words)
			searched++
		})
	}
	if searched < selected {
		return // a search failed, or -run selected only some
	}
	for step, taken := range steps {
		assert.NotZero(t, taken, "no search made the step %q", interleaving.Step(step))
	}
	assert.Len(t, names, 7, "states of the diagram")
	assert.Len(t, words, 4, "kinds of words")
}

// searches returns the configurations to search. None has a breach.
func searches() map[string]bounded {
	p := newPolicies()
	once, twice := []op{opCall}, []op{opCall, opCall}
	return map[string]bounded{
		"calls within an interval": {
			1, 88_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, twice, twice}, Ticks: 4},
		},
		"calls without a limit": {
			1, 22_000,
			configuration{Policies: []policy{p.unbounded}, Scripts: [][]op{twice, twice, twice}, Ticks: 1, StaleWakes: 1},
		},
		"quiet calls": {
			1, 130_000,
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice, twice}, Ticks: 4, StaleWakes: 1},
		},
		"three quiet calls": {
			1, 55_000,
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{once, once, once}, Ticks: 6},
		},
		"quiet with a bound": {
			1, 150_000,
			configuration{Policies: []policy{p.quietBounded}, Scripts: [][]op{twice, twice}, Ticks: 5},
		},
		"quiet with a leading edge": {
			1, 120_000,
			configuration{Policies: []policy{p.both}, Scripts: [][]op{twice, {opCall, opCallWithin}}, Ticks: 4},
		},
		"a bound of calls": {
			1, 22_000,
			configuration{Policies: []policy{p.full}, Scripts: [][]op{twice, once, once}, Ticks: 4},
		},
		"counted calls": {
			1, 66_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, twice, once}, Ticks: 2, Counting: true},
		},
		"counted calls meet Cancel": {
			1, 98_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, once, {opCancel}, {opFlush}}, Ticks: 3, Counting: true},
		},
		"counted quiet calls": {
			1, 16_000,
			configuration{Policies: []policy{p.quiet, p.every}, Scripts: [][]op{twice, once, {opSetPolicy1}}, Ticks: 3, Counting: true},
		},
		"calls meet Flush, Cancel and Close": {
			1, 92_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, once, {opFlush}, {opCancel}, {opClose}}, Ticks: 3},
		},
		"quiet calls meet Flush and Cancel": {
			1, 140_000,
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice, once, {opFlush}, {opCancel}}, Ticks: 3},
		},
		"quiet calls meet Close": {
			1, 36_000,
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice, once, {opClose}}, Ticks: 4},
		},
		"Do meets Flush, Cancel and Close": {
			1, 54_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{{opDo, opDo}, {opDo}, {opFlush}, {opCancel}, {opClose}}, Ticks: 3},
		},
		"quiet calls meet SetPolicy": {
			1, 280_000,
			configuration{Policies: []policy{p.quiet, p.every}, Scripts: [][]op{twice, once, {opSetPolicy1, opSetPolicy0}}, Ticks: 3, StaleWakes: 1},
		},
		"edges turn off and on": {
			1, 98_000,
			configuration{Policies: []policy{p.trailing, p.leading, p.quiet}, Scripts: [][]op{twice, once, {opSetPolicy1, opSetPolicy2}}, Ticks: 3, StaleWakes: 1},
		},
		"leading calls meet SetPolicy and Flush": {
			1, 83_000,
			configuration{Policies: []policy{p.leading, p.both}, Scripts: [][]op{twice, once, {opSetPolicy1}, {opFlush}}, Ticks: 3},
		},
		"periodic runs begin and end": {
			1, 39_000,
			configuration{Policies: []policy{p.every, p.periodic}, Scripts: [][]op{twice, {opSetPolicy1, opSetPolicy0}, {opCancel}}, Ticks: 4},
		},
		"periodic runs meet Cancel and Close": {
			1, 140_000,
			configuration{Policies: []policy{p.periodic}, Scripts: [][]op{twice, once, {opCancel}, {opClose}}, Ticks: 3, StaleWakes: 1},
		},
		"retries meet calls and Cancel": {
			1, 540_000,
			configuration{Policies: []policy{p.retrying, p.every}, Scripts: [][]op{twice, once, {opCancel}, {opSetPolicy1}}, Ticks: 3, Failures: 1, RetryIn: 1, StaleWakes: 1},
		},
		"retries meet Flush and Close": {
			1, 65_000,
			configuration{Policies: []policy{p.retrying}, Scripts: [][]op{{opDo}, once, {opFlush}, {opClose}}, Ticks: 3, Failures: 2, RetryIn: 1},
		},
		"Shutdown meets calls and Cancel": {
			1, 28_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{once, once, {opShutdown}, {opCancel}, {opFlush}}, Ticks: 3},
		},
		"Shutdown meets retries": {
			1, 82_000,
			configuration{Policies: []policy{p.retrying}, Scripts: [][]op{{opDo}, once, {opShutdown}, {opCancel}}, Ticks: 3, Failures: 2, RetryIn: 1},
		},
		"Shutdown meets Shutdown and Close": {
			1, 87_000,
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{once, once, {opShutdown}, {opShutdownImpatient}, {opClose}}, Ticks: 3},
		},
		"Shutdown meets periodic runs": {
			1, 22_000,
			configuration{Policies: []policy{p.periodic}, Scripts: [][]op{once, {opDo}, {opShutdown}}, Ticks: 4},
		},
		"the parent ends": {
			1, 81_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, {opDo}, {opFlush}, {opParentEnd}}, Ticks: 3},
		},
		"the parent ends before Close": {
			1, 54_000,
			configuration{Policies: []policy{p.retrying}, Scripts: [][]op{twice, {opShutdown}, {opClose}, {opParentEnd}}, Ticks: 3, Failures: 1},
		},
		"a pause meets calls, Flush and Close": {
			1, 21_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, {opFlush}, {opPause, opResume}, {opClose}}, Ticks: 3},
		},
		"a pause meets quiet calls and Cancel": {
			1, 23_000,
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice, {opPause, opResume}, {opCancel}}, Ticks: 3, StaleWakes: 1},
		},
		"a pause meets retries and Do": {
			1, 51_000,
			configuration{Policies: []policy{p.retrying}, Scripts: [][]op{{opDo}, once, {opPause, opResume}}, Ticks: 4, Failures: 1, RetryIn: 1},
		},
		"a pause meets periodic runs": {
			1, 73_000,
			configuration{Policies: []policy{p.periodic}, Scripts: [][]op{twice, {opPause, opResume, opPause}}, Ticks: 4, StaleWakes: 1},
		},
		"a pause meets Shutdown": {
			1, 67_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, {opDo}, {opShutdown}, {opPause, opResume}}, Ticks: 3},
		},
		"a pause meets retries and Shutdown": {
			1, 47_000,
			configuration{Policies: []policy{p.retrying}, Scripts: [][]op{twice, {opShutdownImpatient}, {opPause, opResume}}, Ticks: 3, Failures: 1},
		},

		"a pause meets everything": {
			10, 1_300_000,
			configuration{Policies: []policy{p.every, p.quiet}, Scripts: [][]op{twice, {opDo, opSetPolicy1}, {opPause, opResume}, {opFlush, opShutdown}}, Ticks: 3, Failures: 1, RetryIn: 1},
		},
		"quiet calls for longer": {
			10, 1_100_000,
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice, twice}, Ticks: 6, StaleWakes: 1},
		},
		"periodic runs for longer": {
			10, 620_000,
			configuration{Policies: []policy{p.periodic}, Scripts: [][]op{twice, once, {opCancel}, {opClose}}, Ticks: 5, StaleWakes: 1},
		},
		"nine calls within an interval": {
			10, 1_400_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{{opCall, opCall, opCall}, {opCall, opCall, opCall}, {opCall, opCall, opCall}}, Ticks: 6},
		},
		"five callers within an interval": {
			10, 280_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{once, once, once, once, once}, Ticks: 6, StaleWakes: 1},
		},
		"five quiet calls": {
			10, 2_300_000,
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice, twice, once}, Ticks: 5},
		},
		"four quiet callers": {
			10, 490_000,
			configuration{Policies: []policy{p.quietBounded}, Scripts: [][]op{once, once, once, once}, Ticks: 6},
		},
		"more calls meet Flush, Cancel and Close": {
			10, 570_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, twice, {opFlush}, {opCancel}, {opClose}}, Ticks: 5},
		},
		"more quiet calls meet Flush and Cancel": {
			10, 1_100_000,
			configuration{Policies: []policy{p.quiet}, Scripts: [][]op{twice, twice, {opFlush}, {opCancel}}, Ticks: 4},
		},
		"policies come and go": {
			10, 910_000,
			configuration{Policies: []policy{p.quiet, p.every, p.trailing}, Scripts: [][]op{twice, twice, {opSetPolicy1, opSetPolicy2, opSetPolicy0}}, Ticks: 4},
		},
		"more retries meet calls, Do and Cancel": {
			10, 3_200_000,
			configuration{Policies: []policy{p.retrying}, Scripts: [][]op{twice, {opDo, opCall}, {opCancel}, {opFlush}}, Ticks: 4, Failures: 2, RetryIn: 1},
		},
		"everything meets everything": {
			10, 4_200_000,
			configuration{Policies: []policy{p.every, p.quiet}, Scripts: [][]op{twice, {opCall, opDo}, {opSetPolicy1, opFlush}, {opCancel, opClose}}, Ticks: 3, Failures: 1, RetryIn: 1},
		},
		"everything meets everything, with Quiet": {
			10, 1_100_000,
			configuration{Policies: []policy{p.quiet, p.retrying}, Scripts: [][]op{twice, {opCallWithin}, {opSetPolicy1, opCancel}, {opFlush, opShutdown}}, Ticks: 3, Failures: 1},
		},
		"everything meets the parent's end": {
			10, 1_800_000,
			configuration{Policies: []policy{p.quietBounded, p.periodic}, Scripts: [][]op{twice, {opDo}, {opSetPolicy1, opCancel}, {opFlush}, {opParentEnd}}, Ticks: 3},
		},
		"the parent ends while everything is active": {
			10, 1_700_000,
			configuration{Policies: []policy{p.every}, Scripts: [][]op{twice, {opDo}, {opFlush}, {opShutdown}, {opParentEnd}}, Ticks: 4, StaleWakes: 1},
		},
	}
}
