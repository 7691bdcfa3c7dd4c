package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"strings"
)

// This file holds what a mutant is, and how it is made.

// A status is what tests have made of a mutant, in gremlins' words.
type status string

const (
	killed     status = "KILLED"      // a test failed
	lived      status = "LIVED"       // no test failed
	timedOut   status = "TIMED OUT"   // a test did not end
	notCovered status = "NOT COVERED" // no test was run
	notViable  status = "NOT VIABLE"  // it does not compile
)

// A mutant is an operator in the source that a mutator swaps for another.
type mutant struct {
	file    string // name, without the directory
	line    int
	column  int // in bytes, from 1, as the line is
	mutator string
	status  status

	key     string // names the mutant in a way that other changes of the file leave alone
	changed []byte // the file with the mutant in it
}

// String is how a mutant is printed, and what -only matches.
func (m *mutant) String() string {
	return fmt.Sprintf("%s %s:%d:%d %s", m.status, m.file, m.line, m.column, m.key)
}

// swaps returns what mutator makes of operators: one, what it becomes, the next.
func swaps(mutator string) []token.Token {
	switch mutator {
	case "ARITHMETIC_BASE":
		return []token.Token{
			token.ADD, token.SUB, token.SUB, token.ADD, token.MUL, token.QUO, token.QUO, token.MUL, token.REM, token.MUL,
		}
	case "CONDITIONALS_BOUNDARY":
		return []token.Token{token.LSS, token.LEQ, token.LEQ, token.LSS, token.GTR, token.GEQ, token.GEQ, token.GTR}
	case "CONDITIONALS_NEGATION":
		return []token.Token{
			token.EQL, token.NEQ, token.NEQ, token.EQL,
			token.LSS, token.GEQ, token.GEQ, token.LSS, token.GTR, token.LEQ, token.LEQ, token.GTR,
		}
	case "INCREMENT_DECREMENT":
		return []token.Token{token.INC, token.DEC, token.DEC, token.INC}
	case "INVERT_LOGICAL":
		return []token.Token{token.LAND, token.LOR, token.LOR, token.LAND}
	case "INVERT_LOOPCTRL":
		return []token.Token{token.BREAK, token.CONTINUE, token.CONTINUE, token.BREAK}
	case "INVERT_NEGATIVES":
		return []token.Token{token.SUB, token.ADD}
	default:
		return nil
	}
}

// prepare makes the mutants of one file whose source is given, in its order: it sets
// their keys and the changed files.
func prepare(mutants []*mutant, file string, source []byte) error {
	files := token.NewFileSet()
	syntax, err := parser.ParseFile(files, file, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	lines := strings.Split(string(source), "\n")
	times := map[string]int{}
	for _, m := range mutants {
		at, operator := find(files, syntax, m.line, m.column)
		swapped := m.swap(operator)
		if swapped == token.ILLEGAL {
			return fmt.Errorf("%s:%d:%d has nothing for %s: the report is not of this source", file, m.line, m.column, m.mutator)
		}
		// Printed from the tree, as gremlins does: in the text, the swap of a && for
		// a || could change what belongs together.
		original := *operator
		*operator = swapped
		var changed bytes.Buffer
		err := printer.Fprint(&changed, files, syntax)
		*operator = original
		if err != nil {
			return err
		}
		m.changed = changed.Bytes()
		m.key = m.name(function(syntax, at), strings.TrimSpace(lines[m.line-1]), times)
	}
	return nil
}

// swap returns what the mutator makes of operator, which may be nil: ILLEGAL if it
// knows nothing for it.
func (m *mutant) swap(operator *token.Token) token.Token {
	for known := swaps(m.mutator); operator != nil && len(known) > 0; known = known[2:] {
		if known[0] == *operator {
			return known[1]
		}
	}
	return token.ILLEGAL
}

// name returns the key of m, which is in the given function and line. times counts
// how many there have been with the same.
func (m *mutant) name(function, line string, times map[string]int) string {
	same := m.file + " " + function + " " + m.mutator
	times[same+line]++
	if n := times[same+line]; n > 1 {
		same += fmt.Sprintf("#%d", n)
	}
	return same + ": " + line
}

// find returns the position and the operator that is at line and column, nil if
// there is none.
func find(files *token.FileSet, syntax *ast.File, line, column int) (at token.Pos, operator *token.Token) {
	ast.Inspect(syntax, func(n ast.Node) bool {
		pos, op := operation(n)
		if op != nil {
			if p := files.Position(pos); p.Line == line && p.Column == column {
				at, operator = pos, op
			}
		}
		return operator == nil
	})
	return at, operator
}

// operation returns the operator of n, and where it is; nil if n has none.
func operation(n ast.Node) (token.Pos, *token.Token) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		return n.OpPos, &n.Op
	case *ast.UnaryExpr:
		return n.OpPos, &n.Op
	case *ast.IncDecStmt:
		return n.TokPos, &n.Tok
	case *ast.BranchStmt:
		return n.TokPos, &n.Tok
	default:
		return token.NoPos, nil
	}
}

// function returns the name of the function or method that at is in, or "-".
func function(syntax *ast.File, at token.Pos) string {
	for _, declared := range syntax.Decls {
		if f, ok := declared.(*ast.FuncDecl); ok && f.Pos() <= at && at < f.End() {
			return receiver(f) + f.Name.Name
		}
	}
	return "-"
}

// receiver returns the name of f's receiver type and a dot, or nothing.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	for {
		switch t := of.(type) {
		case *ast.StarExpr:
			of = t.X
		case *ast.IndexExpr:
			of = t.X
		case *ast.Ident:
			return t.Name + "."
		default:
			return ""
		}
	}
}
