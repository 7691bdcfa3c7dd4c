package timeline_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/timeline"
)

// An element is an element of an SVG.
type element struct {
	name       string
	attributes map[string]string
	group      string // class of the g element around it
	text       string
}

// elements returns the elements of drawing by class. The drawing must be well-formed.
func elements(t *testing.T, drawing string) map[string][]element {
	t.Helper()
	byClass := map[string][]element{}
	decoder := xml.NewDecoder(strings.NewReader(drawing))
	var open []element
	group := ""
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return byClass
		}
		require.NoError(t, err, drawing)
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, attributes: map[string]string{}, group: group}
			for _, attribute := range token.Attr {
				e.attributes[attribute.Name.Local] = attribute.Value
			}
			if e.name == "g" {
				group = e.attributes["class"]
			}
			open = append(open, e)
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(token)
			}
		case xml.EndElement:
			e := open[len(open)-1]
			open = open[:len(open)-1]
			if e.name == "g" {
				group = ""
			}
			class := e.attributes["class"]
			if class == "" {
				class = e.name
			}
			byClass[class] = append(byClass[class], e)
		}
	}
}

// number returns the value of an attribute of e.
func (e element) number(t *testing.T, name string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(e.attributes[name], 64)
	require.NoError(t, err, "%s of %v", name, e)
	return n
}

// points returns the end points of the lines of e, a path.
func (e element) points(t *testing.T) (points [][2]float64) {
	t.Helper()
	for _, point := range strings.FieldsFunc(e.attributes["d"], func(r rune) bool { return r == 'M' || r == 'L' }) {
		var x, y float64
		_, err := fmt.Sscanf(point, "%f %f", &x, &y)
		require.NoError(t, err, point)
		points = append(points, [2]float64{x, y})
	}
	return points
}

// extent returns the least extent of e, a text.
func (e element) extent(t *testing.T) (from, to float64) {
	t.Helper()
	const letter = 7.5
	length := letter * float64(utf8.RuneCountInString(e.text))
	from = e.number(t, "x")
	switch e.attributes["text-anchor"] {
	case "middle":
		from -= length / 2
	case "end":
		from -= length
	}
	return from, from + length
}

func texts(elements []element) (texts []string) {
	for _, e := range elements {
		texts = append(texts, e.text)
	}
	return texts
}

// everything returns events of every kind.
func everything() timeline.Events {
	return timeline.Events{
		Calls:    []time.Duration{0, 30 * ms, 60 * ms, 110 * ms},
		Dropped:  []time.Duration{250 * ms},
		Values:   []timeline.Mark{{At: 30 * ms, Label: "a"}},
		Waits:    []timeline.Wait{{Span: span(0, 0)}, {Span: span(30*ms, 100*ms)}, {Span: span(110*ms, 280*ms), Dropped: true}},
		Runs:     []timeline.Run{{Span: span(0, 20*ms), Label: "first"}, failed(100*ms, 150*ms), failed(200*ms, 201*ms)},
		Windows:  []timeline.Span{span(0, 100*ms), span(100*ms, 200*ms)},
		Marks:    []timeline.Mark{{At: 280 * ms, Label: "Cancel"}},
		Measures: []timeline.Measure{{Span: span(100*ms, 200*ms), Label: "Interval"}},
		End:      400 * ms,
	}
}

// The axis ranges from 84 to 616, so that 100 ms are 133.
func TestSVG(t *testing.T) {
	drawn := elements(t, timeline.SVG(everything(), "", ""))
	bars := drawn["bar"]
	require.Len(t, bars, 2)
	assert.InDelta(t, 84, bars[0].number(t, "x"), 0.1)
	assert.InDelta(t, 133*0.2, bars[0].number(t, "width"), 0.1)
	assert.Equal(t, "run", bars[0].group)
	assert.InDelta(t, 217, bars[1].number(t, "x"), 0.1)
	assert.Equal(t, "run failed", bars[1].group)
	require.Len(t, drawn["hatch"], 1, "a failed run differs by more than its colour")
	require.NotEmpty(t, drawn["hatch"][0].points(t))
	for _, point := range drawn["hatch"][0].points(t) {
		assert.GreaterOrEqual(t, point[0], bars[1].number(t, "x")-0.1)
		assert.LessOrEqual(t, point[0], bars[1].number(t, "x")+bars[1].number(t, "width")+0.1)
		assert.GreaterOrEqual(t, point[1], bars[1].number(t, "y")-0.1)
		assert.LessOrEqual(t, point[1], bars[1].number(t, "y")+bars[1].number(t, "height")+0.1)
	}
	require.Len(t, drawn["cross"], 1, "a run too narrow for a hatch is a cross")
	middle := bars[0].number(t, "y") + bars[0].number(t, "height")/2
	assert.Equal(t, [][2]float64{
		{352 - 6, middle - 6}, {352 + 6, middle + 6}, {352 - 6, middle + 6}, {352 + 6, middle - 6},
	}, drawn["cross"][0].points(t))

	require.Len(t, drawn["call"], 5)
	for i, at := range []float64{0, 0.3, 0.6, 1.1, 2.5} {
		assert.InDelta(t, 84+133*at, drawn["call"][i].points(t)[0][0], 0.1)
	}
	require.Len(t, drawn["dropped"], 2, "a call and a wait")
	require.Len(t, drawn["wait"], 3)
	covered := drawn["wait"][1].points(t)
	assert.InDelta(t, 84+133*0.3, covered[0][0], 0.1)
	assert.Equal(t, [2]float64{217, bars[1].number(t, "y")}, covered[len(covered)-1], "the wait leads to its run")
	dropped := drawn["wait"][2].points(t)
	assert.InDelta(t, covered[0][1], dropped[len(dropped)-1][1], 0.1, "the wait of dropped calls leads nowhere")

	require.Len(t, drawn["window"], 2)
	assert.InDelta(t, 217, drawn["window"][1].number(t, "x"), 0.1)
	assert.InDelta(t, 133, drawn["window"][1].number(t, "width"), 0.1)
	assert.InDelta(t, 84+133*2.8, drawn["mark"][0].points(t)[0][0], 0.1)
	assert.Equal(t, []string{"Cancel"}, texts(drawn["name"]))
	assert.InDelta(t, 84+133*2.8, drawn["name"][0].number(t, "x"), 0.1)
	assert.ElementsMatch(t, []string{"first", "a"}, texts(drawn["label"]))
	assert.Equal(t, []string{"Interval 100 ms"}, texts(drawn["length"]))
	assert.InDelta(t, (217+350)/2.0, drawn["length"][0].number(t, "x"), 0.1)
	assert.InDelta(t, 217, drawn["measure"][0].points(t)[0][0], 0.1)
	assert.InDelta(t, 350, drawn["measure"][0].points(t)[5][0], 0.1)
	assert.Equal(t, []string{"calls", "runs", "window", "ms"}, texts(drawn["lane"]))
	assert.Equal(t, []string{"0", "50", "100", "150", "200", "250", "300", "350", "400"}, texts(drawn["time"]))
}

// Without an End the axis ends at the last event of any kind.
func TestSVG_AxisEnd(t *testing.T) {
	const last = 100 * ms
	for name, e := range map[string]timeline.Events{
		"call":    {Calls: []time.Duration{0, last}},
		"dropped": {Dropped: []time.Duration{last, 0}},
		"wait":    {Waits: []timeline.Wait{{Span: span(0, last)}}},
		"run":     {Runs: []timeline.Run{run(0, last)}},
		"window":  {Windows: []timeline.Span{span(0, last)}},
		"value":   {Values: []timeline.Mark{{At: last}}},
		"mark":    {Marks: []timeline.Mark{{At: last}}},
		"measure": {Measures: []timeline.Measure{{Span: span(0, last)}}},
	} {
		labels := texts(elements(t, timeline.SVG(e, "", ""))["time"])
		assert.Equal(t, []string{"0", "20", "40", "60", "80", "100"}, labels, name)
	}
}

// The search for the last event must not write beyond the caller's slices.
func TestSVG_EventsUnchanged(t *testing.T) {
	windows := []timeline.Span{span(0, ms), span(2*ms, 3*ms)}
	timeline.SVG(timeline.Events{Windows: windows[:1], Runs: []timeline.Run{run(5*ms, 6*ms)}}, "", "")
	assert.Equal(t, []timeline.Span{span(0, ms), span(2*ms, 3*ms)}, windows)
}

func TestSVG_OffTheAxis(t *testing.T) {
	const left, right = 84, 616
	spans := []timeline.Span{
		span(-20*ms, -10*ms), span(-50*ms, 50*ms), span(80*ms, time.Hour), span(101*ms, 102*ms), span(60*ms, 40*ms),
	}
	e := timeline.Events{Calls: []time.Duration{-ms, 101 * ms}, Dropped: []time.Duration{-ms, 101 * ms}, End: 100 * ms}
	for _, at := range []time.Duration{-ms, 50 * ms, 101 * ms} {
		e.Marks = append(e.Marks, timeline.Mark{At: at, Label: "mark"})
		e.Values = append(e.Values, timeline.Mark{At: at, Label: "value"})
	}
	for _, s := range spans {
		e.Runs = append(e.Runs, timeline.Run{Span: s})
		e.Waits = append(e.Waits, timeline.Wait{Span: s})
		e.Windows = append(e.Windows, s)
	}
	drawn := elements(t, timeline.SVG(e, "", ""))
	assert.Empty(t, drawn["call"])
	assert.Empty(t, drawn["dropped"])
	assert.Len(t, drawn["mark"], 1)
	assert.Equal(t, []string{"mark"}, texts(drawn["name"]))
	assert.Equal(t, []string{"value"}, texts(drawn["label"]))
	assert.Len(t, drawn["wait"], 2)
	assert.Len(t, drawn["edge"], 1, "only one window ends on the axis")
	for _, class := range []string{"bar", "window"} {
		require.Len(t, drawn[class], 2)
		assert.InDelta(t, left, drawn[class][0].number(t, "x"), 0.1)
		assert.InDelta(t, (left+right)/2, drawn[class][0].number(t, "x")+drawn[class][0].number(t, "width"), 0.1)
		assert.InDelta(t, right, drawn[class][1].number(t, "x")+drawn[class][1].number(t, "width"), 0.1)
	}

	// A run that is too short to be seen is made wider, but not beyond the end.
	e = timeline.Events{Runs: []timeline.Run{run(100*ms, 100*ms)}, End: 100 * ms}
	bar := elements(t, timeline.SVG(e, "", ""))["bar"][0]
	assert.Greater(t, bar.number(t, "width"), 1.0)
	assert.InDelta(t, right, bar.number(t, "x")+bar.number(t, "width"), 0.1)
}

func TestSVG_Document(t *testing.T) {
	drawing := timeline.SVG(everything(), "A title", "A description")
	drawn := elements(t, drawing)
	assert.Equal(t, []string{"A title"}, texts(drawn["title"]))
	assert.Equal(t, []string{"A description"}, texts(drawn["desc"]))
	assert.Len(t, drawn["paper"], 1)
	assert.Contains(t, drawn["style"][0].text, "prefers-color-scheme: dark")
	assert.Equal(t, "img", drawn["timeline"][0].attributes["role"])
}

// A pixel of this axis is a millisecond.
const pixels = 532 * ms

func TestSVG_NarrowFailedRun(t *testing.T) {
	draw := func(width time.Duration) map[string][]element {
		return elements(t, timeline.SVG(timeline.Events{Runs: []timeline.Run{failed(0, width)}, End: pixels}, "", ""))
	}
	narrow, wide := draw(11*ms), draw(12*ms)
	assert.Len(t, narrow["cross"], 1)
	assert.Empty(t, narrow["hatch"])
	assert.Empty(t, wide["cross"])
	assert.Len(t, wide["hatch"], 1)
}

// Failed runs are drawn over others: a cross is wider than its run, so the bar of the next
// run could cover it.
func TestSVG_FailedRunsOnTop(t *testing.T) {
	e := timeline.Events{Runs: []timeline.Run{failed(100*ms, 101*ms), run(104*ms, 120*ms)}, End: pixels}
	drawing := timeline.SVG(e, "", "")
	assert.Less(t, strings.Index(drawing, `class="bar"`), strings.Index(drawing, `class="cross"`))
}

// The name of the windows is in the row of the runs' labels, even if there are none.
func TestSVG_WindowName(t *testing.T) {
	lanes := elements(t, timeline.SVG(timeline.Events{Windows: []timeline.Span{span(0, ms)}}, "", ""))["lane"]
	require.Equal(t, []string{"runs", "window", "ms"}, texts(lanes))
	assert.Greater(t, lanes[1].number(t, "y"), lanes[0].number(t, "y")+16, "a line of text is 16 high")

	lanes = elements(t, timeline.SVG(timeline.Events{Runs: []timeline.Run{run(0, ms)}}, "", ""))["lane"]
	assert.Equal(t, []string{"runs", "ms"}, texts(lanes))
}

// Text that others choose is never markup.
func TestSVG_EscapesText(t *testing.T) {
	const hostile = `"'><script>&</script>` + "\x00\xff"
	const shown = `"'><script>&</script>` + "\uFFFD\uFFFD"
	e := timeline.Events{
		Runs:     []timeline.Run{{Span: span(0, ms), Label: hostile}},
		Values:   []timeline.Mark{{Label: hostile}},
		Marks:    []timeline.Mark{{Label: hostile}},
		Measures: []timeline.Measure{{Label: hostile}},
	}
	drawn := elements(t, timeline.SVG(e, hostile, hostile))
	assert.Empty(t, drawn["script"])
	assert.Equal(t, []string{shown}, texts(drawn["title"]))
	assert.Equal(t, []string{shown}, texts(drawn["desc"]))
	assert.Equal(t, []string{shown, shown}, texts(drawn["label"]))
	assert.Equal(t, []string{shown}, texts(drawn["name"]))
	assert.Equal(t, []string{shown + " 0 ms"}, texts(drawn["length"]))
}

func TestSVG_LabelsDoNotOverlap(t *testing.T) {
	var e timeline.Events
	for i := range 12 {
		at := time.Duration(i) * 10 * ms
		e.Runs = append(e.Runs, timeline.Run{Span: span(at, at+ms), Label: "a label"})
		e.Measures = append(e.Measures, timeline.Measure{Span: span(at, at+10*ms), Label: "of"})
	}
	drawn := elements(t, timeline.SVG(e, "", ""))
	for _, class := range []string{"label", "length"} {
		require.Len(t, drawn[class], 12)
		for i, one := range drawn[class] {
			for _, other := range drawn[class][:i] {
				from, to := one.extent(t)
				otherFrom, otherTo := other.extent(t)
				sameRow := one.attributes["y"] == other.attributes["y"]
				assert.False(t, sameRow && from < otherTo && otherFrom < to, "%v overlaps %v", one, other)
			}
		}
	}
}

func TestSVG_TextsDoNotOverlap(t *testing.T) {
	const height = 16
	var all []element
	for _, elements := range elements(t, timeline.SVG(everything(), "", "")) {
		for _, e := range elements {
			if e.name == "text" {
				all = append(all, e)
			}
		}
	}
	for i, one := range all {
		for _, other := range all[:i] {
			from, to := one.extent(t)
			otherFrom, otherTo := other.extent(t)
			apart := math.Abs(one.number(t, "y") - other.number(t, "y"))
			assert.False(t, apart < height && from < otherTo && otherFrom < to, "%v overlaps %v", one, other)
		}
	}
}

func TestSVG_NoEmptyRows(t *testing.T) {
	height := func(e timeline.Events) float64 {
		e.End = 100 * ms
		return elements(t, timeline.SVG(e, "", ""))["timeline"][0].number(t, "height")
	}
	least := height(timeline.Events{})
	for name, e := range map[string]timeline.Events{
		"calls":    {Calls: []time.Duration{0}},
		"dropped":  {Dropped: []time.Duration{0}},
		"values":   {Values: []timeline.Mark{{Label: "a"}}},
		"waits":    {Waits: []timeline.Wait{{Span: span(0, ms)}}},
		"windows":  {Windows: []timeline.Span{span(0, ms)}},
		"labels":   {Runs: []timeline.Run{{Span: span(0, ms), Label: "a"}}},
		"marks":    {Marks: []timeline.Mark{{Label: "a"}}},
		"measures": {Measures: []timeline.Measure{{Span: span(0, ms)}}},
	} {
		assert.Greater(t, height(e), least, name)
	}
	assert.InDelta(t, least, height(timeline.Events{Runs: []timeline.Run{run(0, ms)}}), 0, "runs always have a row")
}

// A label of two letters is 18 pixels wide, plus a gap of 6.
func TestSVG_LabelsDoNotTouch(t *testing.T) {
	inOneRow := func(distance time.Duration) bool {
		e := timeline.Events{Runs: []timeline.Run{
			{Span: span(0, ms), Label: "ab"}, {Span: span(distance, distance+ms), Label: "ab"},
		}, End: pixels}
		labels := elements(t, timeline.SVG(e, "", ""))["label"]
		return labels[0].attributes["y"] == labels[1].attributes["y"]
	}
	assert.False(t, inOneRow(23*ms))
	assert.True(t, inOneRow(25*ms))
}

func TestSVG_LabelsOfUnorderedEvents(t *testing.T) {
	var e timeline.Events
	for i := range 4 {
		at := time.Duration(i) * 5 * ms
		e.Runs = append(e.Runs, timeline.Run{Span: span(at, at+ms), Label: fmt.Sprint("run ", i)})
		e.Measures = append(e.Measures, timeline.Measure{Span: span(at, at+5*ms), Label: fmt.Sprint("of ", i)})
	}
	e.End = 100 * ms
	inOrder := elements(t, timeline.SVG(e, "", ""))
	slices.Reverse(e.Runs)
	slices.Reverse(e.Measures)
	reversed := elements(t, timeline.SVG(e, "", ""))
	for _, class := range []string{"label", "measure", "length"} {
		assert.ElementsMatch(t, inOrder[class], reversed[class], class)
	}
}

// A label without room is cut off at its end, not at its start.
func TestSVG_LongLabel(t *testing.T) {
	e := timeline.Events{Runs: []timeline.Run{{Span: span(50*ms, 60*ms), Label: strings.Repeat("long ", 30)}}, End: 100 * ms}
	label := elements(t, timeline.SVG(e, "", ""))["label"][0]
	assert.InDelta(t, 8, label.number(t, "x"), 0.1, "half a margin")
}

// For any events, nothing leaves the drawing and the axis has a label.
func TestSVG_Bounds(t *testing.T) {
	for _, end := range []time.Duration{0, 1, 7, 999, ms, 250 * ms, 7 * time.Second, 999 * time.Hour, math.MaxInt64} {
		t.Run(end.String(), func(t *testing.T) {
			t.Parallel()
			wild := []time.Duration{math.MinInt64, -1, 0, end / 2, end, math.MaxInt64}
			e := timeline.Events{Calls: wild, Dropped: wild, End: end}
			for _, start := range wild {
				e.Marks = append(e.Marks, timeline.Mark{At: start, Label: "a mark"})
				e.Values = append(e.Values, timeline.Mark{At: start, Label: "v"})
				for _, end := range wild {
					s := span(start, end)
					e.Windows = append(e.Windows, s)
					e.Runs = append(e.Runs, timeline.Run{Span: s, Label: "a run", Failed: start < 0, Active: end > 0})
					e.Waits = append(e.Waits, timeline.Wait{Span: s, Dropped: start > 0})
					e.Measures = append(e.Measures, timeline.Measure{Span: s, Label: "a length"})
				}
			}
			fits(t, timeline.SVG(e, "", ""))
			e.Calls, e.Dropped = nil, nil
			fits(t, timeline.SVG(e, "", ""))
		})
	}
	fits(t, timeline.SVG(timeline.Events{}, "", ""))
}

// fits requires that nothing leaves drawing.
func fits(t *testing.T, drawing string) {
	t.Helper()
	drawn := elements(t, drawing)
	var width, height float64
	_, err := fmt.Sscanf(drawn["timeline"][0].attributes["viewBox"], "0 0 %f %f", &width, &height)
	require.NoError(t, err)
	within := func(e element, x, y float64) {
		inside := 0 <= x && x <= width && 0 <= y && y <= height // false for NaN
		if !inside {
			require.Failf(t, "outside of the drawing", "%.1f %.1f of %v is not in %v x %v", x, y, e, width, height)
		}
	}
	for _, all := range drawn {
		for _, e := range all {
			switch e.name {
			case "path":
				for _, point := range e.points(t) {
					within(e, point[0], point[1])
				}
			case "rect":
				if e.attributes["class"] != "paper" {
					within(e, e.number(t, "x"), e.number(t, "y"))
					within(e, e.number(t, "x")+e.number(t, "width"), e.number(t, "y")+e.number(t, "height"))
				}
			case "circle":
				within(e, e.number(t, "cx"), e.number(t, "cy"))
			case "text":
				from, to := e.extent(t)
				within(e, from, e.number(t, "y"))
				within(e, to, e.number(t, "y"))
			}
		}
	}
	require.NotEmpty(t, drawn["time"])
	if !strings.Contains(drawing, "aria-label") {
		require.Contains(t, texts(drawn["time"]), "0")
	}
	end := math.Inf(-1)
	for _, label := range drawn["time"] {
		from, to := label.extent(t)
		require.Greater(t, from, end, "labels of the axis overlap: %v", drawn["time"])
		end = to
	}
}
