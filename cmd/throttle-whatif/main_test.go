package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/flagstest"
)

func TestFlags(t *testing.T) {
	program := filepath.Join(flagstest.Build(t, "."), "throttle-whatif")
	flagstest.Check(t, program,
		"-field -1", "-took -1s", "-fail 1.1", "-fail NaN", "-json=perhaps", "-interval 1s,", "-burst 2", "-maxload NaN", "-edges none",
	)
	bad := filepath.Join(t.TempDir(), "access.log")
	require.NoError(t, os.WriteFile(bad, []byte("1732833111\nfoo\n"), 0o600))
	flagstest.CheckFailure(t, program, "-file", bad)
	flagstest.CheckFailure(t, program, "-file", bad+".old")
	flagstest.CheckFailure(t, program) // no calls: its standard input is empty
}
