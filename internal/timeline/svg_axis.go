package timeline

import (
	"math"
	"time"
)

// axis draws the time axis. In a picture, the lane name gives the unit of its labels.
func (s *sketch) axis(top float64) {
	step := s.tickStep()
	// The ticks of a strip count from now, wherever its axis starts.
	tick := time.Duration(0)
	if s.strip {
		if tick = s.now % step; tick < 0 {
			tick += step
		}
	}
	path := []byte(line(s.left, top, s.right, top))
	free := math.Inf(-1) // where the next label may start

	// A tick that overflows is negative, so it is not on the axis.
	for ; s.contains(tick); tick += step {
		x := s.at(tick)
		path = append(path, line(x, top, x, top+tickLength)...)
		text, _ := tickNumber(tick, step)
		if s.strip {
			text = sinceNow(tick-s.now, step)
		}
		width, anchor := textWidth(text), "middle"
		from := x - width/2
		switch {
		case s.strip && from < 0:
			from, anchor = x, "start"
		case x+width/2 > s.width:
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
		room := textWidth(tickLabel(s.end%step-s.end, step))
		if s.strip {
			room += room / 2 // its first label is not centred
		}
		return s.at(step)-s.left >= room
	})
}

// sinceNow returns the label of a tick at d after now.
func sinceNow(d, step time.Duration) string {
	switch {
	case d == 0:
		return "now"
	case d > 0:
		return "+" + tickLabel(d, step)
	default:
		return tickLabel(d, step)
	}
}
