package timeline

import (
	"math"
	"time"
)

// axis draws the time axis. The lane name gives the unit of its labels.
func (s *sketch) axis(top float64) {
	step := s.tickStep()
	path := []byte(line(s.left, top, s.right, top))
	free := math.Inf(-1) // where the next label may start

	// A tick that overflows is negative, so it is not on the axis.
	for tick := time.Duration(0); s.contains(tick); tick += step {
		x := s.at(tick)
		path = append(path, line(x, top, x, top+tickLength)...)
		text, _ := tickNumber(tick, step)
		width, anchor := textWidth(text), "middle"
		from := x - width/2
		if x+width/2 > s.width {
			from, anchor = x-width, "end"
		}
		if from >= free {
			s.text("time", x, top+tickLength+lineHeight-gap/2, anchor, text)
			free = from + width
		}
	}
	s.path("axis", string(path))
}

func (s *sketch) tickStep() time.Duration {
	return tickStep(s.end, func(step time.Duration) bool {
		return s.at(step)-s.left >= textWidth(tickLabel(s.end%step-s.end, step))
	})
}
