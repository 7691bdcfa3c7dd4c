package throttledebug

import (
	"fmt"
	"html/template"
	"slices"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/timeline"
)

// strips returns the lengths of time that a drawing can show.
func strips() []time.Duration {
	return []time.Duration{
		100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
		time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
	}
}

// stripOf returns how much of the past to draw under the policy p. It depends only on p, so
// that the scale of a drawing does not change while you look at it.
func stripOf(p throttle.Policy) time.Duration {
	scale := max(p.Interval, p.Quiet, p.MaxInterval, p.Retry.Initial)
	all := strips()
	for _, past := range all {
		if past >= 10*time.Second && scale <= past/10 {
			return past
		}
	}
	return all[len(all)-1]
}

// known returns past, or less if the Recorder may have dropped runs within that time. It
// then returns the longest strip that the recent runs cover.
func known(past time.Duration, recent []Run, now time.Time) time.Duration {
	if len(recent) < keptRuns {
		return past
	}
	reach := min(past, now.Sub(recent[0].Started))
	all := strips()
	for _, less := range slices.Backward(all) {
		if less <= reach {
			return less
		}
	}
	return all[0]
}

// draw draws the recent runs up to now, and the next one.
func draw(t Throttle, now time.Time) template.HTML {
	past := known(t.strip, t.Recent, now)
	at := func(when time.Time) time.Duration { return when.Sub(now) + past }
	events := timeline.Events{End: past + past/5}
	// Keys wait and run side by side. So there is no single active run, and the lines of waits
	// would overlap.
	keyed := t.Keys != nil
	for _, run := range t.Recent {
		if at(run.Ended) < 0 {
			continue
		}
		events.Runs = append(events.Runs, timeline.Run{
			Span:   timeline.Span{Start: at(run.Started), End: at(run.Ended)},
			Label:  run.summary(),
			Failed: run.Error != "" && run.Result != string(throttle.ResultRetryIn),
		})
		if !run.Asked.IsZero() && !keyed {
			events.Waits = append(events.Waits, timeline.Wait{Span: timeline.Span{Start: at(run.Asked), End: at(run.Started)}})
		}
	}
	if t.State == Running && !keyed {
		events.Runs = append(events.Runs, timeline.Run{
			Span: timeline.Span{Start: at(t.LastStart), End: past}, Label: "running", Active: true,
		})
	}
	if !t.Next.IsZero() {
		// Stats does not say since when it waits.
		events.Waits = append(events.Waits, timeline.Wait{
			Span: timeline.Span{Start: past, End: max(at(t.Next), past+1)},
		})
	}
	label := fmt.Sprintf("the last %s, runs: %d", exactly(past), len(events.Runs))
	return template.HTML(timeline.Strip(events, past, label)) //nolint:gosec // Strip escapes all texts
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
