package explore_test

// This file holds how the command that searches is built, with or without a fault in
// what it explores, and run. It is a process of its own, as the race detector has
// nothing to find in a search and would make it ten times as long.

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/internal/explore"
)

// build builds the command, with the files of the module above replaced that overlay
// has the text of, and returns its path.
func build(t *testing.T, overlay map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for file, text := range overlay {
		with := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		require.NoError(t, os.WriteFile(with, []byte(text), 0o600))
		original, err := filepath.Abs(filepath.Join("..", "..", "..", file))
		require.NoError(t, err)
		replace[original] = with
	}
	listed, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	list := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(list, listed, 0o600))
	program := filepath.Join(dir, "explore.exe")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-race=false", "-overlay", list, "-o", program, "./cmd").CombinedOutput()
	require.NoError(t, err, "%s", output)
	return program
}

// search runs program, as built.
func search(t *testing.T, program string, c explore.Configuration) (found explore.Result) {
	t.Helper()
	asked, err := json.Marshal(c)
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), program)
	command.Stdin, command.Stderr = bytes.NewReader(asked), os.Stderr
	answer, err := command.Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(answer, &found))
	return found
}
