package throttleotel_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// TestGuide checks that the code which docs/GUIDE.md shows of this package compiles.
func TestGuide(t *testing.T) {
	require.NoError(t, snippet.CheckFile("../../docs/GUIDE.md", "throttleotel", map[string]string{
		"throttle":     "github.com/throttle-go/throttle",
		"throttleotel": "github.com/throttle-go/throttle/adapters/throttleotel",
		"time":         "time",
	}))
}
