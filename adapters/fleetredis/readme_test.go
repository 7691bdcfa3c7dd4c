package fleetredis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// This file holds that what the project's README shows of this package compiles.

func TestReadmeCompiles(t *testing.T) {
	require.NoError(t, snippet.CheckFile("../../README.md", "fleetredis", map[string]string{
		"context":    "context",
		"fleet":      "github.com/throttle-go/throttle/fleet",
		"fleetredis": "github.com/throttle-go/throttle/adapters/fleetredis",
		"redis":      "github.com/redis/go-redis/v9",
		"throttle":   "github.com/throttle-go/throttle",
		"time":       "time",
	}))
}
