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
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime/debug"
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
// problems of all blocks, or nil. Imports are resolved as the module of the current
// directory sees them.
func Check(blocks []string, packages map[string]string) error {
	files := token.NewFileSet()
	parsed := make(map[string]*ast.File, len(blocks))
	var problems []error
	refuse := func(block string, err error) { problems = append(problems, fmt.Errorf("%w in:\n%s", err, block)) }
	for _, block := range blocks {
		source, err := Complete(block, packages)
		if err != nil {
			refuse(block, err)
			continue
		}
		if parsed[block], err = parser.ParseFile(files, "snippet.go", source, parser.SkipObjectResolution); err != nil {
			return err // Complete has parsed it already
		}
	}
	open, err := exports(importsOf(parsed))
	if err != nil {
		return err
	}
	config := types.Config{Importer: importer.ForCompiler(files, "gc", open)}
	for _, block := range blocks {
		if file := parsed[block]; file != nil {
			if _, err := config.Check("snippet", files, []*ast.File{file}, nil); err != nil {
				refuse(block, err)
			}
		}
	}
	return errors.Join(problems...)
}

// importsOf returns the paths that files import, each once.
func importsOf(files map[string]*ast.File) []string {
	paths := map[string]bool{}
	for _, file := range files {
		for _, spec := range file.Imports {
			paths[strings.Trim(spec.Path.Value, `"`)] = true
		}
	}
	return slices.Sorted(maps.Keys(paths))
}

// exports returns a function that opens the export data of the packages with the given
// paths. To type-check the packages from source instead takes ten times as long.
func exports(paths []string) (func(path string) (io.ReadCloser, error), error) {
	args := []string{"list", "-export", "-f", "{{.ImportPath}} {{.Export}}"}
	if isRace() {
		args = append(args, "-race") // what the tests were built with is in the build cache
	}
	listed, err := exec.Command("go", append(append(args, "--"), paths...)...).Output() //nolint:gosec // paths come from a test
	if err != nil {
		if failed := new(exec.ExitError); errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return nil, err
	}
	data := map[string]string{} // files by path
	for line := range strings.Lines(string(listed)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		data[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(data[path]) }, nil
}

// isRace reports whether the program was built with the race detector.
func isRace() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
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
				used[name.Name] = true
			}
		}
		return true
	})
	var source strings.Builder
	source.WriteString(clause)
	for _, name := range slices.Sorted(maps.Keys(used)) {
		fmt.Fprintf(&source, "import %s %q\n", name, packages[name])
	}
	source.WriteString(block)
	return source.String(), nil
}

func parse(source string) (*ast.File, error) {
	return parser.ParseFile(token.NewFileSet(), "snippet.go", source, parser.SkipObjectResolution)
}
