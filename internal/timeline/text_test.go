package timeline_test

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/throttle-go/throttle/internal/timeline"
)

const ms = time.Millisecond

func span(start, end time.Duration) timeline.Span { return timeline.Span{Start: start, End: end} }

func run(start, end time.Duration) timeline.Run { return timeline.Run{Span: span(start, end)} }

func failed(start, end time.Duration) timeline.Run {
	return timeline.Run{Span: span(start, end), Failed: true}
}

// repeat returns n calls at t.
func repeat(n int, t time.Duration) []time.Duration {
	calls := make([]time.Duration, n)
	for i := range calls {
		calls[i] = t
	}
	return calls
}

func TestText(t *testing.T) {
	tests := map[string]struct {
		events timeline.Events
		width  int
		want   string
	}{
		"nothing": {
			width: 40,
			want: `
calls
runs
        ┬──────────────────────────────┬
        0ms                   0.000001ms
`,
		},
		"calls, runs and windows up to the last event": {
			events: timeline.Events{
				Calls:   []time.Duration{0, 10 * ms, 111 * ms},
				Runs:    []timeline.Run{run(0, 20*ms), run(100*ms, 120*ms), run(200*ms, 220*ms)},
				Windows: []timeline.Span{span(0, 100*ms), span(100*ms, 200*ms), span(200*ms, 300*ms)},
			},
			width: 68,
			want: `
calls   ▁ ▁                   ▁
runs    █▒▒▒                █▒▒▒                █▒▒▒
windows ├───────────────────├───────────────────├──────────────────┤
        ┬─────────┬─────────┬─────────┬─────────┬─────────┬────────┬
        0ms       50ms      100ms     150ms     200ms     250ms
`,
		},
		"a block of one eighth for each call": {
			events: timeline.Events{
				Calls: append(append(repeat(1, 0), repeat(4, 50*ms)...), repeat(8, 100*ms)...),
			},
			width: 28,
			want: `
calls   ▁         ▄        █
runs
        ┬─────────┬────────┬
        0ms       50ms 100ms
`,
		},
		"more than eight calls in a column": {
			events: timeline.Events{
				Calls: append(append(repeat(1, 0), repeat(50, 50*ms)...), repeat(100, 100*ms)...),
			},
			width: 28,
			want: `
calls   ▁         ▄        █
runs
        ┬─────────┬────────┬
        0ms       50ms 100ms
        a full block is 100 calls
`,
		},
		"dropped calls": {
			events: timeline.Events{Calls: []time.Duration{0, 50 * ms}, Dropped: []time.Duration{50 * ms, 100 * ms}},
			width:  28,
			want: `
calls   ▁         ▂        ▁
runs
        ┬─────────┬────────┬
        0ms       50ms 100ms
`,
		},
		"events in any order": {
			events: timeline.Events{
				Calls: []time.Duration{100 * ms, 0, 50 * ms},
				Runs:  []timeline.Run{run(50*ms, 100*ms), run(0, 50*ms)},
			},
			width: 28,
			want: `
calls   ▁         ▁        ▁
runs    █▒▒▒▒▒▒▒▒▒█▒▒▒▒▒▒▒▒▒
        ┬─────────┬────────┬
        0ms       50ms 100ms
`,
		},
		"a run shorter than a column": {
			events: timeline.Events{Runs: []timeline.Run{run(25*ms, 25*ms), run(50*ms, 51*ms)}, End: 100 * ms},
			width:  28,
			want: `
calls
runs         █    █
        ┬─────────┬────────┬
        0ms       50ms 100ms
`,
		},
		"failed runs": {
			events: timeline.Events{
				Runs: []timeline.Run{failed(0, 25*ms), failed(50*ms, 51*ms), run(52*ms, 70*ms)},
				End:  100 * ms,
			},
			width: 28,
			want: `
calls
runs    ✗▒▒▒▒     ✗▒▒▒
        ┬─────────┬────────┬
        0ms       50ms 100ms
`,
		},
		"events off the axis": {
			events: timeline.Events{
				Calls: []time.Duration{-ms, 101 * ms, time.Hour},
				Runs: []timeline.Run{
					run(-20*ms, -10*ms), run(-5*ms, 15*ms), run(80*ms, time.Hour), run(101*ms, 102*ms),
				},
				Windows: []timeline.Span{span(-20*ms, -10*ms), span(-5*ms, 15*ms), span(80*ms, time.Hour)},
				End:     100 * ms,
			},
			width: 28,
			want: `
calls
runs    ▒▒▒             █▒▒▒
windows ───┤            ├───
        ┬─────────┬────────┬
        0ms       50ms 100ms
`,
		},
		"a label without room": {
			events: timeline.Events{End: 3 * time.Second},
			width:  56,
			want: `
calls
runs
        ┬───────┬───────┬───────┬───────┬───────┬──────┬
        0ms     500ms   1000ms  1500ms  2000ms  2500ms
`,
		},
		"seconds": {
			events: timeline.Events{Runs: []timeline.Run{run(30*time.Second, 45*time.Second)}, End: 90 * time.Second},
			width:  68,
			want: `
calls
runs                        █▒▒▒▒▒▒▒▒▒
        ┬─────┬──────┬──────┬─────┬──────┬──────┬─────┬──────┬─────┬
        0s    10s    20s    30s   40s    50s    60s   70s    80s 90s
`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := timeline.Text(test.events, test.width)
			if want := strings.TrimPrefix(test.want, "\n"); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// For any length of the axis, the drawing keeps to its width and the axis has a label.
func TestText_Width(t *testing.T) {
	for _, end := range []time.Duration{1, 7, 999, ms, 250 * ms, 7 * time.Second, 999 * time.Hour, math.MaxInt64} {
		for _, width := range []int{math.MinInt, 0, 24, 25, 79, 200} {
			text := timeline.Text(timeline.Events{
				Calls:   []time.Duration{math.MinInt64, 0, end / 2, end},
				Runs:    []timeline.Run{run(math.MinInt64, math.MaxInt64), run(end, end)},
				Windows: []timeline.Span{span(0, end)},
				End:     end,
			}, width)
			for line := range strings.Lines(text) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > max(width, 24) {
					t.Errorf("%v in %d columns: a line of %d:\n%s", end, width, n, text)
				}
			}
			if !strings.Contains(text, " 0") {
				t.Errorf("%v in %d columns: no label:\n%s", end, width, text)
			}
		}
	}
}
