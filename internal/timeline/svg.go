package timeline

import (
	"fmt"
	"strings"
	"time"
)

// No element of a drawing has an id, so that a page can hold many drawings.

// The sizes of the drawings, in pixels before scaling. Programs that thin out events need some
// of them.
const (
	PictureWidth = 640 // so that letters stay legible on a phone
	AxisStart    = 84  // of the axis of a picture; the lane names are left of it
	AxisEnd      = PictureWidth - 3*margin/2
	Letter       = 9 // width of a letter that a drawing assumes

	margin        = 16
	lineHeight    = 22
	gap           = 6 // between things that must not touch
	inset         = 4 // from the start of a run to its label
	callHeight    = 26
	stemHeight    = 8  // of the start of a wait, if there are no calls
	waitHeight    = 16 // from the calls down to the runs
	barHeight     = 28
	measureHeight = lineHeight + 10
	tickLength    = 5
	hatch         = 7  // distance of the lines of a failed run
	leastWidth    = 4  // of a run, so that it is visible
	leastHatch    = 12 // narrowest failed run with a hatch; narrower ones are a cross
)

// SVG draws e as a picture of its own, with a background and colours for light and dark
// screens. Screen readers read title and description.
//
// Calls stand on the line of their wait. The line leads down into the run that covers the
// calls, or ends in a cross if they were dropped. A failed run is hatched, or a cross if it
// is too short. Windows are shaded.
func SVG(e Events, title, description string) string {
	s := newSketch(e, PictureWidth, AxisStart, PictureWidth-AxisEnd)
	s.row(margin)
	s.draw()
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" class="timeline" role="img" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d">
<title>%[3]s</title>
<desc>%[4]s</desc>
<style>
%[5]s</style>
<rect class="paper" width="%[1]d" height="%[2]d" rx="6"/>
%[6]s</svg>
`, PictureWidth, int(s.y+margin/2), escape(title), escape(description), Style, s.String())
}

// A sketch is an SVG in the making.
type sketch struct {
	strings.Builder

	events      Events
	end         time.Duration // of the axis
	left, right float64       // ends of the axis
	width       float64       // of the whole drawing
	y           float64       // top of the next row
}

func newSketch(e Events, width, left, right float64) *sketch {
	return &sketch{events: e, end: e.end(), left: left, right: width - right, width: width}
}

// row adds a row of that height and returns its top.
func (s *sketch) row(height float64) (top float64) {
	top = s.y
	s.y += height
	return top
}

// contains reports whether t is on the axis.
func (s *sketch) contains(t time.Duration) bool { return 0 <= t && t <= s.end }

// at returns the x of t, or of the nearer end of the axis.
func (s *sketch) at(t time.Duration) float64 {
	share := min(max(float64(t)/float64(s.end), 0), 1)
	// The conversion prevents a fused multiply-add, which some processors have. So a drawing
	// is the same everywhere.
	return s.left + float64(share*(s.right-s.left))
}

// cut returns the ends of span on the axis, and whether any of it is visible.
func (s *sketch) cut(span Span) (from, to float64, visible bool) {
	visible = span.Start <= s.end && span.End >= 0 && span.Start <= span.End
	return s.at(span.Start), s.at(span.End), visible
}

// draw draws the background first, then all events from top to bottom.
func (s *sketch) draw() {
	e := s.events
	labels, labelRows := s.stack(s.runLabels())
	measures, measureRows := s.stack(s.measureLabels())
	if len(e.Windows) > 0 {
		labelRows = max(labelRows, 1) // for the windows' name
	}

	var notes, calls, waits float64
	if len(e.Marks)+len(e.Values) > 0 {
		notes = s.row(lineHeight)
	}
	if len(e.Calls)+len(e.Dropped) > 0 {
		calls = s.row(callHeight)
	}
	waits = s.y
	if len(e.Waits) > 0 {
		if len(e.Calls) == 0 {
			waits = s.row(stemHeight) + stemHeight
		}
		s.row(waitHeight)
	}
	runs := s.row(barHeight)
	beneath := s.row(float64(labelRows)*lineHeight + gap)
	measured := s.row(float64(measureRows) * measureHeight)
	axis := s.row(tickLength + lineHeight)

	// The measures are below everything else, so that nothing crosses their labels.
	s.windows(runs-gap, measured)
	s.axis(axis)
	s.marks(notes, measured)
	s.calls(notes, calls, waits)
	s.waits(waits, runs)
	s.runs(runs)
	for _, label := range labels {
		s.text("label", label.from, beneath+float64(label.row+1)*lineHeight-gap/2, "start", label.text)
	}
	for _, label := range measures {
		s.measure(label, measured+float64(label.row)*measureHeight)
	}
	s.laneNames(calls, runs, measured, axis)
}

// laneNames writes the names of the rows, left of the axis. The name of the windows is just
// above windowsEnd.
func (s *sketch) laneNames(calls, runs, windowsEnd, axis float64) {
	if calls > 0 {
		s.text("lane", margin, calls+callHeight-gap, "start", "calls")
	}
	s.text("lane", margin, runs+barHeight-gap-2, "start", "runs")
	if len(s.events.Windows) > 0 {
		s.text("lane", margin, windowsEnd-gap-gap/2, "start", "window")
	}
	_, unit := tickNumber(0, s.tickStep())
	s.text("lane", margin, axis+tickLength+lineHeight-gap/2, "start", unit)
}

func (s *sketch) windows(top, bottom float64) {
	for _, window := range s.events.Windows {
		if from, to, visible := s.cut(window); visible {
			s.rect("window", from, top, to-from, bottom-top)
			if s.contains(window.End) {
				s.path("edge", line(to, top, to, bottom))
			}
		}
	}
}

// calls draws the calls and their values. The calls stand on base.
func (s *sketch) calls(notes, top, base float64) {
	for _, call := range s.events.Calls {
		if s.contains(call) {
			s.path("call", line(s.at(call), top, s.at(call), base))
		}
	}
	for _, call := range s.events.Dropped {
		if x := s.at(call); s.contains(call) {
			s.path("call", line(x, top, x, base-gap))
			s.path("dropped", cross(x, base-gap, 4))
		}
	}
	for _, value := range s.events.Values {
		if s.contains(value.At) {
			s.text("label", s.at(value.At), notes+lineHeight-gap, "middle", value.Label)
		}
	}
}

// waits draws waits as lines at level, which lead down to bottom.
func (s *sketch) waits(level, bottom float64) {
	for _, wait := range s.events.Waits {
		from, to, visible := s.cut(wait.Span)
		if !visible {
			continue
		}
		begin := line(from, level, to, level)
		if len(s.events.Calls) == 0 && s.contains(wait.Start) {
			begin = line(from, level-stemHeight, from, level) + line(from, level, to, level)
		}
		switch {
		case wait.Dropped:
			s.path("wait", begin)
			s.path("dropped", cross(to, level, 4))
		case s.contains(wait.End):
			s.path("wait", begin+line(to, level, to, bottom))
		default:
			s.path("wait", begin)
		}
	}
}

// runs draws failed runs last, so that nothing hides them.
func (s *sketch) runs(top float64) {
	for _, failed := range []bool{false, true} {
		for _, run := range s.events.Runs {
			if from, to, visible := s.cut(run.Span); visible && run.Failed == failed {
				width := max(to-from, leastWidth)
				s.run(run, min(from, s.right-width), top, width)
			}
		}
	}
}

func (s *sketch) run(run Run, left, top, width float64) {
	class := "run"
	if run.Failed {
		class += " failed"
	}
	if run.Active {
		class += " active"
	}
	s.WriteString(`<g class="` + class + `">` + "\n")
	if run.Failed && width < leastHatch {
		s.path("cross", cross(left+width/2, top+barHeight/2, leastHatch/2))
	} else {
		s.rect("bar", left, top, width, barHeight)
		if run.Failed {
			s.path("hatch", hatched(left, top, left+width, top+barHeight))
		}
	}
	if run.Active {
		s.path("open", line(left+width, top-gap/2, left+width, top+barHeight+gap/2))
	}
	s.WriteString("</g>\n")
}

// marks draws marks as lines through all rows, each below its name.
func (s *sketch) marks(notes, bottom float64) {
	for _, mark := range s.events.Marks {
		if !s.contains(mark.At) {
			continue
		}
		x := s.at(mark.At)
		label := s.place(Span{mark.At, mark.At}, mark.Label, x-textWidth(mark.Label)/2)
		s.path("mark", line(x, notes+lineHeight-gap/2, x, bottom))
		s.text("name", label.middle(), notes+lineHeight-gap, "middle", label.text)
	}
}

// measure draws a line with a bar at each end, and the label below it.
func (s *sketch) measure(label placed, top float64) {
	if from, to, visible := s.cut(label.of); visible {
		level := top + gap
		s.path("measure", line(from, level-4, from, level+4)+line(from, level, to, level)+line(to, level-4, to, level+4))
		s.text("length", label.middle(), level+lineHeight-gap/2, "middle", label.text)
	}
}
