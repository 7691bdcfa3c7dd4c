package backoff_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/backoff"
)

func TestDelay(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	for _, test := range []struct {
		name           string
		initial, limit time.Duration
		jitter, random float64
		failures       int
		want           time.Duration
	}{
		{"first failure", time.Second, time.Minute, 0, 0, 1, time.Second},
		{"doubles", time.Second, time.Minute, 0, 0, 2, 2 * time.Second},
		{"doubles again", time.Second, time.Minute, 0, 0, 3, 4 * time.Second},
		{"last before the limit", time.Second, time.Minute, 0, 0, 6, 32 * time.Second},
		{"limit", time.Second, time.Minute, 0, 0, 7, time.Minute},
		{"stays at the limit", time.Second, time.Minute, 0, 0, math.MaxInt, time.Minute},
		{"limit that a doubling meets", time.Second, 4 * time.Second, 0, 0, 3, 4 * time.Second},
		{"no limit", time.Second, 0, 0, 0, 100, time.Second},
		{"limit below initial", time.Second, time.Millisecond, 0, 0, 100, time.Second},
		{"limit equal to initial", time.Second, time.Second, 0, 0, 100, time.Second},
		{"last before overflow", 1, longest, 0, 0, 63, 1 << 62},
		{"overflow", 1, longest, 0, 0, 64, longest},
		{"after overflow", 1, longest, 0, 0, math.MaxInt, longest},
		{"overflow in one step", longest - 1, longest, 0, 0, 2, longest},

		{"no jitter", time.Second, 0, 0, 0.9, 1, time.Second},
		{"jitter, least random", time.Second, 0, 0.5, 0, 1, time.Second},
		{"jitter, middle random", time.Second, 0, 0.5, 0.5, 1, 750 * time.Millisecond},
		{"whole delay at random", time.Second, 0, 1, 0.75, 1, 250 * time.Millisecond},
		{"jitter of a doubled delay", time.Second, time.Minute, 0.5, 0.5, 3, 3 * time.Second},
		{"jitter of the limit", time.Second, time.Minute, 0.5, 0.5, 100, 45 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, backoff.Delay(test.initial, test.limit, test.jitter, test.failures, test.random))
		})
	}
}

// Jitter takes away less than its share, however close random comes to 1.
func TestDelay_JitterBounds(t *testing.T) {
	almost := math.Nextafter(1, 0)
	for _, jitter := range []float64{0.25, 0.5, 1} {
		got := backoff.Delay(time.Second, 0, jitter, 1, almost)
		least := time.Duration((1 - jitter) * float64(time.Second))
		require.GreaterOrEqual(t, got, least, "jitter %v", jitter)
		require.LessOrEqual(t, got, least+1, "jitter %v", jitter)
	}
}
