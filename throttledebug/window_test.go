package throttledebug_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// inWindow reports whether now is in a window of the drawing. It is not sure close to the edge
// of one.
func inWindow(t *testing.T, d drawing) (inside, sure bool) {
	t.Helper()
	sure = true
	for _, window := range d.of("window") {
		from, to, _ := strings.Cut(strings.TrimPrefix(window, "window "), "..")
		begin, err := strconv.ParseFloat(from, 64)
		require.NoError(t, err)
		end, err := strconv.ParseFloat(to, 64)
		require.NoError(t, err)
		inside = inside || begin <= 0 && 0 < end
		sure = sure && (end < -0.02 || end > 0.02)
	}
	return inside, sure
}

// While no run is active, a call waits if and only if it is in a window.
func TestStrip_Windows(t *testing.T) {
	for name, policy := range map[string]throttle.Policy{
		"no limit":   {},
		"interval":   throttle.Every(time.Second),
		"burst":      {Interval: time.Second, Burst: 3},
		"from end":   {Interval: 700 * ms, From: throttle.FromEnd},
		"load":       {Interval: 200 * ms, MaxLoad: 0.2},
		"backoff":    {Interval: 200 * ms, Retry: throttle.Backoff{Initial: 400 * ms, Max: time.Second}},
		"eager":      {Interval: 200 * ms, Retry: throttle.Backoff{Initial: time.Second, Eager: true}},
		"one retry":  {Interval: 200 * ms, Retry: throttle.Backoff{Initial: time.Second, MaxAttempts: 2}},
		"flushed":    {Retry: throttle.Backoff{Initial: time.Minute}}, // only a flush comes before the retry
		"only first": {Interval: time.Second, Edges: throttle.Leading},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random, runs := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4)) // runs is for the callback alone
				var recorder throttledebug.Recorder
				reload := newThrottler(t, policy, func() error {
					time.Sleep(time.Duration(runs.IntN(3)) * 50 * ms)
					return []error{nil, nil, errFailed, throttle.RetryIn(600 * ms)}[runs.IntN(4)]
				}, throttle.WithObserver(recorder.Observe))
				handler := throttledebug.Handler(throttledebug.Throttler(reload), throttledebug.Runs(&recorder))
				seen := make(map[bool]int)
				for reload.Stats().Runs < 60 { // as many as the Recorder keeps, with one at work
					time.Sleep(time.Duration(random.IntN(1800)) * ms)
					synctest.Wait()
					if random.IntN(6) == 0 {
						_ = reload.Flush(t.Context())
						continue
					}
					before := reload.Stats()
					inside, sure := inWindow(t, stripOn(t, get(t, handler, "?last=10s").Body.String()))
					reload.Call()
					synctest.Wait()
					if before.Running || !sure {
						continue
					}
					require.Equal(t, inside, reload.Stats().Runs == before.Runs, "%v of %d", time.Now(), before.Runs)
					seen[inside]++
				}
				assert.Greater(t, seen[false], 2)
				assert.Greater(t, seen[true], 2)
				reload.Close()
				time.Sleep(time.Second)
			})
		})
	}
}
