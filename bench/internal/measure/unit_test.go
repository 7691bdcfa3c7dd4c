package measure_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

func TestFormat(t *testing.T) {
	for _, of := range []struct {
		unit  measure.Unit
		value float64
		want  string
	}{
		{measure.Nanosecond, 0, "0.00 ns"},
		{measure.Nanosecond, 12.34, "12.3 ns"},
		{measure.Nanosecond, 999, "999 ns"},
		{measure.Nanosecond, 125_400, "125 µs"},
		{measure.Nanosecond, 1.5e6, "1.50 ms"},
		{measure.Nanosecond, 2e9, "2.00 s"},
		{measure.Byte, 2896.4, "2896 B"},
		{measure.Count, 2, "2"},
		{measure.Count, 0.996, "1"},
		{measure.Count, 0.25, "0.25"},
	} {
		assert.Equal(t, of.want, of.unit.Format(of.value))
	}
	for ratio, want := range map[float64]string{
		0: "0", 0.0004: "<0.001", 0.0567: "0.057", 0.567: "0.57", 1: "1.00", 45.67: "45.7", 1234: "1234",
	} {
		assert.Equal(t, want, measure.FormatRatio(ratio))
	}
}
