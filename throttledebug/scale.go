package throttledebug

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/throttle-go/throttle"
)

// A scale is the time axis of all strips on a page, so that you can compare them.
type scale struct {
	past time.Duration // how much of the past it shows
	step time.Duration // from tick to tick
}

// scales returns the scales that a page can have, the shortest first.
func scales() []scale {
	return []scale{
		{time.Second, 200 * time.Millisecond},
		{10 * time.Second, 2 * time.Second},
		{30 * time.Second, 6 * time.Second},
		{time.Minute, 10 * time.Second},
		{10 * time.Minute, 2 * time.Minute},
		{time.Hour, 10 * time.Minute},
		{6 * time.Hour, time.Hour},
		{24 * time.Hour, 4 * time.Hour},
	}
}

// scaleOf returns the scale that query asks for, or else the median of the scales that suit
// the throttles. It depends on their policies, but not on their runs, so that it does not
// change while you look at it.
func scaleOf(query url.Values, throttles []Throttle) scale {
	all := scales()
	asked := slices.IndexFunc(all, func(s scale) bool { return exactly(s.past) == query.Get(lastParameter) })
	if asked >= 0 {
		return all[asked]
	}
	fitting := []int{shortestFit} // without throttles
	if len(throttles) > 0 {
		fitting = fitting[:0]
	}
	for _, t := range throttles {
		fitting = append(fitting, fit(t.policy))
	}
	slices.Sort(fitting)
	return all[fitting[len(fitting)/2]]
}

// shortestFit is the index of the shortest scale that a page has unless the query asks for
// another one. A shorter one would move too fast.
const shortestFit = 1

// fit returns the index of the scale that suits the policy p.
func fit(p throttle.Policy) int {
	longest := max(p.Interval, p.Quiet, p.MaxInterval, p.Retry.Initial)
	all := scales()
	for i := shortestFit; i < len(all); i++ {
		if longest <= all[i].past/10 {
			return i
		}
	}
	return len(all) - 1
}

// future returns how much of the future the scale shows.
func (s scale) future() time.Duration { return s.past / 5 }

// end returns the length of the axis.
func (s scale) end() time.Duration { return s.past + s.future() }

// label returns the label of a tick at d after now.
func (s scale) label(d time.Duration) string {
	size, unit := time.Millisecond, "ms"
	switch {
	case s.step >= time.Hour:
		size, unit = time.Hour, "h"
	case s.step >= time.Minute:
		size, unit = time.Minute, "min"
	case s.step >= time.Second:
		size, unit = time.Second, "s"
	}
	text := strconv.FormatInt(int64(d/size), 10) + unit
	switch {
	case d == 0:
		return "now"
	case d > 0:
		return "+" + text
	default:
		return text
	}
}
