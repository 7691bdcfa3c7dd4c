package measure

import (
	"math"
	"strconv"
)

// A Unit is the unit of a figure.
type Unit string

// The units.
const (
	Nanosecond Unit = "ns"
	Byte       Unit = "B"
	Count      Unit = ""
)

// Format returns value with about three digits, in a unit of a handy size.
func (u Unit) Format(value float64) string {
	switch {
	case u == Count:
		return strconv.FormatFloat(math.Round(value*100)/100, 'f', -1, 64)
	case u == Byte:
		return digits(math.Round(value), 0) + " B"
	case value >= 1e9:
		return digits(value/1e9, 3) + " s"
	case value >= 1e6:
		return digits(value/1e6, 3) + " ms"
	case value >= 1e3:
		return digits(value/1e3, 3) + " µs"
	default:
		return digits(value, 3) + " ns"
	}
}

// FormatRatio returns ratio with two or three significant digits.
func FormatRatio(ratio float64) string {
	switch {
	case ratio == 0:
		return "0"
	case ratio < 0.001:
		return "<0.001"
	case ratio < 0.1:
		return digits(ratio, 4)
	default:
		return digits(ratio, 3)
	}
}

// digits returns value with at most the given number of digits, at least one of them
// before the point.
func digits(value float64, most int) string {
	before := 1
	for limit := 10.0; value >= limit && before < most; limit *= 10 {
		before++
	}
	return strconv.FormatFloat(value, 'f', max(0, most-before), 64)
}
