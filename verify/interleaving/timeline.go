package interleaving

import (
	"fmt"
	"slices"
	"strings"
)

// A Line is a step and where it led.
type Line struct {
	Who   string
	Step  Step
	Clock int
	Word  string
	State string
}

// path returns the steps to the state of the given index. The visited states are unified, but
// on the path each process keeps its name.
func (v *visited) path(m *model, index int) []Line {
	var indices []int
	for ; index != 0; index = int(v.parents[index]) {
		indices = append(indices, index)
	}
	at := m.first()
	x := moves{of: m}
	var lines []Line
	for _, index := range slices.Backward(indices) {
		for _, next := range x.find(&at) {
			unified := next.state
			m.unify(&unified)
			if unified == *v.state(index) {
				lines = append(lines, next.line())
				at = next.state
				break
			}
		}
	}
	return lines
}

func (v *move) line() Line {
	return Line{v.who.String(), v.step, int(v.clock), v.word.String(), v.describe()}
}

// describe returns the part of the record that matters to most paths.
func (s *state) describe() string {
	parts := []string{s.name()}
	if !s.settled() {
		parts = append(parts, "mutex held")
	}
	h := &s.history
	if h.pending {
		parts = append(parts, fmt.Sprintf("pending since %d", h.firstCall))
	}
	if h.lastCall != beginning {
		parts = append(parts, fmt.Sprintf("last call %d", h.lastCall))
	}
	if h.retry {
		parts = append(parts, fmt.Sprintf("retry at %d", h.hold))
	}
	if h.flush {
		parts = append(parts, "flush")
	}
	if s.paused && parts[0] != "paused" {
		parts = append(parts, "paused")
	}
	if s.paused && parts[0] != "paused" {
		parts = append(parts, "paused")
	}
	if s.alarm.set {
		parts = append(parts, fmt.Sprintf("alarm %d", s.alarm.at))
	}
	if s.alarm.wakes > 0 {
		parts = append(parts, fmt.Sprintf("%d waking", s.alarm.wakes))
	}
	if s.run.at != noRun {
		parts = append(parts, "run "+[]string{"", "started", "doomed", "entering", "inside", "decided"}[s.run.at])
	}
	return strings.Join(parts, ", ")
}

func (b *Breach) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s does not hold: %s\n", b.Guarantee, b.How)
	fmt.Fprintf(&text, "%5s  %-14s  %-18s  %5s  %-10s  %s\n", "step", "actor", "action", "clock", "word", "state")
	for i, line := range b.Path {
		fmt.Fprintf(&text, "%5d  %-14s  %-18s  %5d  %-10s  %s\n", i+1, line.Who, line.Step, line.Clock, line.Word, line.State)
	}
	return text.String()
}
