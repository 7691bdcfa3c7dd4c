package measure_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// The sides swap their order after each turn.
func TestAlternate(t *testing.T) {
	var order string
	measure.Alternate(0, 3, func() { order += "o" }, func() { order += "p" })
	assert.Equal(t, "oppoop", order)
}

// Fill works even if the machine was busy during the first tries.
func TestFill(t *testing.T) {
	const turn = time.Millisecond
	steady := func(n int) time.Duration { return time.Duration(n) * time.Microsecond }
	assert.InDelta(t, 1000, measure.Fill(steady, turn), 1)
	tries := 0
	disturbed := func(n int) time.Duration {
		tries++
		if tries <= 2 {
			return time.Second
		}
		return steady(n)
	}
	assert.InDelta(t, 1000, measure.Fill(disturbed, turn), 1)
}
