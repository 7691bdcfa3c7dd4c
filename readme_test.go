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

// This file holds the README to what it shows: its Go compiles, its commands are
// the two it promises, and its figures are those of docs/EVIDENCE.md.

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

// TestReadmeFiguresAreEvidence holds that every figure of speed or memory, and every
// verdict on a peer, stands in the table that the evidence shows, too.
func TestReadmeFiguresAreEvidence(t *testing.T) {
	evidence, err := os.ReadFile("docs/EVIDENCE.md")
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	measured := map[string][]string{}
	for _, row := range tableRows(string(evidence)) {
		measured[row.section+"/"+row.cells[0]+"/"+row.cells[1]] = row.cells
	}

	claims, verdicts := 0, 0
	for _, row := range tableRows(string(readme)) {
		switch len(row.cells) {
		case 5: // what, row, ratio, ours, peer's
			name := strings.Trim(row.cells[1], "`")
			require.Contains(t, measured, name)
			of := measured[name] // setting, peer, ratio, quartiles, ours, peer's, ...
			require.Equal(t, []string{of[2], of[4], of[5]}, row.cells[2:], name)
			claims++
		case 8: // peer, verdicts
			require.Equal(t, measured["promises/"+row.cells[0]+"/"+row.cells[1]], row.cells)
			verdicts++
		}
	}
	require.Greater(t, claims, 15)
	require.Equal(t, 9, verdicts)
}

// A tableRow is a row of a table in Markdown, without its head.
type tableRow struct {
	section string // of the comparison: the first part of its rows' names
	cells   []string
}

// tableRows returns the rows of all tables in text. What a command measures is the
// section of the tables below it.
func tableRows(text string) (rows []tableRow) {
	section, inTable := "", false
	for line := range strings.Lines(text) {
		if _, pattern, found := strings.Cut(line, "go run . -run '^"); found {
			section = pattern[:strings.IndexAny(pattern, "/$")]
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.HasPrefix(line, "|-"):
			inTable = true
		case inTable:
			cells := strings.Split(strings.Trim(line, "| \n"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, tableRow{section, cells})
		}
	}
	return rows
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
