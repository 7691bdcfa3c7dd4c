// Command casecover rewrites Go files so that coverage sees the conditions of cases.
//
//	go run ./casecover FILE...
//
// Coverage has no block for the condition in `case a < b:`, and gremlins breaks only what
// coverage shows. casecover writes `case func() bool { return a < b }():` instead, which does
// the same and has a block. `make mutate` runs it on a copy of the library.
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
)

func main() {
	var problems []error
	for _, path := range os.Args[1:] {
		problems = append(problems, rewriteFile(path))
	}
	if err := errors.Join(problems...); err != nil {
		fmt.Fprintln(os.Stderr, "casecover:", err)
		os.Exit(1) //nolint:forbidigo // a program's exit status
	}
}

func rewriteFile(path string) error {
	source, err := os.ReadFile(path) //nolint:gosec // the user names it
	if err != nil {
		return err
	}
	if source, err = rewrite(source); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, source, 0o600) //nolint:gosec // the user names it
}

// rewrite returns source with the condition of each case in a function literal. Line numbers
// stay as they are.
func rewrite(source []byte) ([]byte, error) {
	files := token.NewFileSet()
	syntax, err := parser.ParseFile(files, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var conditions []ast.Expr
	ast.Inspect(syntax, func(n ast.Node) bool {
		if s, ok := n.(*ast.SwitchStmt); ok && s.Tag == nil {
			for _, clause := range s.Body.List {
				if c, ok := clause.(*ast.CaseClause); ok {
					conditions = append(conditions, c.List...)
				}
			}
		}
		return true
	})
	// From the end, so that the offsets of the others stay right.
	slices.SortFunc(conditions, func(a, b ast.Expr) int { return int(b.Pos() - a.Pos()) })
	for _, c := range conditions {
		source = slices.Insert(source, files.Position(c.End()).Offset, []byte(" }()")...)
		source = slices.Insert(source, files.Position(c.Pos()).Offset, []byte("func() bool { return ")...)
	}
	return source, nil
}
