package fleetredis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// TestGuide checks that the code which docs/GUIDE.md shows of this package compiles.
func TestGuide(t *testing.T) {
	require.NoError(t, snippet.CheckFile("../../docs/GUIDE.md", "fleetredis", map[string]string{
		"context":    "context",
		"fleet":      "github.com/throttle-go/throttle/fleet",
		"fleetredis": "github.com/throttle-go/throttle/adapters/fleetredis",
		"redis":      "github.com/redis/go-redis/v9",
		"throttle":   "github.com/throttle-go/throttle",
		"time":       "time",
	}))
}
