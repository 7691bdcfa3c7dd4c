package measure

import (
	"math"
	"slices"
)

// This file holds the statistics: medians and quartiles, which a few disturbed
// turns do not move.

// A Spread is the middle of many values.
type Spread struct{ P25, P50, P75 float64 }

// SpreadOf returns the spread of values, of which there is at least one.
func SpreadOf(values []float64) Spread {
	return Spread{P25: Quantile(values, 0.25), P50: Median(values), P75: Quantile(values, 0.75)}
}

// Median returns the middle of values, of which there is at least one.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile returns the q-quantile of values, of which there is at least one. Between
// two of them it interpolates.
func Quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(math.Floor(at))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// Ratios returns the spread of ours/theirs, turn by turn. It leaves out the turns
// in which the peer's is not above noise, and is nil if nothing remains.
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
