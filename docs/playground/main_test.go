package main_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/flagstest"
)

// A build for WebAssembly takes long, so the tests in verify/browser do that.
func TestFlags(t *testing.T) {
	bin := flagstest.Build(t, ".")
	program := filepath.Join(bin, "playground")
	flagstest.Check(t, program, "-addr nowhere", "-addr 127.0.0.1:99999", "-o")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	flagstest.CheckFailure(t, program, "-o", filepath.Join(file, "below"))
}
