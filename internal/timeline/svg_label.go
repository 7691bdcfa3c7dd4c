package timeline

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// This file finds places for the texts of an SVG.

// A placed is a text that has found its place.
type placed struct {
	text     string
	from, to float64
	row      int
}

func (s *sketch) runLabels() []placed {
	var labels []placed
	for _, run := range s.events.Runs {
		if run.Label != "" && !s.strip && s.contains(run.Start) {
			labels = append(labels, s.place(run.Label, s.at(run.Start)+inset))
		}
	}
	return labels
}

func (s *sketch) measureLabels() []placed {
	labels := make([]placed, 0, len(s.events.Measures))
	for _, measure := range s.events.Measures {
		middle := (s.at(measure.Start) + s.at(measure.End)) / 2
		number, unit := tickNumber(measure.End-measure.Start, s.tickStep())
		text := strings.TrimSpace(measure.Label + " " + number + " " + unit)
		labels = append(labels, s.place(text, max(margin, middle-textWidth(text)/2)))
	}
	return labels
}

// place returns text that begins at from, or where it has to so as not to leave
// the drawing.
func (s *sketch) place(text string, from float64) placed {
	width := textWidth(text)
	from = max(0, min(from, s.width-margin/2-width))
	return placed{text: text, from: from, to: from + width}
}

// stack gives each label the first row in which it meets no other, and returns
// how many there are.
func (s *sketch) stack(labels []placed) (stacked []placed, rows int) {
	for i := range labels {
		meets := func(other placed) bool {
			return other.row == labels[i].row && other.from < labels[i].to+gap && labels[i].from < other.to+gap
		}
		for slices.ContainsFunc(labels[:i], meets) {
			labels[i].row++
		}
		rows = max(rows, labels[i].row+1)
	}
	return labels, rows
}

// textWidth returns how wide text is, at most.
func textWidth(text string) float64 { return letter * float64(utf8.RuneCountInString(text)) }
