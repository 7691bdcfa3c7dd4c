package main

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// documentation returns the package comment.
func documentation(t *testing.T) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	return file.Doc.Text()
}

// The output in the package comment is true.
func TestDocumentation_Output(t *testing.T) {
	_, example, found := strings.Cut(documentation(t), "\tthrottle-whatif -file changes.log ")
	require.True(t, found)
	args, example, _ := strings.Cut(example, "\n")
	_, example, found = strings.Cut(example, "\n\t") // after the text below the command
	require.True(t, found)
	var want strings.Builder
	for line := range strings.Lines("\t" + example) {
		code, indented := strings.CutPrefix(line, "\t")
		if !indented && line != "\n" {
			break
		}
		want.WriteString(code)
	}
	got := output(t, "", append([]string{"-file", "testdata/changes.log"}, strings.Fields(args)...)...)
	assert.Equal(t, strings.TrimSpace(got), strings.TrimSpace(want.String()))
}

// The default grid in the package comment is true.
func TestDocumentation_Grid(t *testing.T) {
	assert.Contains(t, documentation(t), "\t-interval "+defaultInterval+" -quiet "+defaultQuiet+" -maxwait "+defaultMaxWait+"\n")
}
