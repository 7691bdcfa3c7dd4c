// Package timeline draws calls and runs on a time axis: what a throttler was
// asked for, and what it did.
//
// The data are plain values, and so are the drawings: [Text] is for a terminal,
// [SVG] for a page that shows pictures, [Strip] for a page that is made of them.
package timeline

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// Events is what is drawn. All times count from the same origin, which is where
// the axis begins. Their order decides nothing but which of two things that overlap
// lies on the other. Everything may be left out.
type Events struct {
	Calls    []time.Duration // when a run was asked for
	Dropped  []time.Duration // when one was asked for in vain: calls that are not among Calls
	Values   []Mark          // what calls handed over
	Waits    []Wait          // what lies between a call and its run
	Runs     []Run           // when the callback ran
	Windows  []Span          // when spacing kept the next run away
	Marks    []Mark          // what else happened
	Measures []Measure       // distances worth showing
	End      time.Duration   // where the axis ends, and what is later is cut off; 0: at the last event
}

// A Span is the time from Start up to End.
type Span struct{ Start, End time.Duration }

// A Wait is the time from the first of the calls that a run covers until it
// starts.
type Wait struct {
	Span

	Dropped bool // at its end the calls were dropped instead
}

// A Run is one execution of the callback.
type Run struct {
	Span

	Label  string // what to say of it
	Failed bool
	Active bool // it has not ended: End is as far as is known
}

// A Mark is something that happened at an instant.
type Mark struct {
	At    time.Duration
	Label string
}

// A Measure is a distance in time.
type Measure struct {
	Span

	Label string // what it is the length of
}

// end returns where the axis ends, which is more than 0.
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

// spans returns all that has a length.
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

// tickStep returns the least distance of axis ticks, a round number of ms, s, min or
// h, for which fits holds; end if no tick but the first fits.
func tickStep(end time.Duration, fits func(step time.Duration) bool) time.Duration {
	for _, unit := range []Span{{1, time.Minute}, {time.Minute, time.Hour}, {time.Hour, math.MaxInt64}} {
		// What overflows is negative.
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
