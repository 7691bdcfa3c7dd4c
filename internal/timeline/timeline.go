// Package timeline draws calls and runs on a time axis: what a throttler was
// asked for, and what it did.
//
// The data are plain values, and so are the drawings: [Text] is for a terminal.
package timeline

import (
	"strconv"
	"time"
)

// Events is what is drawn. All times count from the same origin, which is where
// the axis begins; their order is of no matter.
type Events struct {
	Calls   []time.Duration // when a run was asked for
	Runs    []Run           // when the callback ran
	Windows []Span          // when spacing kept the next run away; may be left out
	End     time.Duration   // where the axis ends, and what is later is cut off; 0: at the last event
}

// A Span is the time from Start up to End.
type Span struct{ Start, End time.Duration }

// A Run is one execution of the callback.
type Run struct {
	Span

	Failed bool
}

// end returns where the axis ends, which is more than 0.
func (e Events) end() time.Duration {
	end := e.End
	if end <= 0 {
		for _, call := range e.Calls {
			end = max(end, call)
		}
		for _, run := range e.Runs {
			end = max(end, run.Start, run.End)
		}
		for _, window := range e.Windows {
			end = max(end, window.Start, window.End)
		}
	}
	return max(end, 1)
}

// tickStep returns the least distance of axis ticks, a round number of ms or s,
// for which fits holds; end if no tick but the first fits.
func tickStep(end time.Duration, fits func(step time.Duration) bool) time.Duration {
	// What overflows is negative.
	for decade := time.Duration(1); decade > 0 && decade <= end; decade *= 10 {
		for _, step := range []time.Duration{decade, 2 * decade, 5 * decade} {
			if fits(step) {
				return step
			}
		}
	}
	return end
}

// tickLabel returns t, a multiple of step, in ms or s.
func tickLabel(t, step time.Duration) string {
	if step >= time.Second {
		return strconv.FormatFloat(t.Seconds(), 'f', -1, 64) + "s"
	}
	return strconv.FormatFloat(float64(t)/float64(time.Millisecond), 'f', -1, 64) + "ms"
}
