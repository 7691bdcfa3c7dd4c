package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/picture"
	"github.com/throttle-go/throttle/internal/timeline"
)

// Limits of a picture. Without them it would be illegible, or take too long to draw.
const (
	mostDrawn     = 500 // runs
	mostLabels    = 16  // runs with labels
	mostDescribed = 60  // calls and runs that the description lists
	mostAttempts  = 6   // of a run that is repeated for ever
	periodicRuns  = 2   // that a picture shows when nothing else happens any more
)

// A Drawing is a picture of what happened, and what it shows in one line.
type Drawing struct{ SVG, Summary string }

// Draw draws what the script of s leads to under p, which must be valid.
func Draw(p throttle.Policy, s State, title string) (Drawing, error) {
	played, err := play(p, s)
	if err != nil {
		return Drawing{}, err
	}
	e := played.events(p)
	summary := played.summary()
	description := summary
	if len(e.Calls)+len(e.Dropped)+len(e.Runs) <= mostDescribed {
		description = picture.Describe(e)
	}
	return Drawing{svg(e, title, description), summary}, nil
}

// svg returns the picture of e without its style sheet, which the page has already: a browser
// would read it anew with each picture.
func svg(e timeline.Events, title, description string) string {
	var labels int
	for _, run := range e.Runs {
		if 0 <= run.Start && run.Start <= e.End {
			labels++
		}
	}
	if labels > mostLabels {
		for i := range e.Runs {
			e.Runs[i].Label = ""
		}
	}
	before, rest, _ := strings.Cut(timeline.SVG(e, title, description), "<style>")
	_, after, _ := strings.Cut(rest, "</style>\n")
	return before + after
}

// A played is what a script has led to.
type played struct {
	calls, dropped []time.Duration
	runs           []picture.Run
	next           *picture.Run // the first run after the end; nil if it is not known
	end            time.Duration
	cut            bool // there are more runs than a picture shows
}

// play plays the script of s.
func play(p throttle.Policy, s State) (played, error) {
	isDropped := map[int]bool{}
	runs, err := throttle.Simulate(p, slices.Values(s.Script.Calls), s.outcome,
		throttle.WithDropped(func(n int, _ time.Duration) { isDropped[n] = true }))
	if err != nil {
		return played{}, err
	}
	until := s.Script.Until
	var all played
	var covered, idle int
	for run := range runs {
		drawn := picture.Simulated(run)
		if until > 0 && run.Started > until {
			all.next = &drawn
			break
		}
		if len(all.runs) == mostDrawn {
			all.cut = true
			break
		}
		all.runs = append(all.runs, drawn)
		covered += run.Calls
		isOver := covered+len(isDropped) == len(s.Script.Calls) && (run.Retry == 0 || run.Attempt >= mostAttempts)
		if until > 0 || !isOver {
			continue
		}
		idle++ // nobody calls any more
		if p.MaxInterval == 0 || idle > periodicRuns {
			break
		}
	}
	for n, call := range s.Script.Calls {
		if isDropped[n] {
			all.dropped = append(all.dropped, call)
		} else {
			all.calls = append(all.calls, call)
		}
	}
	all.end = all.endOf(p, until)
	all.calls, all.dropped = upTo(all.calls, all.end), upTo(all.dropped, all.end)
	return all, nil
}

// outcome says how run number n ends, from 0.
func (s State) outcome(n int) (took time.Duration, err error) {
	o := Outcome{Usual: true}
	if n < len(s.Script.Runs) {
		o = s.Script.Runs[n]
	} else {
		o.Fails = failsAt(n-len(s.Script.Runs), s.Failing)
	}
	if o.Usual {
		o.Took = s.Took
	}
	if o.Fails {
		err = errFailed
	}
	return o.Took, err
}

var errFailed = errors.New("failed")

// failsAt reports whether run number n fails, from 0, if a share of the runs does. The failures
// are evenly spread and not random, so that the same URL shows the same picture.
func failsAt(n int, share float64) bool {
	const rounding = 1e-9
	failures := func(runs int) float64 { return math.Floor(float64(runs)*share + rounding) }
	return failures(n+1) > failures(n)
}

// endOf returns the end of the picture.
func (d played) endOf(p throttle.Policy, until time.Duration) time.Duration {
	if until > 0 && !d.cut {
		return until
	}
	var last time.Duration
	for _, run := range d.runs {
		last = max(last, run.End)
	}
	if d.cut {
		return max(last, 1)
	}
	for _, call := range slices.Concat(d.calls, d.dropped) {
		last = max(last, call)
	}
	for _, window := range picture.Windows(p, d.runs) {
		if window.End <= longest {
			last = max(last, window.End)
		}
	}
	if last == 0 {
		return time.Second // nothing happens, or only at 0
	}
	last += last / 20
	unit := time.Nanosecond
	for last/unit >= 100 {
		unit *= 10
	}
	return (last + unit - 1).Truncate(unit)
}

// upTo returns the times up to end. They are in order.
func upTo(times []time.Duration, end time.Duration) []time.Duration {
	after, _ := slices.BinarySearch(times, end+1)
	return times[:after]
}

func (d played) events(p throttle.Policy) timeline.Events {
	e := picture.Events(p, d.calls, d.dropped, d.runs)
	if d.next != nil && d.next.Calls > 0 {
		e.Waits = append(e.Waits, timeline.Wait{Span: timeline.Span{Start: d.next.Start - d.next.Wait, End: d.next.Start}})
	}
	e.End = d.end
	return e
}

func (d played) summary() string {
	var failed int
	var longest time.Duration
	for _, run := range d.runs {
		if run.Failed {
			failed++
		}
		longest = max(longest, run.Wait)
	}
	text := summary(len(d.calls)+len(d.dropped), len(d.dropped), len(d.runs), failed)
	if longest > 0 {
		text += fmt.Sprintf(" Longest wait: %s.", formatDuration(longest))
	}
	if d.cut {
		text += fmt.Sprintf(" The picture ends after %d runs.", mostDrawn)
	}
	return text
}

// summary says in one line what happened.
func summary(calls, dropped, runs, failed int) string {
	text := fmt.Sprintf("Calls: %d.", calls)
	if dropped > 0 {
		text += fmt.Sprintf(" Dropped calls: %d.", dropped)
	}
	text += fmt.Sprintf(" Runs: %d.", runs)
	if failed > 0 {
		text += fmt.Sprintf(" Failed runs: %d.", failed)
	}
	return text
}
