package timeline

import (
	"encoding/xml"
	"fmt"
	"strings"
)

func (s *sketch) text(class string, x, y float64, anchor, text string) {
	fmt.Fprintf(s, `<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, escape(text))
}

func (s *sketch) rect(class string, x, y, width, height float64) {
	fmt.Fprintf(s, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", class, x, y, width, height)
}

func (s *sketch) path(class, path string) {
	fmt.Fprintf(s, `<path class="%s" d="%s"/>`+"\n", class, path)
}

// line returns a line as part of a path.
func line(x1, y1, x2, y2 float64) string {
	return fmt.Sprintf("M%.1f %.1fL%.1f %.1f", x1, y1, x2, y2)
}

// cross returns a cross around x and y as part of a path.
func cross(x, y, half float64) string {
	return line(x-half, y-half, x+half, y+half) + line(x-half, y+half, x+half, y-half)
}

// hatched returns lines from the lower left to the upper right of a box, as part of a path.
// The box must be at least as wide as the distance of the lines.
func hatched(left, top, right, bottom float64) string {
	var path strings.Builder
	height := bottom - top
	// x is where a line would meet the bottom.
	for x := left - height + hatch; x < right; x += hatch {
		from, to := max(x, left), min(x+height, right)
		path.WriteString(line(from, bottom-(from-x), to, bottom-(to-x)))
	}
	return path.String()
}

// escape returns text for use in an element or an attribute.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // writes to a Builder do not fail
	return b.String()
}
