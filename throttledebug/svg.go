package throttledebug

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/throttle-go/throttle/internal/timeline"
)

// The drawings look like those of internal/timeline and use its style sheet. But their
// horizontal positions are percentages, so that they fit any card while letters keep their
// size. A picture that shrinks as a whole has illegible labels on a phone.

// The vertical sizes of a drawing, in CSS pixels.
const (
	stemTop    = 2  // of the mark of a call
	level      = 12 // of the line of a wait
	barTop     = 18
	barHeight  = 22
	barEnd     = barTop + barHeight
	overhang   = 3 // of a window beyond the bars
	axisTop    = barEnd + 8
	tickLength = 4
	labelLine  = axisTop + 18 // on which the labels of the axis stand
	laneHeight = barEnd + overhang + 1
	fullHeight = labelLine + 6
)

// leastHatch is the narrowest failed run that is a hatched bar, in per cent of the width. A
// narrower one is a cross.
const leastHatch = 2

// A drawing is an svg element in the making.
type drawing struct {
	strings.Builder

	strip *strip
}

// svg draws the events of s.
func (s *strip) svg(ticks bool) template.HTML {
	d := &drawing{strip: s}
	height := laneHeight
	if ticks {
		height = fullHeight
	}
	label := fmt.Sprintf("the last %s, runs: %d", exactly(s.past), len(s.events.Runs))
	fmt.Fprintf(d, `<svg class="timeline strip" role="img" aria-label="%s" width="100%%" height="%d">`+"\n", label, height)
	if s.at(s.since) > 0 && !s.since.IsZero() {
		d.rect("unrecorded", timeline.Span{End: s.at(s.since)}, barTop-overhang, barHeight+2*overhang)
	}
	d.windows()
	d.line("now", s.past, stemTop, s.past, barEnd+overhang)
	d.waits()
	d.runs(false)
	d.runs(true) // last, so that nothing hides them
	if ticks {
		d.axis()
	}
	d.WriteString("</svg>")
	return template.HTML(d.String()) //nolint:gosec // all texts are escaped
}

// contains reports whether t is on the axis.
func (d *drawing) contains(t time.Duration) bool { return 0 <= t && t <= d.strip.end() }

// x returns the place of t, or of the nearer end of the axis, in per cent of the width.
func (d *drawing) x(t time.Duration) float64 {
	return 100 * min(max(float64(t)/float64(d.strip.end()), 0), 1)
}

func (d *drawing) line(class string, from time.Duration, top float64, to time.Duration, bottom float64) {
	fmt.Fprintf(d, `<line class="%s" x1="%.2f%%" y1="%g" x2="%.2f%%" y2="%g"/>`+"\n", class, d.x(from), top, d.x(to), bottom)
}

func (d *drawing) rect(class string, span timeline.Span, top, height float64) {
	from, to := d.x(span.Start), d.x(span.End)
	fmt.Fprintf(d, `<rect class="%s" x="%.2f%%" y="%g" width="%.2f%%" height="%g"/>`+"\n", class, from, top, to-from, height)
}

func (d *drawing) windows() {
	for _, window := range d.strip.events.Windows {
		d.rect("window", window, barTop-overhang, barHeight+2*overhang)
		if d.contains(window.End) {
			d.line("edge", window.End, barTop-overhang, window.End, barEnd+overhang)
		}
	}
}

// waits draws waits as lines that lead from the mark of the first call down to the run. A
// ring shows when a pending run is due. It is not known since when that one waits.
func (d *drawing) waits() {
	now := d.strip.past
	for _, wait := range d.strip.events.Waits {
		if wait.End > now {
			d.line("wait pending", wait.Start, level, wait.End, level)
			if d.contains(wait.End) {
				fmt.Fprintf(d, `<circle class="due" cx="%.2f%%" cy="%d" r="4"/>`+"\n", d.x(wait.End), level)
			}
			continue
		}
		if d.contains(wait.Start) {
			d.line("call", wait.Start, stemTop, wait.Start, level+1)
		}
		d.line("wait", wait.Start, level, wait.End, level)
		d.line("wait", wait.End, level, wait.End, barTop)
	}
}

// runs draws the runs that failed, or the others.
func (d *drawing) runs(failed bool) {
	for _, run := range d.strip.events.Runs {
		if run.Failed != failed {
			continue
		}
		class := "run"
		if run.Failed {
			class += " failed"
		}
		if run.Active {
			class += " active"
		}
		fmt.Fprintf(d, `<g class="%s"><title>%s</title>`+"\n", class, template.HTMLEscapeString(run.Label))
		if run.Failed && d.x(run.End)-d.x(run.Start) < leastHatch {
			const cross = "M-6 -6L6 6M-6 6L6 -6"
			fmt.Fprintf(d, `<svg x="%.2f%%" y="%d" width="1" height="1"><path class="halo" d="%s"/><path class="cross" d="%[3]s"/></svg>`+"\n",
				d.x(run.Start), barTop+barHeight/2, cross)
		} else {
			d.rect("bar", run.Span, barTop, barHeight)
			d.line("start", run.Start, barTop, run.Start, barEnd) // so that a short run is visible
		}
		if run.Active {
			d.line("open", run.End, barTop-overhang, run.End, barEnd+overhang)
		}
		d.WriteString("</g>\n")
	}
}

// axis draws the time axis. On a narrow screen, the style sheet hides every other label.
func (d *drawing) axis() {
	s := d.strip
	d.line("axis", 0, axisTop, s.end(), axisTop)
	crowded := s.past/s.step > 5 || len(s.label(-s.past)) > len("-24h")
	for i := -int(s.past / s.step); ; i++ {
		fromNow := time.Duration(i) * s.step
		at := s.past + fromNow
		if !d.contains(at) {
			break
		}
		class, anchor := "time", "middle"
		if crowded && i%2 != 0 {
			class = "time odd"
		}
		if at == 0 {
			anchor = "start"
		} else if at == s.end() {
			anchor = "end"
		}
		d.line("axis", at, axisTop, at, axisTop+tickLength)
		fmt.Fprintf(d, `<text class="%s" x="%.2f%%" y="%d" text-anchor="%s">%s</text>`+"\n", class, d.x(at), labelLine, anchor, s.label(fromNow))
	}
}
