package throttleprom_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// TestGuide checks that the code which docs/GUIDE.md shows of this package compiles.
func TestGuide(t *testing.T) {
	require.NoError(t, snippet.CheckFile("../../docs/GUIDE.md", "throttleprom", map[string]string{
		"http":         "net/http",
		"prometheus":   "github.com/prometheus/client_golang/prometheus",
		"promhttp":     "github.com/prometheus/client_golang/prometheus/promhttp",
		"throttle":     "github.com/throttle-go/throttle",
		"throttleprom": "github.com/throttle-go/throttle/adapters/throttleprom",
		"time":         "time",
	}))
}
