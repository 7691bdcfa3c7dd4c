package main

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// A bar is a row of the table that the chart shows.
type bar struct {
	section, what, peer string // of the row
	task                string // the row's work, in the chart's words
	beside              string // the peer's name, in the chart's words
}

// charted returns the rows that the chart shows, from top to bottom.
func charted() []bar {
	return []bar{
		{"call", oneCore, deferredName, "call while a run is pending, one core", "kube-proxy's loop"},
		{"call", allCores, triggerName, "call while a run is pending, all cores", "Cilium's trigger"},
		{"debounce", allCores, debounceName, "call that postpones a run, all cores", "bep/debounce"},
		{"keys", "in turn, " + allCores, limiterMapName, "call for one of 1 000 keys, all cores", "a map of rate.Limiters"},
		{"idle", "each, memory", loopName, "memory of an idle instance", "kube-proxy's loop"},
		{"values", "Latest, " + oneCore, binName, "call with a value, one core", "a variable, a mutex, a ticker"},
	}
}

// result returns the row of r that b shows.
func (b bar) result(r report) (result, error) {
	for _, s := range r.Sections {
		for _, row := range s.Results {
			if s.Name == b.section && row.what() == b.what && row.Peer == b.peer && row.Ratio != nil {
				return row, nil
			}
		}
	}
	return result{}, fmt.Errorf("the chart needs the ratio of %s/%s/%s", b.section, b.what, b.peer)
}

// Measures of the drawing, in pixels.
const (
	margin     = 24
	lineHeight = 18
	rowHeight  = 46
	barHeight  = 16
	labelWidth = 290 // left of the axis
	axisWidth  = 380
	valueWidth = 190 // right of the axis
	axisLeft   = margin + labelWidth
	width      = axisLeft + axisWidth + valueWidth + margin
)

// The colors follow the reader's choice of a light or a dark screen.
const style = `<style>
text { font: 13px ui-sans-serif, "DejaVu Sans", Verdana, sans-serif; fill: #1f2328 }
.title { font-size: 18px; font-weight: bold }
.minor { font-size: 12px; fill: #59636e }
.ratio { font-weight: bold }
.paper { fill: #ffffff }
.grid { stroke: #d1d9e0 }
.even { stroke: #59636e; stroke-width: 1.5 }
.less { fill: #1a7f64 }
.more { fill: #bc6c25 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.minor { fill: #9198a1 }
.paper { fill: #0d1117 }
.grid { stroke: #30363d }
.even { stroke: #9198a1 }
.less { fill: #3fb68b }
.more { fill: #e0954f }
}
</style>
`

// A drawing is an SVG in the making.
type drawing struct {
	strings.Builder
	lowest int // power of ten at the left end of the axis
	powers int // powers of ten from its left to its right end
}

// plot draws the charted rows of r as an SVG: a bar from 1 to each ratio, on one
// logarithmic axis.
func plot(r report) (string, error) {
	bars := charted()
	rows := make([]result, len(bars))
	sentences := make([]string, len(bars))
	for i, b := range bars {
		var err error
		if rows[i], err = b.result(r); err != nil {
			return "", err
		}
		sentences[i] = fmt.Sprintf("%s: %s of %s.", b.task, measure.FormatRatio(rows[i].Ratio.P50), b.beside)
	}
	d := newDrawing(rows)
	y := margin + lineHeight*3/4
	d.text("title", margin, y, "start", "throttle beside its peers")
	d.text("minor", margin, y+lineHeight*3/2, "start",
		"Ratio ours/peer, logarithmic: left of 1 throttle takes less, right of 1 it takes more.")
	d.text("minor", margin, y+lineHeight*5/2, "start", r.Machine.String())
	y += lineHeight * 4
	d.grid(y, len(bars)*rowHeight)
	for i, b := range bars {
		d.bar(y+i*rowHeight, b, rows[i])
	}
	y += len(bars)*rowHeight + lineHeight*3/2
	d.text("minor", margin, y, "start", "The loop and the trigger are the techniques of kube-proxy and Cilium, written for this comparison.")
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" `+
		`role="img" aria-labelledby="title desc">
<title id="title">throttle beside its peers: six ratios ours/peer</title>
<desc id="desc">%[3]s</desc>
%[4]s<rect class="paper" width="%[1]d" height="%[2]d"/>
%[5]s</svg>
`, width, y+margin, html.EscapeString(strings.Join(sentences, " ")), style, d.String()), nil
}

// newDrawing returns an empty drawing whose axis has room for the ratios of rows, and
// for 1.
func newDrawing(rows []result) *drawing {
	low, high := -1.0, 1.0
	for _, row := range rows {
		if ratio := row.Ratio.P50; ratio > 0 {
			low, high = min(low, math.Log10(ratio)), max(high, math.Log10(ratio))
		}
	}
	lowest := int(math.Floor(low))
	return &drawing{lowest: lowest, powers: int(math.Ceil(high)) - lowest}
}

// text writes text with its base line at y.
func (d *drawing) text(class string, x, y int, anchor, text string) {
	fmt.Fprintf(d, `<text class="%s" x="%d" y="%d" text-anchor="%s">%s</text>`+"\n",
		class, x, y, anchor, html.EscapeString(text))
}

// grid draws the powers of ten as lines from y down.
func (d *drawing) grid(y, height int) {
	for power := range d.powers + 1 {
		class, ratio := "grid", math.Pow10(d.lowest+power)
		label := fmt.Sprintf("%g", ratio)
		if ratio == 1 {
			class, label = "even", "1 = the peer"
		}
		x := d.at(ratio)
		d.text("minor", int(x), y-lineHeight/3, "middle", label)
		fmt.Fprintf(d, `<line class="%s" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", class, x, x, y, y+height)
	}
}

// bar draws row below y: its task and peer, the bar, and the figures.
func (d *drawing) bar(y int, b bar, row result) {
	middle := y + rowHeight/2
	from, to, class := d.at(row.Ratio.P50), d.at(1), "less"
	if row.Ratio.P50 > 1 {
		from, to, class = to, from, "more"
	}
	d.text("", axisLeft-margin/2, middle-2, "end", b.task)
	d.text("minor", axisLeft-margin/2, middle+lineHeight-4, "end", "beside "+b.beside)
	fmt.Fprintf(d, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`+"\n",
		class, from, middle-barHeight/2, to-from, barHeight)
	right := axisLeft + axisWidth + margin/2
	d.text("ratio", right, middle+4, "start", measure.FormatRatio(row.Ratio.P50))
	d.text("minor", right+margin*2+6, middle+4, "start", row.Unit.Format(row.Ours)+" / "+row.Unit.Format(row.Theirs))
}

// at returns the place of ratio on the axis. The left end stands for everything that
// is smaller.
func (d *drawing) at(ratio float64) float64 {
	if ratio <= 0 {
		return axisLeft
	}
	return max(axisLeft, axisLeft+axisWidth*(math.Log10(ratio)-float64(d.lowest))/float64(d.powers))
}
