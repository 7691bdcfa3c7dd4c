package main

import (
	"fmt"
	"html"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// This file draws a report: a bar for each ratio, on a logarithmic scale, from 1
// to the ratio, and a line for its quartiles. The colours follow the reader's
// choice of a light or a dark screen.

// Measures of the drawing, in pixels.
const (
	margin     = 24
	letter     = 7 // width of a letter of a label, at most and on average
	lineHeight = 18
	barHeight  = 10
	axisWidth  = 560
	valueWidth = 140 // right of the axis
)

const style = `<style>
text { font: 12px ui-sans-serif, "DejaVu Sans", Verdana, sans-serif; fill: #1f2328 }
.title { font-size: 18px; font-weight: bold }
.section { font-size: 13px; font-weight: bold }
.paper { fill: #ffffff }
.grid { stroke: #d1d9e0 }
.even { stroke: #59636e; stroke-width: 1.5 }
.less { fill: #1a7f64 }
.more { fill: #bc6c25 }
.quartiles { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.paper { fill: #0d1117 }
.grid { stroke: #30363d }
.even { stroke: #9198a1 }
.less { fill: #3fb68b }
.more { fill: #e0954f }
.quartiles { stroke: #e6edf3 }
}
</style>
`

// A drawing is an SVG in the making.
type drawing struct {
	strings.Builder
	left   int // where the axis begins
	y      int // where the next line begins
	lowest int // power of ten at the axis's begin
	powers int // of ten, from its begin to its end
}

// plot returns r as an SVG.
func plot(r report) string {
	d := &drawing{left: margin + letter*longestLabel(r) + margin/2, y: margin}
	d.lowest, d.powers = powersOf(r)
	d.line("title", "throttle beside its peers: ours/peer")
	d.y += lineHeight / 2
	d.line("", r.Machine.String())
	d.line("", "A bar left of 1: ours takes less. A line: the quartiles of the turns. Scale: logarithmic.")
	for _, s := range r.Sections {
		d.section(s)
	}
	width, height := d.left+axisWidth+valueWidth+margin, d.y+margin
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d">
%[3]s<rect class="paper" width="%[1]d" height="%[2]d"/>
%[4]s</svg>
`, width, height, style, d.String())
}

// label returns what stands left of r's bar.
func label(r result) string { return r.what() + " · " + r.Peer }

func longestLabel(r report) int {
	longest := 0
	for _, s := range r.Sections {
		for _, result := range s.Results {
			longest = max(longest, utf8.RuneCountInString(label(result)))
		}
	}
	return longest
}

// powersOf returns the powers of ten that the axis needs, 1 among them.
func powersOf(r report) (lowest, powers int) {
	low, high := -1.0, 1.0
	for _, s := range r.Sections {
		for _, result := range s.Results {
			if result.Ratio != nil && result.Ratio.P25 > 0 {
				low = min(low, math.Log10(result.Ratio.P25))
				high = max(high, math.Log10(result.Ratio.P75))
			}
		}
	}
	lowest = int(math.Floor(low))
	return lowest, int(math.Ceil(high)) - lowest
}

// line writes a line of text and goes on to the next.
func (d *drawing) line(class, text string) {
	d.text(class, margin, d.y+lineHeight*3/4, "start", text)
	d.y += lineHeight
}

// text writes text of which y is the base.
func (d *drawing) text(class string, x, y int, anchor, text string) {
	fmt.Fprintf(d, `<text class="%s" x="%d" y="%d" text-anchor="%s">%s</text>`+"\n",
		class, x, y, anchor, html.EscapeString(text))
}

// section draws the bars of s, if it has any.
func (d *drawing) section(s section) {
	var drawn []result
	for _, r := range s.Results {
		if r.Ratio != nil {
			drawn = append(drawn, r)
		}
	}
	if len(drawn) == 0 {
		return
	}
	d.y += lineHeight
	d.line("section", s.Title)
	d.grid(len(drawn))
	for _, r := range drawn {
		d.bar(r)
	}
}

// grid draws the powers of ten behind so many bars.
func (d *drawing) grid(bars int) {
	top := d.y + lineHeight
	for power := range d.powers + 1 {
		ratio := math.Pow10(d.lowest + power)
		class := "grid"
		if d.lowest+power == 0 {
			class = "even"
		}
		x := d.at(ratio)
		d.text("", int(x), d.y+lineHeight*3/4, "middle", fmt.Sprintf("%g", ratio))
		fmt.Fprintf(d, `<line class="%s" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", class, x, x, top, top+bars*lineHeight)
	}
	d.y = top
}

// bar draws r, with what it is to the left and its figure to the right.
func (d *drawing) bar(r result) {
	base, middle := d.y+lineHeight*3/4, float64(d.y)+lineHeight/2.0
	from, to, class := d.at(r.Ratio.P50), d.at(1), "less"
	if r.Ratio.P50 > 1 {
		from, to, class = to, from, "more"
	}
	d.text("", d.left-margin/2, base, "end", label(r))
	fmt.Fprintf(d, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%d"/>`+"\n",
		class, from, middle-barHeight/2.0, to-from, barHeight)
	fmt.Fprintf(d, `<line class="quartiles" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`+"\n",
		d.at(r.Ratio.P25), d.at(r.Ratio.P75), middle, middle)
	d.text("", d.left+axisWidth+margin/2, base, "start", fmt.Sprintf("%s (%s–%s)",
		measure.FormatRatio(r.Ratio.P50), measure.FormatRatio(r.Ratio.P25), measure.FormatRatio(r.Ratio.P75)))
	d.y += lineHeight
}

// at returns where ratio is on the axis; its begin stands for all that is below.
func (d *drawing) at(ratio float64) float64 {
	begin := float64(d.left)
	if ratio <= 0 {
		return begin
	}
	return max(begin, begin+axisWidth*(math.Log10(ratio)-float64(d.lowest))/float64(d.powers))
}
