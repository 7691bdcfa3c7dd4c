package throttleprom_test

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
	"http": "net/http", "prometheus": "github.com/prometheus/client_golang/prometheus",
	"promhttp":     "github.com/prometheus/client_golang/prometheus/promhttp",
	"throttle":     "github.com/throttle-go/throttle",
	"throttleprom": "github.com/throttle-go/throttle/adapters/throttleprom", "time": "time",
}

func TestReadmeCompiles(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	shown, _ := snippet.Split(snippet.Blocks(string(readme)), "throttleprom")
	require.NotEmpty(t, shown)
	require.NoError(t, snippet.Check(shown, packages))
}
