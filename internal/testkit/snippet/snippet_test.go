package snippet_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

var packages = map[string]string{"bytes": "bytes", "time": "time"}

func TestBlocks(t *testing.T) {
	const markdown = "```go\nfirst\n```\n```go\nsecond\n\nline\n```\ntext `go`\n```\nnot Go\n```\n    go test\n\n```go\nthird\n```\n"
	assert.Equal(t, []string{"first\n", "second\n\nline\n", "third\n"}, snippet.Blocks(markdown))
	assert.Empty(t, snippet.Blocks("no block"))
}

func TestSplit(t *testing.T) {
	using, rest := snippet.Split([]string{"time.Now()\n", "now()\n", "bytes.Clone(time)\n"}, "time")
	assert.Equal(t, []string{"time.Now()\n"}, using)
	assert.Equal(t, []string{"now()\n", "bytes.Clone(time)\n"}, rest)
}

func TestComplete(t *testing.T) {
	tests := map[string]struct{ block, want string }{
		"a file":        {"package main\n", "package main\n"},
		"declarations":  {"func f() {}\n", "package snippet\nfunc f() {}\n"},
		"an expression": {"1 + 2\n", "package snippet\nvar _ = 1 + 2\n"},
		"an expression that uses packages": {
			"time.After(bytes.MinRead)\n",
			"package snippet\nimport bytes \"bytes\"\nimport time \"time\"\nvar _ = time.After(bytes.MinRead)\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := snippet.Complete(test.block, packages)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	t.Run("a statement", func(t *testing.T) {
		_, err := snippet.Complete("if true {}\n", packages)
		assert.Error(t, err)
	})
}

func TestCheck(t *testing.T) {
	require.NoError(t, snippet.Check([]string{"time.Second\n", "func f(d time.Duration) {}\n"}, packages))

	err := snippet.Check([]string{"time.Second\n", "time.Sekunde\n", "wrong code\n", "var x int = \"\"\n"}, packages)
	require.Error(t, err)
	for _, wrong := range []string{"time.Sekunde", "wrong code", "var x int"} {
		require.ErrorContains(t, err, "in:\n"+wrong)
	}
	assert.NotContains(t, err.Error(), "in:\ntime.Second\n")
}

func TestCheckFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shown.md")
	require.ErrorIs(t, snippet.CheckFile(file, "time", packages), fs.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte("```go\ntime.Second\n```\n```go\nbytes.Sekunde\n```\n"), 0o600))
	require.NoError(t, snippet.CheckFile(file, "time", packages))
	require.ErrorContains(t, snippet.CheckFile(file, "bytes", packages), "in:\nbytes.Sekunde\n")
	require.EqualError(t, snippet.CheckFile(file, "strings", packages), file+" does not use strings")
}
