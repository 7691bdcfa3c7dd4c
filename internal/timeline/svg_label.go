package timeline

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A placed is a label with its place.
type placed struct {
	of       Span // the span that it labels
	text     string
	from, to float64
	row      int
}

func (p placed) middle() float64 { return (p.from + p.to) / 2 }

func (s *sketch) runLabels() []placed {
	var labels []placed
	for _, run := range s.events.Runs {
		if run.Label != "" && s.contains(run.Start) {
			labels = append(labels, s.place(run.Span, run.Label, s.at(run.Start)+inset))
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
		labels = append(labels, s.place(measure.Span, text, middle-textWidth(text)/2))
	}
	return labels
}

// place returns text at from, moved if necessary so that it does not leave the drawing.
func (s *sketch) place(of Span, text string, from float64) placed {
	width := textWidth(text)
	from = max(margin/2, min(from, s.width-margin/2-width))
	return placed{of: of, text: text, from: from, to: from + width}
}

// stack sorts labels by time and gives each the first row in which it overlaps no other. It
// returns the labels and the number of rows.
func (s *sketch) stack(labels []placed) (stacked []placed, rows int) {
	slices.SortFunc(labels, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.of.Start, b.of.Start), cmp.Compare(a.of.End, b.of.End), cmp.Compare(a.text, b.text))
	})
	for i := range labels {
		overlaps := func(other placed) bool {
			return other.row == labels[i].row && other.from < labels[i].to && labels[i].from < other.to
		}
		for slices.ContainsFunc(labels[:i], overlaps) {
			labels[i].row++
		}
		rows = max(rows, labels[i].row+1)
	}
	return labels, rows
}

// textWidth returns the width of text plus a gap to the next text.
//
// The width is an estimate, because the font depends on the reader's system. In DejaVu Sans,
// the widest font that Style names, the letters of our labels are 7 to 9 pixels wide on
// average, and digits are 10; the gap makes up for a few of them. A text in capitals may
// need more, and then touch its neighbour.
func textWidth(text string) float64 { return Letter*float64(utf8.RuneCountInString(text)) + gap }
