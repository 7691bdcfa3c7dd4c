package throttle_test

import (
	"bytes"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// This file holds the README to what it shows: its Go compiles, and its
// commands are the two it promises.

// packages are what the README's declarations may use without an import clause,
// by the name they go by.
var packages = map[string]string{
	"context": "context", "errors": "errors", "http": "net/http", "signal": "os/signal",
	"slog": "log/slog", "syscall": "syscall", "throttle": "github.com/throttle-go/throttle", "time": "time",
}

func TestReadmeCompiles(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	blocks := goBlocks(string(readme))
	require.NotEmpty(t, blocks)

	files := token.NewFileSet()
	config := types.Config{Importer: importer.ForCompiler(files, "source", nil)}
	for _, block := range blocks {
		source := completed(t, block)
		file, err := parser.ParseFile(files, "README.md", source, parser.SkipObjectResolution)
		require.NoError(t, err, source)
		_, err = config.Check("readme", files, []*ast.File{file}, nil)
		require.NoError(t, err, source)
	}
}

func TestReadmeNamesTheTwoCommands(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "    go run ./examples/snapshot ")
	require.Contains(t, string(readme), "    make test ")
}

// goBlocks returns the fenced blocks of Go in text.
func goBlocks(text string) []string {
	var blocks []string
	for {
		_, rest, found := strings.Cut(text, "\n```go\n")
		if !found {
			return blocks
		}
		var block string
		block, text, _ = strings.Cut(rest, "\n```\n")
		blocks = append(blocks, block+"\n")
	}
}

// completed returns block as a whole file: what is not one gets a package clause
// and imports.
func completed(t *testing.T, block string) string {
	t.Helper()
	if strings.HasPrefix(block, "package ") {
		return block
	}
	used := map[string]bool{}
	file, err := parser.ParseFile(token.NewFileSet(), "README.md", "package readme\n"+block, parser.SkipObjectResolution)
	require.NoError(t, err, block)
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if name, ok := selector.X.(*ast.Ident); ok {
				used[packages[name.Name]] = true
			}
		}
		return true
	})
	delete(used, "")
	var source bytes.Buffer
	source.WriteString("package readme\n")
	for path := range used {
		source.WriteString("import \"" + path + "\"\n")
	}
	source.WriteString(block)
	return source.String()
}
