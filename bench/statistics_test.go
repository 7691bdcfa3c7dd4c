package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestQuantile(t *testing.T) {
	values := []float64{4, 1, 3, 2, 5}
	for q, want := range map[float64]float64{0: 1, 0.25: 2, 0.5: 3, 0.75: 4, 0.9: 4.6, 1: 5} {
		assert.InDelta(t, want, quantile(values, q), 1e-9, "%v", q)
	}
	assert.Equal(t, []float64{4, 1, 3, 2, 5}, values, "turns stay in their order")
	assert.InDelta(t, 1.5, median([]float64{2, 1}), 1e-9)
	assert.InDelta(t, 7.0, quantile([]float64{7}, 0.9), 1e-9)
}

// A ratio is told turn by turn: what both sides of a turn met does not show.
func TestRatios(t *testing.T) {
	got := ratios([]float64{1, 20, 3}, []float64{2, 40, 6}, 0)
	assert.Equal(t, &spread{0.5, 0.5, 0.5}, got)
	assert.Equal(t, &spread{2, 2, 2}, ratios([]float64{1, 6}, []float64{0, 3}, 0), "nothing to divide by")
	assert.Equal(t, &spread{2, 2, 2}, ratios([]float64{1, 6}, []float64{1, 3}, 1), "noise to divide by")
	assert.Nil(t, ratios([]float64{1, 1}, []float64{0, 0}, 0))
}
