package throttle_test

// This file writes down what is seen of a throttler, compares it with what the
// reference model says, and shows where the two disagree.

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
func (r *rig) checkLocked(broken string) {
	if broken != "" {
		r.diary = append(r.diary, "BROKEN: "+broken)
	}
}

// compare holds what the throttler did against what the model says. Within
// one step their order may differ, as goroutines do.
func (r *rig) compare(what string) {
	r.t.Helper()
	stats := r.throttler.Stats()
	next := modelNever
	if !stats.Next.IsZero() {
		next = stats.Next.Sub(r.made)
	}
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
		library = append(library, "Policy: "+policyText(r.throttler.Policy()))
		expected = append(expected, "Policy: "+policyText(r.model.policy))
	}
	if what != "" {
		r.timeline = append(r.timeline, fmt.Sprintf("%8v  %s", r.elapsed(), what))
	}
	for _, line := range expected {
		if slices.Contains(library, line) {
			r.timeline = append(r.timeline, "        "+line)
		} else {
			r.timeline = append(r.timeline, "    ONLY THE MODEL:   "+line)
		}
	}
	for _, line := range library {
		if !slices.Contains(expected, line) {
			r.timeline = append(r.timeline, "    ONLY THE LIBRARY: "+line)
		}
	}
	if !slices.Equal(library, expected) {
		r.fail()
	}
}

// statsTold puts what Stats tells into the model's words.
func (r *rig) statsTold(s throttle.Stats) modelStats {
	told := modelStats{
		Runs: s.Runs, Failures: s.Failures, Panics: s.Panics, Dropped: s.Dropped, Calls: s.Calls,
		Pending: s.Pending, Running: s.Running,
		LastStart: "none", LastDuration: s.LastDuration, LastError: verdictOf(s.LastError), Next: "none",
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

// fail prints all that is needed to replay the scenario by hand.
func (r *rig) fail() {
	var text strings.Builder
	fmt.Fprintf(&text, "bytes: %q\n%s\n", r.data, policyText(r.scenario.policy))
	for n := range r.model.runs {
		fmt.Fprintf(&text, "run %d: %v\n", n, r.scenario.script(int(n)))
	}
	text.WriteString(strings.Join(r.timeline, "\n"))
	r.t.Fatal("the throttler and the model disagree\n" + text.String())
}

func (r *rig) describe(s step) string {
	switch {
	case s.op == opCallWithin:
		return fmt.Sprintf("%v(%v)", s.op, s.within)
	case s.op == opSetPolicy:
		return fmt.Sprintf("%v(%s)", s.op, policyText(s.policy))
	case s.late:
		return fmt.Sprintf("%v with an ended context", s.op)
	case s.within > 0:
		return fmt.Sprintf("%v with a context of %v", s.op, s.within)
	default:
		return s.op.String()
	}
}

// policyText writes the fields of a policy that are set.
func policyText(p throttle.Policy) string {
	var fields []string
	add := func(name string, value, zero any) {
		if value != zero {
			fields = append(fields, fmt.Sprintf("%s: %v", name, value))
		}
	}
	none := throttle.Policy{}
	add("Interval", p.Interval, none.Interval)
	add("Burst", p.Burst, none.Burst)
	add("Quiet", p.Quiet, none.Quiet)
	add("MaxWait", p.MaxWait, none.MaxWait)
	add("MaxInterval", p.MaxInterval, none.MaxInterval)
	add("MaxCalls", p.MaxCalls, none.MaxCalls)
	add("Retry", fmt.Sprintf("%+v", p.Retry), fmt.Sprintf("%+v", none.Retry))
	switch p.Edges {
	case 0:
	case throttle.Leading:
		fields = append(fields, "Edges: Leading")
	case throttle.Trailing:
		fields = append(fields, "Edges: Trailing")
	case throttle.Leading | throttle.Trailing:
		fields = append(fields, "Edges: Leading|Trailing")
	default:
		fields = append(fields, fmt.Sprintf("Edges: %d", uint8(p.Edges)))
	}
	if p.From == throttle.FromEnd {
		fields = append(fields, "From: FromEnd")
	} else if p.From != 0 {
		fields = append(fields, fmt.Sprintf("From: %d", uint8(p.From)))
	}
	return "Policy{" + strings.Join(fields, ", ") + "}"
}
