package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/flagstest"
)

func TestDemonstration(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-duration", "300ms"}, &out), out.String())
	for _, pattern := range []string{
		`^50 objects change for 300ms; quiet 100ms, at most 500ms\n`,
		`\ncontroller's own +\d+ +\d+ +[\d.]+.?s\n`,
		`\nheld +\d+ +\d+ +[\d.]+.?s\n$`,
	} {
		assert.Regexp(t, pattern, out.String())
	}
}

func TestFlags(t *testing.T) {
	flagstest.Check(t, filepath.Join(flagstest.Build(t, "."), "controller"), "-duration=-1s")
}

func TestRollout_check(t *testing.T) {
	r := rollout{longest: atMost + 1}
	require.Error(t, r.check(atMost))
	require.NoError(t, r.check(atMost+1))
}
