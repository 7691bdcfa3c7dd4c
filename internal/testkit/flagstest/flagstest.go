// Package flagstest checks how a program refuses a wrong command line.
package flagstest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Build builds the programs in the given folders and returns the folder with the
// executables, each named like its source folder.
func Build(t *testing.T, folders ...string) (bin string) {
	t.Helper()
	bin = t.TempDir() + string(filepath.Separator)
	// Nobody debugs these, and without symbols they link faster.
	args := []string{"build", "-ldflags=-s -w", "-o", bin}
	if info, ok := debug.ReadBuildInfo(); ok {
		// Build like this test, whose packages are in the build cache already.
		if slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
			args = append(args, "-race")
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", append(args, folders...)...).CombinedOutput() //nolint:gosec // builds what a test names
	require.NoError(t, err, "%s", out)
	return bin
}

// CheckFailure checks that program fails with args, which are no mistake in the command
// line, with one line on standard error and exit status 1.
func CheckFailure(t *testing.T, program string, args ...string) {
	t.Helper()
	status, _, stderr := run(t, program, args...)
	assert.Equal(t, 1, status)
	assert.Regexp(t, `^[^\n]+\n$`, stderr)
}

// Check checks that program refuses each of the wrong command lines, flags that no
// program has, and stray arguments, and that it prints its usage when asked.
func Check(t *testing.T, program string, wrong ...string) {
	t.Helper()
	name := strings.TrimSuffix(filepath.Base(program), ".exe")
	for _, line := range append(wrong, "-x", "-x=1", "stray", "-- stray") {
		status, stdout, stderr := run(t, program, strings.Fields(line)...)
		assert.Equal(t, 2, status, "%s %s", name, line)
		assert.Empty(t, stdout, "%s %s", name, line)
		assert.Regexp(t, `^`+name+`: [^\n]+\n$`, stderr, "%s %s", name, line)
	}
	for _, help := range []string{"-h", "-help", "--help"} {
		status, stdout, stderr := run(t, program, help)
		assert.Zero(t, status, "%s %s", name, help)
		assert.Contains(t, stdout, "Usage of "+name+":", "%s %s", name, help)
		assert.Empty(t, stderr, "%s %s", name, help)
	}
}

func run(t *testing.T, program string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, failure bytes.Buffer
	command := exec.CommandContext(t.Context(), program, args...)  //nolint:gosec // what build has built
	command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // end at once
	command.Stdout, command.Stderr = &out, &failure
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return command.ProcessState.ExitCode(), out.String(), failure.String()
}
