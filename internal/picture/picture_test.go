package picture_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/picture"
	"github.com/throttle-go/throttle/internal/timeline"
)

const never = time.Duration(math.MaxInt64)

// The tests of docs compare the usual windows with those of the library, and those of
// throttledebug check calls against windows.
func TestWindows_endsOfTime(t *testing.T) {
	for name, p := range map[string]throttle.Policy{
		"interval": throttle.Every(never),
		"from end": {Interval: never, From: throttle.FromEnd},
		"backoff":  {Retry: throttle.Backoff{Initial: never}},
		"doubled":  {Retry: throttle.Backoff{Initial: never / 2, Max: never}},
	} {
		t.Run(name, func(t *testing.T) {
			run := picture.Run{Start: 10, End: 10, Attempt: 3, Failed: true}
			assert.Equal(t, []timeline.Span{{Start: 10, End: never}}, picture.Windows(p, []picture.Run{run}))
			run.Active, run.Failed = true, false
			if name == "interval" {
				assert.Len(t, picture.Windows(p, []picture.Run{run}), 1)
			} else {
				assert.Empty(t, picture.Windows(p, []picture.Run{run}))
			}
		})
	}
	assert.Empty(t, picture.Windows(throttle.Every(never), nil))
}

func TestEvents(t *testing.T) {
	p := throttle.Policy{Interval: 100 * time.Millisecond, Retry: throttle.Backoff{Initial: 50 * time.Millisecond}}
	fails := func(n int) (time.Duration, error) {
		return 10 * time.Millisecond, []error{assert.AnError, nil, throttle.RetryIn(time.Second), nil}[n]
	}
	calls := []time.Duration{0, 120 * time.Millisecond, 130 * time.Millisecond}
	all, err := throttle.Simulate(p, slices.Values(calls), fails)
	require.NoError(t, err)
	var runs []picture.Run
	for run := range all {
		runs = append(runs, picture.Simulated(run))
	}
	e := picture.Events(p, calls, nil, runs)
	assert.Equal(t, "Calls at 0, 120 and 130 ms. Run 1 (1 call, fails) from 0 to 10 ms. Run 2 (attempt 2) from 100 to 110 ms. "+
		"Run 3 (2 calls) from 200 to 210 ms. Run 4 (again) from 1210 to 1220 ms.", picture.Describe(e))
	assert.Equal(t, []timeline.Wait{{Span: timeline.Span{}}, {Span: timeline.Span{Start: 120 * time.Millisecond, End: 200 * time.Millisecond}}}, e.Waits)
	assert.Equal(t, timeline.Span{Start: 200 * time.Millisecond, End: 1210 * time.Millisecond}, e.Windows[2])
}
