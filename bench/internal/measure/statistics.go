package measure

import (
	"math"
	"slices"
)

// A Spread is the median of many values, with their quartiles. A few disturbed turns
// do not move these.
type Spread struct{ P25, P50, P75 float64 }

// SpreadOf returns the spread of values, at least one.
func SpreadOf(values []float64) Spread {
	return Spread{P25: Quantile(values, 0.25), P50: Median(values), P75: Quantile(values, 0.75)}
}

// Median returns the median of values, at least one.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile returns the q-quantile of values, at least one. It interpolates between
// two of them.
func Quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(math.Floor(at))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// Ratios returns the spread of ours/theirs, turn by turn. It leaves out the turns in
// which theirs is not above noise, and returns nil if none remains.
func Ratios(ours, theirs []float64, noise float64) *Spread {
	var found []float64
	for i := range ours {
		if theirs[i] > noise {
			found = append(found, ours[i]/theirs[i])
		}
	}
	if len(found) == 0 {
		return nil
	}
	s := SpreadOf(found)
	return &s
}
