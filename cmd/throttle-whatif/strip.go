package main

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/throttle-go/throttle/internal/picture"
	"github.com/throttle-go/throttle/internal/timeline"
)

// A strip is the picture of one policy.
type strip struct {
	result  result
	calls   []time.Duration // those that were not dropped
	dropped []time.Duration
	runs    []picture.Run
}

// record plays r.policy again and keeps everything.
func (s scenario) record(r result) strip {
	p := strip{result: r}
	for run := range s.simulate(r.policy, func(at time.Duration) { p.dropped = append(p.dropped, at) }) {
		p.runs = append(p.runs, picture.Simulated(run))
	}
	next := 0 // of p.dropped
	for _, call := range s.calls {
		if next < len(p.dropped) && p.dropped[next] == call {
			next++
		} else {
			p.calls = append(p.calls, call)
		}
	}
	return p
}

// Widths in pixels.
const (
	callWidth = 3
	runWidth  = 4  // of the shortest run
	labelGap  = 10 // beside the text of a label
)

// An axis is a time axis of a picture.
type axis struct{ end time.Duration }

// pixel returns the place of t on the axis.
func (a axis) pixel(t time.Duration) float64 {
	return float64(t) / float64(a.end) * (timeline.AxisEnd - timeline.AxisStart)
}

// events returns what to draw of p. Of what shares a few pixels it returns one, so that a
// million calls are no larger than a few hundred. A run has a label if there is room for it
// up to the next run.
func (a axis) events(p strip) timeline.Events {
	runs, merged := a.thinRuns(p.runs)
	e := picture.Events(p.result.policy, a.thinCalls(p.calls), a.thinCalls(p.dropped), runs)
	e.Windows = a.thinWindows(picture.Windows(p.result.policy, p.runs)) // of all runs
	e.End = a.end
	next := float64(timeline.PictureWidth - timeline.AxisStart - labelGap) // where the next run starts, or the picture ends
	for i, run := range slices.Backward(e.Runs) {
		from := a.pixel(run.Start)
		width := float64(timeline.Letter*utf8.RuneCountInString(run.Label) + labelGap)
		if merged[i] || from+width > next {
			e.Runs[i].Label = ""
		}
		next = from
	}
	return e
}

// thinCalls returns the first of the calls that share their pixels.
func (a axis) thinCalls(calls []time.Duration) []time.Duration {
	var kept []time.Duration
	last := -1
	for _, call := range calls {
		if column := int(a.pixel(call) / callWidth); column != last {
			kept = append(kept, call)
			last = column
		}
	}
	return kept
}

// thinRuns merges runs that share their pixels, failed ones apart from others. It says which
// of those that it returns are more than one.
func (a axis) thinRuns(runs []picture.Run) (kept []picture.Run, merged []bool) {
	type cell struct {
		column int
		failed bool
	}
	first := map[cell]int{} // index of the first run in a cell
	for _, run := range runs {
		at := cell{int(a.pixel(run.Start) / runWidth), run.Failed}
		if i, found := first[at]; found {
			kept[i].End = max(kept[i].End, run.End)
			merged[i] = true
			continue
		}
		first[at] = len(kept)
		kept, merged = append(kept, run), append(merged, false)
	}
	return kept, merged
}

// thinWindows joins a short window to the one before if there is hardly a gap between them.
func (a axis) thinWindows(windows []timeline.Span) []timeline.Span {
	var kept []timeline.Span
	for _, w := range windows {
		last := len(kept) - 1
		short := a.pixel(w.End-w.Start) < runWidth
		if last >= 0 && short && a.pixel(w.Start-kept[last].End) < runWidth {
			kept[last].End = max(kept[last].End, w.End)
		} else {
			kept = append(kept, w)
		}
	}
	return kept
}

// summary says the numbers of r in a line.
func (s scenario) summary(r result) string {
	return fmt.Sprintf("%s, p99 wait %v, stale %s, %d dropped",
		count(r.runs, "run"), rounded(r.p99), percent(s.share(r.stale)), r.dropped)
}

// describe says in words what the picture of r shows.
func (s scenario) describe(r result) string {
	return fmt.Sprintf("%s in %v, of which %d dropped, and %s, of which %d failed.",
		count(len(s.calls), "call"), rounded(s.calls[len(s.calls)-1]), r.dropped, count(r.runs, "run"), r.failed)
}

// count returns n with a noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
