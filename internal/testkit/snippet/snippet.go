// Package snippet checks that the Go code in a Markdown text compiles.
package snippet

import (
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"slices"
	"strings"
)

// Blocks returns the fenced blocks of Go in markdown. Each ends in a newline.
func Blocks(markdown string) []string {
	var blocks []string
	rest := "\n" + markdown
	for {
		_, after, found := strings.Cut(rest, "\n```go\n")
		if !found {
			return blocks
		}
		var block string
		block, rest, _ = strings.Cut(after, "\n```\n")
		blocks = append(blocks, block+"\n")
		rest = "\n" + rest
	}
}

// Split divides blocks into those that use the package called name, and the rest.
func Split(blocks []string, name string) (using, rest []string) {
	for _, block := range blocks {
		if strings.Contains(block, name+".") {
			using = append(using, block)
		} else {
			rest = append(rest, block)
		}
	}
	return using, rest
}

// CheckFile checks, as [Check] does, the blocks of a Markdown file that use the
// package called name. It returns an error if there are none.
func CheckFile(file, name string, packages map[string]string) error {
	markdown, err := os.ReadFile(file) //nolint:gosec // the path comes from a test
	if err != nil {
		return err
	}
	using, _ := Split(Blocks(string(markdown)), name)
	if len(using) == 0 {
		return fmt.Errorf("%s does not use %s", file, name)
	}
	return Check(using, packages)
}

// Check completes each block as [Complete] does and type-checks it. It returns the
// problems of all blocks, or nil. Imports are resolved from source, as the module
// of the current directory sees them.
func Check(blocks []string, packages map[string]string) error {
	files := token.NewFileSet()
	config := types.Config{Importer: importer.ForCompiler(files, "source", nil)}
	var problems []error
	for _, block := range blocks {
		if err := check(files, config, block, packages); err != nil {
			problems = append(problems, fmt.Errorf("%w in:\n%s", err, block))
		}
	}
	return errors.Join(problems...)
}

func check(files *token.FileSet, config types.Config, block string, packages map[string]string) error {
	source, err := Complete(block, packages)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(files, "snippet.go", source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	_, err = config.Check("snippet", files, []*ast.File{file}, nil)
	return err
}

// Complete makes a whole file of block. A block without a package clause may be
// declarations or one expression: it gets a package clause, and imports of the
// packages that it uses. packages maps each package's name to its import path.
func Complete(block string, packages map[string]string) (string, error) {
	if strings.HasPrefix(block, "package ") {
		return block, nil
	}
	const clause = "package snippet\n"
	file, err := parse(clause + block)
	if err != nil {
		// If block is no expression either, the first error says more.
		expression := "var _ = " + block
		var notExpression error
		if file, notExpression = parse(clause + expression); notExpression != nil {
			return "", err
		}
		block = expression
	}
	used := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if name, ok := selector.X.(*ast.Ident); ok && packages[name.Name] != "" {
				used[packages[name.Name]] = true
			}
		}
		return true
	})
	var source strings.Builder
	source.WriteString(clause)
	for _, path := range slices.Sorted(maps.Keys(used)) {
		fmt.Fprintf(&source, "import %q\n", path)
	}
	source.WriteString(block)
	return source.String(), nil
}

func parse(source string) (*ast.File, error) {
	return parser.ParseFile(token.NewFileSet(), "snippet.go", source, parser.SkipObjectResolution)
}
