package throttledebug

import (
	"fmt"
	"html/template"
	"slices"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/picture"
	"github.com/throttle-go/throttle/internal/timeline"
)

// A strip is what a drawing shows of a throttle, or of a key.
type strip struct {
	scale

	now    time.Time
	policy throttle.Policy
	status Status
	runs   []Run     // finished, the earliest first
	since  time.Time // runs before may be missing; zero: none are
	keyed  bool      // keys wait and run side by side
	events timeline.Events
}

// stripOf returns the strip of t.
func stripOf(t Throttle, s scale, now time.Time) *strip {
	runs := t.Recent
	if len(runs) == 0 && t.Keys == nil && t.State != Running && !t.LastStart.IsZero() {
		runs = []Run{t.lastRun()}
	}
	return &strip{
		scale: s, now: now, policy: t.policy, status: t.Status, runs: runs, since: t.knownSince(), keyed: t.Keys != nil,
	}
}

// laneStrip returns the strip of one of t's keys.
func laneStrip(t Throttle, l lane, s scale, now time.Time) *strip {
	return &strip{scale: s, now: now, policy: t.policy, status: l.status, runs: l.runs, since: t.knownSince()}
}

// lastRun returns the last run of t as Stats describes it, for when there is no Recorder.
func (t *Throttle) lastRun() Run {
	result := throttle.ResultSuccess
	if isFailing(*t) {
		result = throttle.ResultFailure
	}
	took := time.Duration(t.Duration * float64(time.Second))
	return Run{Cause: "last run", Started: t.LastStart, Ended: t.LastStart.Add(took), Duration: t.Duration, Result: string(result)}
}

// knownSince returns the time since which the Recorder has dropped no run of t; the zero time if
// it has dropped none.
func (t *Throttle) knownSince() time.Time {
	if len(t.Recent) < keptRuns {
		return time.Time{}
	}
	return t.Recent[0].Started
}

// at returns the place of an instant on the axis. It is just beyond the end if it is later.
func (s *strip) at(when time.Time) time.Duration {
	return min(when.Sub(s.now), s.future()+1) + s.past
}

func (s *strip) span(from, to time.Time) timeline.Span {
	return timeline.Span{Start: s.at(from), End: s.at(to)}
}

// draw draws the recent runs up to now, and the next one. With ticks, it has a time axis.
func (s *strip) draw(ticks bool) template.HTML {
	s.addRuns()
	if !s.keyed {
		s.addWindows()
	}
	if next := s.status.Next; !next.IsZero() {
		// Stats does not say since when it waits.
		s.events.Waits = append(s.events.Waits, timeline.Wait{Span: timeline.Span{Start: s.past, End: max(s.at(next), s.past+1)}})
	}
	return s.svg(ticks)
}

// addRuns adds the runs. With keys there is no single active run, and the lines of waits would
// overlap.
func (s *strip) addRuns() {
	for _, run := range s.runs {
		if s.at(run.Ended) < 0 {
			continue
		}
		s.events.Runs = append(s.events.Runs, timeline.Run{
			Span: s.span(run.Started, run.Ended), Label: run.summary(), Failed: run.failed(),
		})
		if !run.Asked.IsZero() && !s.keyed {
			s.events.Waits = append(s.events.Waits, timeline.Wait{Span: s.span(run.Asked, run.Started)})
		}
	}
	if s.status.State == Running && !s.keyed {
		s.events.Runs = append(s.events.Runs, timeline.Run{
			Span: timeline.Span{Start: s.at(s.status.LastStart), End: s.past}, Label: "running", Active: true,
		})
	}
}

// addWindows adds the windows of the known runs under the current policy.
func (s *strip) addWindows() {
	runs := s.runs
	if s.status.State == Running {
		runs = append(slices.Clip(runs), Run{Started: s.status.LastStart})
	}
	if len(runs) == 0 {
		return
	}
	first := runs[0].Started
	drawn := make([]picture.Run, len(runs))
	for i, run := range runs {
		drawn[i] = run.after(first)
	}
	for _, w := range picture.Windows(s.policy, drawn) {
		if span := s.span(first.Add(w.Start), first.Add(w.End)); span.End > 0 && span.Start < s.end() {
			s.events.Windows = append(s.events.Windows, span)
		}
	}
}

// after returns r on an axis that begins at start. A run without an end is active.
func (r Run) after(start time.Time) picture.Run {
	drawn := picture.Run{
		Start: r.Started.Sub(start), End: r.Ended.Sub(start), Active: r.Ended.IsZero(),
		Attempt: r.Attempt, Failed: r.failed(), Again: r.Result == string(throttle.ResultRetryIn),
	}
	if !r.retry.IsZero() {
		drawn.Retry = r.retry.Sub(start)
	}
	return drawn
}

// failed reports whether r failed. A RetryIn is not a failure.
func (r Run) failed() bool {
	return r.Result == string(throttle.ResultFailure) || r.Result == string(throttle.ResultPanic)
}

// summary describes r in one line.
func (r Run) summary() string {
	s := fmt.Sprintf("%s: %s, took %s", r.Cause, r.Result, took(r.Duration))
	if r.Key != "" {
		s = r.Key + ", " + s
	}
	if r.Attempt > 1 {
		s += fmt.Sprintf(", attempt %d", r.Attempt)
	}
	if r.Calls > 0 {
		s += fmt.Sprintf(", %d calls", r.Calls)
	}
	return s
}
