// Package picture turns what happened to a throttler into the events of a drawing.
package picture

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/timeline"
)

// A Run is a run on a time axis.
type Run struct {
	Start   time.Duration
	End     time.Duration // the present if the run is active
	Active  bool
	Cause   throttle.Cause
	Attempt int // as in throttle.Run; 0 if it is not known
	Calls   int
	Wait    time.Duration // of the first of these calls, until Start
	Failed  bool
	Again   bool          // it returned a RetryIn, which is no failure
	Retry   time.Duration // when it will be repeated; 0 if it will not be
}

// Simulated returns the Run of a simulated run.
func Simulated(r throttle.SimulatedRun) Run {
	again := new(throttle.RetryError)
	isAgain := errors.As(r.Err, &again)
	return Run{
		Start: r.Started, End: r.Ended, Cause: r.Cause, Attempt: r.Attempt, Calls: r.Calls, Wait: r.Wait,
		Failed: r.Err != nil && !isAgain, Again: isAgain, Retry: r.Retry,
	}
}

// Observed returns the Run of a run that an observer or a tracer got, on an axis that begins at
// start. A run that has not ended is active. The throttler must count calls.
func Observed(r throttle.Run, start time.Time) Run {
	drawn := Run{
		Start: r.Started.Sub(start), Active: r.Ended.IsZero(), Cause: r.Cause, Attempt: r.Attempt,
		Calls:  int(r.Calls), //nolint:gosec // not that many
		Failed: r.Result == throttle.ResultFailure || r.Result == throttle.ResultPanic,
		Again:  r.Result == throttle.ResultRetryIn,
	}
	if !drawn.Active {
		drawn.End = r.Ended.Sub(start)
	}
	if !r.Asked.IsZero() {
		drawn.Wait = r.Started.Sub(r.Asked)
	}
	if !r.Retry.IsZero() {
		drawn.Retry = r.Retry.Sub(start)
	}
	return drawn
}

// Events returns the events of a picture of calls and runs under p, both in order. dropped are
// the calls that p dropped, and calls all others.
func Events(p throttle.Policy, calls, dropped []time.Duration, runs []Run) timeline.Events {
	e := timeline.Events{Calls: calls, Dropped: dropped, Windows: Windows(p, runs)}
	for _, run := range runs {
		e.Runs = append(e.Runs, timeline.Run{
			Span: timeline.Span{Start: run.Start, End: run.End}, Label: run.label(), Failed: run.Failed, Active: run.Active,
		})
		if run.Calls > 0 {
			e.Waits = append(e.Waits, timeline.Wait{Span: timeline.Span{Start: run.Start - run.Wait, End: run.Start}})
		}
	}
	return e
}

// label returns the text beside r.
func (r Run) label() string {
	var words []string
	if r.Attempt > 1 {
		words = append(words, "attempt "+strconv.Itoa(r.Attempt))
	}
	switch {
	case r.Calls > 1:
		words = append(words, strconv.Itoa(r.Calls)+" calls")
	case r.Calls == 1:
		words = append(words, "1 call")
	case r.Cause != throttle.CauseRetry:
		words = append(words, "no call")
	case r.Attempt <= 1:
		words = append(words, "again") // as RetryIn has asked
	}
	if r.Failed {
		words = append(words, "fails")
	}
	return strings.Join(words, ", ")
}

// Describe says in words what a picture of e shows.
func Describe(e timeline.Events) string {
	var b strings.Builder
	list := func(what string, times []time.Duration) {
		if len(times) > 0 {
			b.WriteString(what + " at ")
			for i, at := range times {
				switch {
				case i == 0:
				case i == len(times)-1:
					b.WriteString(" and ")
				default:
					b.WriteString(", ")
				}
				b.WriteString(milliseconds(at))
			}
			b.WriteString(" ms. ")
		}
	}
	list("Calls", e.Calls)
	list("Dropped calls", e.Dropped)
	for _, mark := range e.Marks {
		list(mark.Label, []time.Duration{mark.At})
	}
	for i, run := range e.Runs {
		b.WriteString("Run " + strconv.Itoa(i+1) + " (" + run.Label + ") from " +
			milliseconds(run.Start) + " to " + milliseconds(run.End) + " ms. ")
	}
	return strings.TrimSpace(b.String())
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', -1, 64)
}
