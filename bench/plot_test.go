package main

import (
	"encoding/xml"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// An svg is a plot, parsed.
type svg struct {
	Role  string  `xml:"role,attr"`
	Width float64 `xml:"width,attr"`
	Title string  `xml:"title"`
	Desc  string  `xml:"desc"`
	Texts []struct {
		X       float64 `xml:"x,attr"`
		Y       float64 `xml:"y,attr"`
		Anchor  string  `xml:"text-anchor,attr"`
		Content string  `xml:",chardata"`
	} `xml:"text"`
	Bars []struct {
		Class  string  `xml:"class,attr"`
		X      float64 `xml:"x,attr"`
		Width  float64 `xml:"width,attr"`
		Height float64 `xml:"height,attr"`
	} `xml:"rect"`
}

func read(t *testing.T, drawing string) svg {
	t.Helper()
	var read svg
	require.NoError(t, xml.Unmarshal([]byte(drawing), &read))
	return read
}

func drawn(t *testing.T, r report) svg {
	t.Helper()
	drawing, err := plot(r)
	require.NoError(t, err)
	return read(t, drawing)
}

// withRatios returns a report of the charted rows, with these ratios.
func withRatios(ratios ...float64) report {
	r := report{Machine: sample().Machine}
	for i, b := range charted() {
		r.Sections = append(r.Sections, sectionOf(b, result{
			Setting: b.what, Peer: b.peer, Unit: measure.Nanosecond,
			Ratio: &measure.Spread{P50: ratios[i]}, Ours: ratios[i], Theirs: 1,
		}))
	}
	return r
}

// A bar goes from 1 to the ratio: to the left if ours takes less.
func TestPlot_Bars(t *testing.T) {
	bars := drawn(t, withRatios(0.01, 0.1, 1, 10, 0, 100)).Bars
	require.Len(t, bars, 1+6, "the paper and the bars")
	bars = bars[1:]
	one, decade := bars[2].X, bars[3].Width
	assert.Positive(t, decade)
	assert.InDelta(t, 0, bars[2].Width, 0.1)
	assert.InDelta(t, one, bars[3].X, 0.1)
	assert.InDelta(t, decade, bars[1].Width, 0.2)
	assert.InDelta(t, 2*decade, bars[0].Width, 0.2)
	assert.InDelta(t, 2*decade, bars[4].Width, 0.2, "nothing at all goes to the edge")
	assert.InDelta(t, 2*decade, bars[5].Width, 0.2)
	for i, class := range []string{"less", "less", "less", "more", "less", "more"} {
		assert.Equal(t, class, bars[i].Class)
	}
	for _, bar := range bars {
		if bar.Class == "less" {
			assert.InDelta(t, one, bar.X+bar.Width, 0.2)
		}
	}
}

func TestPlot_ClipsNothing(t *testing.T) {
	const letter = 6.7 // a letter's width, on average
	drawing := drawn(t, withRatios(0.0001, 0.01, 0.1, 1, 100, 1000))
	require.NotEmpty(t, drawing.Texts)
	height := drawing.Bars[0].Height
	for _, text := range drawing.Texts {
		length := letter * float64(utf8.RuneCountInString(text.Content))
		from, to := text.X, text.X+length
		switch text.Anchor {
		case "end":
			from, to = text.X-length, text.X
		case "middle":
			from, to = text.X-length/2, text.X+length/2
		}
		assert.GreaterOrEqual(t, from, 0.0, text.Content)
		assert.LessOrEqual(t, to, drawing.Width, text.Content)
		assert.Positive(t, text.Y)
		assert.Less(t, text.Y, height, text.Content)
	}
}

func TestPlot_Texts(t *testing.T) {
	r := withRatios(0.12, 0.011, 0.2, 0.08, 0.13, 7.95)
	drawing, err := plot(r)
	require.NoError(t, err)
	assert.Contains(t, drawing, "prefers-color-scheme: dark")
	parsed := read(t, drawing)
	assert.Equal(t, "img", parsed.Role)
	assert.NotEmpty(t, parsed.Title)
	for _, b := range charted() {
		assert.Contains(t, parsed.Desc, b.task)
		assert.Contains(t, texts(parsed), "beside "+b.beside)
	}
	assert.Contains(t, texts(parsed), "0.011")
	assert.Contains(t, texts(parsed), "7.95 ns / 1.00 ns")

	r.Sections[3].Results[0].Ratio = nil
	_, err = plot(r)
	assert.EqualError(t, err, "the chart needs the ratio of keys/in turn, all cores/Limiter map")
}

func texts(s svg) []string {
	all := make([]string, len(s.Texts))
	for i, text := range s.Texts {
		all[i] = text.Content
	}
	return all
}

// The chart in the documentation shows the figures of the table beside it.
func TestPlot_Docs(t *testing.T) {
	evidence, err := os.ReadFile("../docs/EVIDENCE.md")
	require.NoError(t, err)
	chart, err := os.ReadFile("../docs/bench.svg")
	require.NoError(t, err)
	want, got := texts(drawn(t, published(t, string(evidence)))), texts(read(t, string(chart)))
	const machine = 2 // the index of the line that names it, which the table does not have
	want[machine] = got[machine]
	assert.Equal(t, want, got)
}

// published returns a report of the charted rows in the table of text.
func published(t *testing.T, text string) report {
	t.Helper()
	r := report{Machine: sample().Machine}
	for _, b := range charted() {
		_, section, found := strings.Cut(text, "-run '^"+b.section+"/'")
		require.True(t, found, b.section)
		row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(b.what) + ` +\| ` + regexp.QuoteMeta(b.peer) +
			` +\| +([\d.]+) \| +\S+ \| +([\d.]+) (ns|B) \| +([\d.]+) (?:ns|B) \|`).FindStringSubmatch(section)
		require.NotNil(t, row, b)
		number := func(text string) float64 {
			n, err := strconv.ParseFloat(text, 64)
			require.NoError(t, err)
			return n
		}
		r.Sections = append(r.Sections, sectionOf(b, result{
			Setting: b.what, Peer: b.peer, Unit: measure.Unit(row[3]),
			Ratio: &measure.Spread{P50: number(row[1])}, Ours: number(row[2]), Theirs: number(row[4]),
		}))
	}
	return r
}

func sectionOf(b bar, row result) section { return section{Name: b.section, Results: []result{row}} }
