package throttledebug_test

// These tests compare the drawings of recent runs with drawings of the expected events,
// made by internal/timeline.

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/timeline"
	"github.com/throttle-go/throttle/throttledebug"
)

// strip returns the drawing on page.
func strip(t *testing.T, page string) string {
	t.Helper()
	begin, end := strings.Index(page, `<svg `), strings.Index(page, "</svg>\n")
	require.True(t, 0 <= begin && begin < end)
	return page[begin : end+len("</svg>\n")]
}

// drawn returns a drawing of events that shows the last 10 s and the next 2 s.
func drawn(e timeline.Events) string {
	const past = 10 * time.Second
	e.End = past + past/5
	return timeline.Strip(e, past, fmt.Sprintf("the last 10s, runs: %d", len(e.Runs)))
}

func span(begin, end time.Duration) timeline.Span { return timeline.Span{Start: begin, End: end} }

func TestStrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		results := []error{nil, nil, errFailed, fmt.Errorf("busy: %w", throttle.RetryIn(time.Second)), nil}
		reload := newThrottler(t, throttle.Every(time.Second), func() error {
			time.Sleep(100 * ms)
			result := results[0]
			results = results[1:]
			return result
		}, throttle.WithCallCount(), throttle.WithObserver(recorder.Observe))
		reload.Call()
		time.Sleep(9 * time.Second)
		reload.Call() // at 0 s of the drawing
		time.Sleep(200 * ms)
		reload.Call()
		reload.Call()
		time.Sleep(9800 * ms)
		synctest.Wait()
		assert.Equal(t, strip(t, html(t, throttledebug.Throttler(reload), throttledebug.Runs(&recorder))), drawn(timeline.Events{
			Runs: []timeline.Run{
				{Span: span(0, 100*ms), Label: "call: success, took 100ms, 1 calls"},
				{Span: span(time.Second, 1100*ms), Label: "call: failure, took 100ms, 2 calls", Failed: true},
			},
			Waits: []timeline.Wait{{Span: span(0, 0)}, {Span: span(200*ms, time.Second)}},
		}))
		reload.Call()
		time.Sleep(2 * time.Second)
		assert.Equal(t, strip(t, html(t, throttledebug.Throttler(reload), throttledebug.Runs(&recorder))), drawn(timeline.Events{
			Runs: []timeline.Run{
				{Span: span(8*time.Second, 8100*ms), Label: "call: retry_in, took 100ms, 1 calls"},
				{Span: span(9100*ms, 9200*ms), Label: "retry: success, took 100ms"},
			},
			Waits: []timeline.Wait{{Span: span(8*time.Second, 8*time.Second)}},
		}))
	})
}

func TestStrip_ActiveRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reload := newThrottler(t, throttle.Every(time.Second), func() { time.Sleep(3 * time.Second) })
		show := throttledebug.Throttler(reload)
		assert.Equal(t, strip(t, html(t, show)), drawn(timeline.Events{}))
		reload.Call()
		time.Sleep(500 * ms)
		reload.Call()
		const now = 10 * time.Second
		active := func(passed time.Duration) timeline.Run {
			return timeline.Run{Span: span(now-passed, now), Label: "running", Active: true}
		}
		assert.Equal(t, strip(t, html(t, show)), drawn(timeline.Events{
			Runs:  []timeline.Run{active(500 * ms)},
			Waits: []timeline.Wait{{Span: span(now, now+500*ms)}},
		}))
		time.Sleep(time.Second)
		assert.Equal(t, strip(t, html(t, show)), drawn(timeline.Events{
			Runs:  []timeline.Run{active(1500 * ms)},
			Waits: []timeline.Wait{{Span: span(now, now+1)}},
		}), "a call that waits only for the active run to end")
		reload.Cancel()
		time.Sleep(2 * time.Second)
	})
}

// The strip of a Group shows only finished runs.
func TestStrip_Group(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		group, err := throttle.NewGroup(throttle.Every(time.Second), func(context.Context, string) error {
			time.Sleep(100 * ms)
			return nil
		}, throttle.WithObserver(recorder.Observe))
		require.NoError(t, err)
		defer group.Close()
		for range 2 {
			require.NoError(t, group.Call("a"))
			time.Sleep(200 * ms)
		}
		require.NoError(t, group.Call("b"))
		synctest.Wait()
		const now = 10 * time.Second
		assert.Equal(t, strip(t, html(t, throttledebug.Group(group), throttledebug.Runs(&recorder))), drawn(timeline.Events{
			Runs:  []timeline.Run{{Span: span(now-400*ms, now-300*ms), Label: "a, call: success, took 100ms"}},
			Waits: []timeline.Wait{{Span: span(now, now+600*ms)}},
		}))
		time.Sleep(time.Second)
		synctest.Wait()
	})
}

func TestStrip_Length(t *testing.T) {
	for _, test := range []struct {
		policy throttle.Policy
		past   string
	}{
		{throttle.Policy{}, "10s"},
		{throttle.Every(time.Second), "10s"},
		{throttle.Every(time.Second + 1), "30s"},
		{throttle.Debounce(6*time.Second, 0), "1m"},
		{throttle.Policy{MaxInterval: time.Minute}, "10m"},
		{throttle.Policy{Retry: throttle.Backoff{Initial: 5 * time.Minute}}, "1h"},
		{throttle.Every(30 * time.Minute), "6h"},
		{throttle.Every(time.Hour), "24h"},
		{throttle.Every(1000 * time.Hour), "24h"},
	} {
		assert.Contains(t, html(t, throttledebug.Throttler(newThrottler(t, test.policy, func() {}))), `aria-label="the last `+test.past+`, runs: 0"`)
	}
}

// If the Recorder may have dropped runs, the strip begins after the oldest run that it keeps.
func TestStrip_FullRecorder(t *testing.T) {
	for _, test := range []struct {
		runs  int
		apart time.Duration
		label string
	}{
		{63, 10 * ms, "the last 10s, runs: 63"},
		{64, 10 * ms, "the last 500ms, runs: 50"},
		{64, 20 * ms, "the last 1s, runs: 50"}, // of 1.28 s
		{64, 3 * ms, "the last 100ms, runs: 33"},
		{64, 40 * ms, "the last 2s, runs: 50"},
		{64, 100 * ms, "the last 5s, runs: 50"},
		{64, 156*ms + ms/2, "the last 10s, runs: 63"},
		{100, time.Second, "the last 10s, runs: 10"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var recorder throttledebug.Recorder
			for range test.runs {
				recorder.Observe(finished("", nil))
				time.Sleep(test.apart)
			}
			assert.Contains(t, recordedHTML(t, &recorder), `aria-label="`+test.label+`"`)
		})
	}
}

func recordedHTML(t *testing.T, recorder *throttledebug.Recorder) string {
	t.Helper()
	return html(t, throttledebug.Throttler(newThrottler(t, throttle.Policy{}, func() {})), throttledebug.Runs(recorder))
}
