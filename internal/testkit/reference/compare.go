package reference

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
)

func (r *rig) write(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, line)
}

func (r *rig) answer(name, verdict string) { r.write(lineAnswer(r.elapsed(), name, verdict)) }

// note records an operation in the history, before it is done.
func (r *rig) note(happen func(*history, time.Duration)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	happen(&r.history, r.elapsed())
}

// checkLocked records a broken guarantee. Any goroutine may find one; the next
// comparison fails because of it.
//
// +checklocks:r.mu
func (r *rig) checkLocked(broken string) {
	if broken != "" {
		r.log = append(r.log, "BROKEN: "+broken)
	}
}

// compare compares what the throttler did with what the model says. Within one step
// the order may differ, since goroutines have none.
func (r *rig) compare(what string) {
	if r.failure != "" {
		return
	}
	stats := r.throttler.Stats()
	next := r.see(stats)
	r.mu.Lock()
	r.checkLocked(r.history.idle(stats, r.elapsed(), next))
	r.compareRepetitionsLocked()
	library := slices.Sorted(slices.Values(r.log))
	r.log = nil
	r.mu.Unlock()
	expected := slices.Sorted(slices.Values(r.model.log))
	r.model.log = nil
	if actual, predicted := r.summarize(stats), r.model.stats(); actual != predicted {
		library = append(library, actual.String())
		expected = append(expected, predicted.String())
	}
	if r.throttler.Policy() != r.model.policy {
		library = append(library, "Policy: "+policyText(r.throttler.Policy()))
		expected = append(expected, "Policy: "+policyText(r.model.policy))
	}
	if what != "" {
		r.timeline = append(r.timeline, fmt.Sprintf("%8v  %s", r.elapsed(), what))
	}
	r.timeline = append(r.timeline, differences("    ONLY THE MODEL:   ", expected, "    ONLY THE LIBRARY: ", library)...)
	if !slices.Equal(library, expected) {
		r.fail()
	}
}

// differences returns the lines of both sides of a comparison for a timeline. A line
// that only one side has gets the mark of that side.
func differences(mark string, expected []string, otherMark string, seen []string) (lines []string) {
	for _, line := range expected {
		if slices.Contains(seen, line) {
			lines = append(lines, "        "+line)
		} else {
			lines = append(lines, mark+line)
		}
	}
	for _, line := range seen {
		if !slices.Contains(expected, line) {
			lines = append(lines, otherMark+line)
		}
	}
	return lines
}

// summarize describes Stats as the model does.
func (r *rig) summarize(s throttle.Stats) summary {
	actual := summary{
		Runs: s.Runs, Failures: s.Failures, Panics: s.Panics, Dropped: s.Dropped, Calls: s.Calls,
		Pending: s.Pending, Running: s.Running, Paused: s.Paused,
		LastStart: "none", LastDuration: s.LastDuration, LastError: verdictOf(s.LastError), Next: "none",
	}
	if !s.LastStart.IsZero() {
		actual.LastStart = instantText(s.LastStart.Sub(r.made))
	}
	if s.Running {
		actual.Next = "open"
	} else if !s.Next.IsZero() {
		actual.Next = instantText(s.Next.Sub(r.made))
	}
	return actual
}

// fail keeps the timeline, with all you need to replay the scenario by hand.
func (r *rig) fail() {
	r.failure = "the throttler and the model disagree\n" + replayText(&r.scenario, int(r.model.runs)) + strings.Join(r.timeline, "\n")
}

// replayText describes the policy of a scenario and its first runs.
func replayText(s *Scenario, runs int) string {
	var text strings.Builder
	fmt.Fprintln(&text, policyText(s.Policy))
	for n := range runs {
		fmt.Fprintf(&text, "run %d: %v\n", n, s.Script(n))
	}
	return text.String()
}

func describe(s Step) string {
	switch {
	case s.Op == OpCallWithin:
		return fmt.Sprintf("%v(%v)", s.Op, s.Within)
	case s.Op == OpSetPolicy:
		return fmt.Sprintf("%v(%s)", s.Op, policyText(s.Policy))
	case s.Late:
		return fmt.Sprintf("%v with an ended context", s.Op)
	case s.Within > 0:
		return fmt.Sprintf("%v with a context of %v", s.Op, s.Within)
	default:
		return s.Op.String()
	}
}
