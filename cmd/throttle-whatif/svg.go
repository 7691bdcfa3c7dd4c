package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/throttle-go/throttle/internal/timeline"
)

const (
	mostStrips   = 3
	svgMargin    = 16
	svgLine      = 22
	lettersALine = (timeline.PictureWidth - 2*svgMargin) / timeline.Letter
)

// writeSVG writes a picture of the best results to the file with that name.
func (s scenario) writeSVG(name string, results []result) error {
	drawing, err := s.draw(best(results, mostStrips))
	if err != nil {
		return err
	}
	return os.WriteFile(name, []byte(drawing), 0o644) //nolint:gosec // the user names it, and a picture is not secret
}

// draw returns a picture with a strip for each of the results, all on the same time axis.
func (s scenario) draw(results []result) (string, error) {
	a := axis{s.calls[len(s.calls)-1]}
	for _, r := range results {
		a.end = max(a.end, r.settled)
	}
	a.end = later(a.end, a.end/50+1) // a little room on the right
	var b strings.Builder
	y := svgMargin / 2
	for _, r := range results {
		for _, text := range append(wrapped(r.policy.String()), s.summary(r)) {
			y += svgLine
			fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", svgMargin, y, escaped(text))
		}
		y += svgMargin / 2
		inner := timeline.SVG(a.events(s.record(r)), r.policy.String(), s.describe(r))
		height, err := heightOf(inner)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, `<g transform="translate(0 %d)">`+"\n%s</g>\n", y, inner)
		y += height + svgMargin
	}
	title := "What the best policies make of " + count(len(s.calls), "call")
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" class="timeline" role="group" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d">
<title>%[3]s</title>
<desc>%[4]s</desc>
<rect class="paper" width="%[1]d" height="%[2]d" rx="6"/>
%[5]s</svg>
`, timeline.PictureWidth, y, title, escaped(description(results)), b.String()), nil
}

// description names the policies from top to bottom.
func description(results []result) string {
	var words []string
	for i, r := range results {
		words = append(words, fmt.Sprintf("%d: %v.", i+1, r.policy))
	}
	return "A strip for each policy, on the same time axis. " + strings.Join(words, " ")
}

// heightOf returns the height of a drawing of package timeline.
func heightOf(drawing string) (int, error) {
	_, rest, _ := strings.Cut(drawing, ` height="`)
	number, _, _ := strings.Cut(rest, `"`)
	return strconv.Atoi(number)
}

// wrapped breaks text into lines that fit in the picture.
func wrapped(text string) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= lettersALine:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// escaped returns text for use in an element.
func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // writes to a Builder do not fail
	return b.String()
}
