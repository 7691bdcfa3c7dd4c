package measure_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

func TestQuantile(t *testing.T) {
	values := []float64{4, 1, 3, 2, 5}
	for q, want := range map[float64]float64{0: 1, 0.25: 2, 0.5: 3, 0.75: 4, 0.9: 4.6, 1: 5} {
		assert.InDelta(t, want, measure.Quantile(values, q), 1e-9, "%v", q)
	}
	assert.Equal(t, []float64{4, 1, 3, 2, 5}, values, "the values keep their order")
	assert.InDelta(t, 1.5, measure.Median([]float64{2, 1}), 1e-9)
	assert.InDelta(t, 7.0, measure.Quantile([]float64{7}, 0.9), 1e-9)
}

// Ratios are taken turn by turn, so a disturbance of both sides of a turn does not show.
func TestRatios(t *testing.T) {
	got := measure.Ratios([]float64{1, 20, 3}, []float64{2, 40, 6}, 0)
	assert.Equal(t, &measure.Spread{P25: 0.5, P50: 0.5, P75: 0.5}, got)
	assert.Equal(t, &measure.Spread{P25: 2, P50: 2, P75: 2}, measure.Ratios([]float64{1, 6}, []float64{0, 3}, 0), "nothing to divide by")
	assert.Equal(t, &measure.Spread{P25: 2, P50: 2, P75: 2}, measure.Ratios([]float64{1, 6}, []float64{1, 3}, 1), "noise to divide by")
	assert.Nil(t, measure.Ratios([]float64{1, 1}, []float64{0, 0}, 0))
}
