// Package timeline draws the calls and runs of a throttle on a time axis.
//
// The events are plain values, and the drawings are strings: [Text] is for a terminal, and
// [SVG] is a picture in a file of its own.
package timeline

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// Events are the events to draw. All times count from the start of the axis. The order of
// events matters only where two overlap: the later one covers the earlier one. All fields
// are optional.
type Events struct {
	Calls    []time.Duration // calls, except those in Dropped
	Dropped  []time.Duration // calls that were dropped
	Values   []Mark          // values that calls passed
	Waits    []Wait          // from a call to its run
	Runs     []Run           // executions of the callback
	Windows  []Span          // when spacing held off the next run
	Marks    []Mark          // other events
	Measures []Measure       // lengths of time to show
	End      time.Duration   // end of the axis; what is later is cut off; 0: at the last event
}

// A Span is the time from Start up to End.
type Span struct{ Start, End time.Duration }

// A Wait is the time from the first of the calls that a run covers until it
// starts.
type Wait struct {
	Span

	Dropped bool // it ended because the calls were dropped
}

// A Run is one execution of the callback.
type Run struct {
	Span

	Label  string
	Failed bool
	Active bool // it has not ended; End is the present
}

// A Mark is something that happened at an instant.
type Mark struct {
	At    time.Duration
	Label string
}

// A Measure is a length of time.
type Measure struct {
	Span

	Label string // what it measures
}

// end returns the end of the axis, which is more than 0.
func (e Events) end() time.Duration {
	if e.End > 0 {
		return e.End
	}
	times := slices.Concat(e.Calls, e.Dropped)
	for _, mark := range slices.Concat(e.Values, e.Marks) {
		times = append(times, mark.At)
	}
	for _, span := range e.spans() {
		times = append(times, span.Start, span.End)
	}
	return slices.Max(append(times, 1))
}

// spans returns the spans of all events that have one.
func (e Events) spans() []Span {
	spans := slices.Clip(e.Windows)
	for _, run := range e.Runs {
		spans = append(spans, run.Span)
	}
	for _, wait := range e.Waits {
		spans = append(spans, wait.Span)
	}
	for _, measure := range e.Measures {
		spans = append(spans, measure.Span)
	}
	return spans
}

// tickStep returns the smallest distance of axis ticks for which fits is true: a round
// number of ms, s, min or h. It returns end if only the first tick fits.
func tickStep(end time.Duration, fits func(step time.Duration) bool) time.Duration {
	for _, unit := range []Span{{1, time.Minute}, {time.Minute, time.Hour}, {time.Hour, math.MaxInt64}} {
		// A decade that overflows is negative.
		for decade := unit.Start; 0 < decade && decade <= min(end, unit.End); decade *= 10 {
			for _, step := range []time.Duration{decade, 2 * decade, 5 * decade} {
				if step <= unit.End/2 && fits(step) {
					return step
				}
			}
		}
	}
	return end
}

// tickLabel returns t, a multiple of step, and its unit.
func tickLabel(t, step time.Duration) string {
	number, unit := tickNumber(t, step)
	return number + unit
}

// tickNumber returns t, a multiple of step, and the unit it is in.
func tickNumber(t, step time.Duration) (number, unit string) {
	size := time.Millisecond
	switch {
	case step >= time.Hour:
		size, unit = time.Hour, "h"
	case step >= time.Minute:
		size, unit = time.Minute, "min"
	case step >= time.Second:
		size, unit = time.Second, "s"
	default:
		unit = "ms"
	}
	return strconv.FormatFloat(float64(t)/float64(size), 'f', -1, 64), unit
}
