package reference

// This file writes down what is seen of a throttler, compares it with what the model
// says, and shows where the two disagree.

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
	r.diary = append(r.diary, line)
}

func (r *rig) answer(name, verdict string) { r.write(lineAnswer(r.elapsed(), name, verdict)) }

// note writes an operation into the history before it is done.
func (r *rig) note(happen func(*history, time.Duration)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	happen(&r.history, r.elapsed())
}

// checkLocked fails on a broken guarantee. Any goroutine may find one, and only
// the driver may end the test: it does so at the next comparison.
//
// +checklocks:r.mu
func (r *rig) checkLocked(broken string) {
	if broken != "" {
		r.diary = append(r.diary, "BROKEN: "+broken)
	}
}

// compare holds what the throttler did against what the model says. Within
// one step their order may differ, as goroutines do.
func (r *rig) compare(what string) {
	if r.failure != "" {
		return
	}
	stats := r.throttler.Stats()
	next := r.see(stats)
	r.mu.Lock()
	r.checkLocked(r.history.idle(stats, r.elapsed(), next))
	library := slices.Sorted(slices.Values(r.diary))
	r.diary = nil
	r.mu.Unlock()
	expected := slices.Sorted(slices.Values(r.model.diary))
	r.model.diary = nil
	if told, predicted := r.statsTold(stats), r.model.stats(); told != predicted {
		library = append(library, told.String())
		expected = append(expected, predicted.String())
	}
	if r.throttler.Policy() != r.model.policy {
		library = append(library, "Policy: "+PolicyText(r.throttler.Policy()))
		expected = append(expected, "Policy: "+PolicyText(r.model.policy))
	}
	if what != "" {
		r.timeline = append(r.timeline, fmt.Sprintf("%8v  %s", r.elapsed(), what))
	}
	r.timeline = append(r.timeline, Differences("    ONLY THE MODEL:   ", expected, "    ONLY THE LIBRARY: ", library)...)
	if !slices.Equal(library, expected) {
		r.fail()
	}
}

// Differences returns the lines of both sides of a comparison for a timeline, those
// that only one of them has with the mark of that side.
func Differences(mark string, expected []string, otherMark string, seen []string) (lines []string) {
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

// statsTold puts what Stats tells into the model's words.
func (r *rig) statsTold(s throttle.Stats) summary {
	told := summary{
		Runs: s.Runs, Failures: s.Failures, Panics: s.Panics, Dropped: s.Dropped, Calls: s.Calls,
		Pending: s.Pending, Running: s.Running,
		LastStart: "none", LastDuration: s.LastDuration, LastError: VerdictOf(s.LastError), Next: "none",
	}
	if !s.LastStart.IsZero() {
		told.LastStart = instantText(s.LastStart.Sub(r.made))
	}
	if s.Running {
		told.Next = "open"
	} else if !s.Next.IsZero() {
		told.Next = instantText(s.Next.Sub(r.made))
	}
	return told
}

// fail keeps the timeline, with all you need to replay the scenario by hand.
func (r *rig) fail() {
	r.failure = "the throttler and the model disagree\n" + replayText(&r.scenario, int(r.model.runs)) + strings.Join(r.timeline, "\n")
}

// replayText describes the policy of a scenario and its first runs.
func replayText(s *Scenario, runs int) string {
	var text strings.Builder
	fmt.Fprintln(&text, PolicyText(s.Policy))
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
		return fmt.Sprintf("%v(%s)", s.Op, PolicyText(s.Policy))
	case s.Late:
		return fmt.Sprintf("%v with an ended context", s.Op)
	case s.Within > 0:
		return fmt.Sprintf("%v with a context of %v", s.Op, s.Within)
	default:
		return s.Op.String()
	}
}
