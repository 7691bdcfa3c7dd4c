package throttleotel_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/snippet"
)

// This file holds that what the project's README shows of this package compiles.

// packages are what the README may use without an import clause, by the name they go
// by.
var packages = map[string]string{
	"throttle":     "github.com/throttle-go/throttle",
	"throttleotel": "github.com/throttle-go/throttle/adapters/throttleotel", "time": "time",
}

func TestReadmeCompiles(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	shown, _ := snippet.Split(snippet.Blocks(string(readme)), "throttleotel")
	require.NotEmpty(t, shown)
	require.NoError(t, snippet.Check(shown, packages))
}
