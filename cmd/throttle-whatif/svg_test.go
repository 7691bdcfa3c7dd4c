package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/picture"
	"github.com/throttle-go/throttle/internal/timeline"
)

// drawn returns the picture that the command draws of calls.
func drawn(t *testing.T, calls string, args ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "best.svg")
	output(t, calls, append(args, "-svg", name)...)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

// An element is an element of a picture, with its text.
type element struct {
	xml.StartElement

	text string
}

func (e element) attribute(name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (e element) number(t *testing.T, name string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(e.attribute(name), 64)
	require.NoError(t, err)
	return x
}

// elements returns the elements of drawing, which must be well-formed, by their names.
func elements(t *testing.T, drawing string) map[string][]element {
	t.Helper()
	all := map[string][]element{}
	var open []*element
	for decoder := xml.NewDecoder(strings.NewReader(drawing)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			require.Empty(t, open)
			return all
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			open = append(open, &element{StartElement: token.Copy()})
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(token)
			}
		case xml.EndElement:
			last := len(open) - 1
			all[token.Name.Local] = append(all[token.Name.Local], *open[last])
			open = open[:last]
		}
	}
}

func texts(all []element) (texts []string) {
	for _, e := range all {
		texts = append(texts, e.text)
	}
	return texts
}

func TestSVG(t *testing.T) {
	drawing := drawn(t, "0\n0.03\n0.04\n1\n2\n2.1\n2.2\n2.3\n", "-interval", "0,500ms,1s")
	all := elements(t, drawing)
	assert.Equal(t, []string{
		"What the best policies make of 8 calls", "no limit", "at most once per 500ms", "at most once per 1s",
	}, texts(all["title"]))
	require.Len(t, all["desc"], 4)
	assert.Equal(t, "A strip for each policy, on the same time axis. 1: no limit. 2: at most once per 500ms. 3: at most once per 1s.",
		all["desc"][0].text)
	assert.Equal(t, "8 calls in 2.3s, of which 0 dropped, and 8 runs, of which 0 failed.", all["desc"][1].text)
	headings := texts(all["text"])
	for _, want := range []string{
		"no limit", "at most once per 500ms", "8 runs, p99 wait 0s, stale 2.4%, 0 dropped",
	} {
		assert.Contains(t, headings, want)
	}

	// There is room after the last run.
	for _, rect := range all["rect"] {
		if rect.attribute("class") == "bar" {
			assert.Less(t, rect.number(t, "x")+rect.number(t, "width"), timeline.AxisEnd-1.0)
		}
	}

	// The strips are below each other and fill the picture.
	outer, strips := all["svg"][3], all["svg"][:3]
	bottom := 0.0
	for i, strip := range strips {
		var top float64
		_, err := fmt.Sscanf(topsOf(all["g"])[i], "translate(0 %f)", &top)
		require.NoError(t, err)
		assert.Greater(t, top, bottom+2*svgLine, "room for two lines of text")
		bottom = top + strip.number(t, "height")
	}
	assert.InDelta(t, outer.number(t, "height"), bottom, 2*svgMargin)
	assert.Equal(t, outer.attribute("viewBox"), "0 0 640 "+outer.attribute("height"))
}

// topsOf returns the places of the strips, from top to bottom.
func topsOf(groups []element) (tops []string) {
	for _, g := range groups {
		if place := g.attribute("transform"); place != "" {
			tops = append(tops, place)
		}
	}
	return tops
}

func TestSVG_Few(t *testing.T) {
	all := elements(t, drawn(t, "0\n", "-interval", "1s,2s"))
	assert.Len(t, all["svg"], 2, "both policies do the same with one call")
	all = elements(t, drawn(t, "0\n0\n", "-took", "0", "-interval", "1s,2s"))
	assert.Len(t, all["svg"], 2)
}

// A long name is broken into lines that fit.
func TestSVG_LongPolicy(t *testing.T) {
	drawing := drawn(t, "0\n0.1\n", "-interval", "1s", "-quiet", "1s", "-maxwait", "5s", "-maxload", "0.125",
		"-retry", "1s", "-retrymax", "1m", "-maxcalls", "1000", "-edges", "both", "-burst", "3", "-maxinterval", "1h")
	words := elements(t, drawing)["title"][1].text
	require.Greater(t, len(words), 2*lettersALine)
	var lines []string
	for _, e := range elements(t, drawing)["text"] {
		if e.attribute("class") == "" {
			assert.LessOrEqual(t, utf8.RuneCountInString(e.text), lettersALine)
			lines = append(lines, e.text)
		}
	}
	assert.Contains(t, strings.Join(lines, " "), words)
}

// However many calls there are, the file stays small, and no label covers another.
func TestSVG_Large(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, fail := range map[string]float64{"good": 0, "some fail": 0.3} {
		for _, n := range []int{3, 300, 2000} {
			for _, perSecond := range []float64{0.02, 1, 50} {
				calls := callsAfter(poisson(random, n, perSecond))
				policies := policiesOf(t, "-interval", "0,300ms", "-edges", ",leading", "-retry", "1s")
				s := newScenario(calls, config{took: 10 * ms, fail: fail, policies: policies})
				drawing, err := s.draw(best(s.tryAll(policies), mostStrips))
				require.NoError(t, err)
				assert.Less(t, len(drawing), 300_000, "%s: %d calls, %v per second", name, n, perSecond)
				requireLabelsApart(t, drawing)
			}
		}
	}
}

// requireLabelsApart requires that the labels of runs are in one row, and do not overlap.
func requireLabelsApart(t *testing.T, drawing string) {
	t.Helper()
	rows := map[float64]bool{}
	for _, e := range elements(t, drawing)["text"] {
		if e.attribute("class") == "label" {
			rows[e.number(t, "y")] = true
		}
	}
	require.LessOrEqual(t, len(rows), 1, "timeline stacks labels that would overlap")
}

func TestScenario_Record(t *testing.T) {
	s := watch(time.Second, 10*ms, 0, 0, 5*ms, 10*ms, 15*ms, 300*ms)
	p := s.record(measured(s, throttle.Policy{Edges: throttle.Leading}))
	assert.Equal(t, []time.Duration{0, 10 * ms, 300 * ms}, p.calls)
	assert.Equal(t, []time.Duration{0, 5 * ms, 15 * ms}, p.dropped)
	require.Len(t, p.runs, 3)
	assert.Equal(t, 310*ms, p.runs[2].End)
}

// All strips have the same axis, and show the windows of all runs, also of those that they merge.
func TestAxis_Events(t *testing.T) {
	s := watch(532*ms, 0, 0, ms, 2*ms, 300*ms)
	a := axis{end: s.end}
	e := a.events(s.record(measured(s, throttle.Policy{Interval: 100 * ms, Burst: 3})))
	assert.Equal(t, s.end, e.End)
	assert.Len(t, e.Runs, 2)
	assert.Equal(t, []string{"", "1 call"}, []string{e.Runs[0].Label, e.Runs[1].Label}, "no label for three runs in one")
	assert.Equal(t, []timeline.Span{{Start: 2 * ms, End: 100 * ms}}, e.Windows, "the third run takes the last token")

	s = watch(532*ms, 0, 0, 50*ms, 90*ms, 500*ms)
	e = a.events(s.record(measured(s, throttle.Policy{})))
	var labels []string
	for _, run := range e.Runs {
		labels = append(labels, run.Label)
	}
	assert.Equal(t, []string{"", "", "1 call", ""}, labels, "a label needs room up to the next run, or to the edge")
}

func TestAxis(t *testing.T) {
	a := axis{end: 532 * ms} // a pixel is a millisecond
	t.Run("calls", func(t *testing.T) {
		assert.Equal(t, []time.Duration{0, 3 * ms, 500 * ms}, a.thinCalls([]time.Duration{0, 0, 2 * ms, 3 * ms, 5 * ms, 500 * ms}))
	})
	t.Run("runs", func(t *testing.T) {
		s := watch(532*ms, ms, 0, ms, 100*ms, 200*ms, 201*ms)
		runs, merged := a.thinRuns(s.record(measured(s, throttle.Policy{})).runs)
		require.Len(t, runs, 3)
		assert.Equal(t, []bool{true, false, true}, merged)
		assert.Equal(t, []time.Duration{0, 100 * ms, 200 * ms}, []time.Duration{runs[0].Start, runs[1].Start, runs[2].Start})
		assert.Equal(t, []time.Duration{2 * ms, 101 * ms, 202 * ms}, []time.Duration{runs[0].End, runs[1].End, runs[2].End})
	})
	t.Run("failed runs stay visible", func(t *testing.T) {
		runs, merged := a.thinRuns([]picture.Run{
			{Start: 0, End: ms}, {Start: ms, End: 2 * ms, Failed: true}, {Start: 2 * ms, End: 3 * ms}, {Start: 3 * ms, End: 4 * ms, Failed: true},
		})
		assert.Equal(t, []picture.Run{{Start: 0, End: 3 * ms}, {Start: ms, End: 4 * ms, Failed: true}}, runs)
		assert.Equal(t, []bool{true, true}, merged)
	})
	t.Run("windows", func(t *testing.T) {
		span := func(from, to int) timeline.Span {
			return timeline.Span{Start: time.Duration(from) * ms, End: time.Duration(to) * ms}
		}
		assert.Equal(t,
			[]timeline.Span{span(0, 9), span(20, 22), span(22, 40), span(50, 51)},
			a.thinWindows([]timeline.Span{span(0, 3), span(3, 6), span(8, 9), span(20, 22), span(22, 40), span(50, 51)}))
	})
	t.Run("a long trace", func(t *testing.T) {
		assert.InDelta(t, 532, axis{end: 1 << 62}.pixel(1<<62), 1e-6)
	})
}
