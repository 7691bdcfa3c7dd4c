package main

import (
	"encoding/xml"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// An svg is what a plot is read into.
type svg struct {
	Width  float64 `xml:"width,attr"`
	Height float64 `xml:"height,attr"`
	Texts  []struct {
		X       float64 `xml:"x,attr"`
		Y       float64 `xml:"y,attr"`
		Anchor  string  `xml:"text-anchor,attr"`
		Content string  `xml:",chardata"`
	} `xml:"text"`
	Bars []struct {
		Class string  `xml:"class,attr"`
		X     float64 `xml:"x,attr"`
		Y     float64 `xml:"y,attr"`
		Width float64 `xml:"width,attr"`
	} `xml:"rect"`
}

func read(t *testing.T, drawing string) svg {
	t.Helper()
	var read svg
	require.NoError(t, xml.Unmarshal([]byte(drawing), &read))
	return read
}

// A bar goes from 1 to the ratio: to the left if ours takes less.
func TestPlotBars(t *testing.T) {
	r := sample()
	of := func(ratio float64) result {
		return result{Setting: "s", Peer: "p", Ratio: &measure.Spread{P25: ratio, P50: ratio, P75: ratio}}
	}
	r.Sections[0].Results = []result{of(0.01), of(0.1), of(1), of(10), of(0)}
	bars := read(t, plot(r)).Bars
	require.Len(t, bars, 6, "the paper and one of each ratio")
	bars = bars[1:]
	one := bars[2].X
	decade := bars[3].Width
	assert.Positive(t, decade)
	assert.InDelta(t, 0, bars[2].Width, 0.1)
	assert.InDelta(t, one, bars[3].X, 0.1)
	assert.InDelta(t, decade, bars[1].Width, 0.2)
	assert.InDelta(t, 2*decade, bars[0].Width, 0.2)
	assert.InDelta(t, 2*decade, bars[4].Width, 0.2, "nothing at all goes to the edge")
	for i, class := range []string{"less", "less", "less", "more", "less"} {
		assert.Equal(t, class, bars[i].Class)
	}
	for _, bar := range bars {
		if bar.Class == "less" {
			assert.InDelta(t, one, bar.X+bar.Width, 0.2)
		}
	}
}

// No text leaves the drawing, however long a label is.
func TestPlotClipsNothing(t *testing.T) {
	const width = 6.5 // of a letter, at least what it is on average
	r := sample()
	r.Sections[0].Results[0].Setting = strings.Repeat("long setting ", 6)
	drawing := read(t, plot(r))
	require.NotEmpty(t, drawing.Texts)
	for _, text := range drawing.Texts {
		length := width * float64(utf8.RuneCountInString(text.Content))
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
		assert.Less(t, text.Y, drawing.Height, text.Content)
	}
}

// What has no ratio is not drawn, and what looks like markup is text.
func TestPlotTexts(t *testing.T) {
	drawing := plot(sample())
	for _, shown := range []string{"A call &amp; more", "one core · load", "1.00 (0.98–12.5)", "idle, goroutines", "CPU, 4 cores"} {
		assert.Contains(t, drawing, shown)
	}
	assert.NotContains(t, drawing, "idle, memory")
	assert.NotContains(t, drawing, "What is kept")
	assert.Contains(t, drawing, "prefers-color-scheme: dark")
}
