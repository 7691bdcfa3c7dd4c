package throttleotel_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// This file holds that what the project's README shows of this package compiles.

func TestReadmeCompiles(t *testing.T) {
	require.NoError(t, snippet.CheckFile("../../README.md", "throttleotel", map[string]string{
		"throttle":     "github.com/throttle-go/throttle",
		"throttleotel": "github.com/throttle-go/throttle/adapters/throttleotel",
		"time":         "time",
	}))
}
