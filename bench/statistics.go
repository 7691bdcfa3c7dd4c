package main

import (
	"math"
	"slices"
)

// This file holds the statistics: medians and quartiles, which a few disturbed
// turns do not move.

// A spread is the middle of many values.
type spread struct{ P25, P50, P75 float64 }

func spreadOf(values []float64) spread {
	return spread{P25: quantile(values, 0.25), P50: median(values), P75: quantile(values, 0.75)}
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile returns the q-quantile of values, of which there is at least one. Between
// two of them it interpolates.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(math.Floor(at))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// ratios returns the spread of ours/theirs, turn by turn. It leaves out the turns
// in which the peer's is not above noise, and is nil if nothing remains.
func ratios(ours, theirs []float64, noise float64) *spread {
	var found []float64
	for i := range ours {
		if theirs[i] > noise {
			found = append(found, ours[i]/theirs[i])
		}
	}
	if len(found) == 0 {
		return nil
	}
	s := spreadOf(found)
	return &s
}
