package docs_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

const page = "POLICIES.md"

// TestPoliciesPage_Pictures checks that the page shows each scenario's picture once,
// under its title, with the code that drew it and a link to its preset of the playground.
func TestPoliciesPage_Pictures(t *testing.T) {
	sections := map[string]string{} // by their title
	for _, section := range strings.Split(readPage(t), "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		require.NotContains(t, sections, title)
		sections[title] = text
	}
	ran := codeOfScenarios(t)
	for _, s := range scenarios {
		require.Contains(t, sections, s.title)
		section := sections[s.title]
		assert.Equal(t, []string{pictures + "/" + s.name + ".svg"}, pictureFiles(section), s.title)
		assert.Equal(t, ran[s.name], snippet.Blocks(section), "%s: the code on the page differs from the scenario's", s.title)
		assert.Contains(t, section, "](http://localhost:8080/#preset="+s.name+")", s.title)
	}
	assert.Len(t, pictureFiles(readPage(t)), len(scenarios), "pictures on the page")
}

// TestPoliciesPage_Links checks that the page links to the section of each scenario.
func TestPoliciesPage_Links(t *testing.T) {
	text := readPage(t)
	for _, s := range scenarios {
		assert.Contains(t, text, "](#"+anchor(s.title)+")", s.title)
	}
}

func readPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	return string(text)
}

// pictureFiles returns the files of the pictures in text that have an alternative
// text of at least 40 characters.
func pictureFiles(text string) (files []string) {
	for _, picture := range regexp.MustCompile(`!\[([^\]]{40,})\]\(([^)]*)\)`).FindAllStringSubmatch(text, -1) {
		files = append(files, picture[2])
	}
	return files
}

// codeOfScenarios returns, by the scenario's name, the source of its policy and of
// the functions in shown_test.go that it uses.
func codeOfScenarios(t *testing.T) map[string][]string {
	t.Helper()
	files := token.NewFileSet()
	parse := func(name string) *ast.File {
		file, err := parser.ParseFile(files, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		return file
	}
	source := func(node ast.Node, comments []*ast.CommentGroup) string {
		var b bytes.Buffer
		config := printer.Config{Mode: printer.UseSpaces | printer.TabIndent, Tabwidth: 8}
		require.NoError(t, config.Fprint(&b, files, &printer.CommentedNode{Node: node, Comments: comments}))
		return b.String() + "\n"
	}

	shown := map[string]string{}
	functions := parse("shown_test.go")
	for _, declaration := range functions.Decls {
		if function, ok := declaration.(*ast.FuncDecl); ok {
			shown[function.Name.Name] = source(function, functions.Comments)
		}
	}
	code := map[string][]string{}
	for _, element := range elementsOf(t, parse("scenarios_test.go"), "scenarios") {
		var name string
		var blocks []string
		for _, element := range as[*ast.CompositeLit](t, element).Elts {
			field := as[*ast.KeyValueExpr](t, element)
			switch as[*ast.Ident](t, field.Key).Name {
			case "name":
				name = strings.Trim(as[*ast.BasicLit](t, field.Value).Value, `"`)
			case "policy":
				blocks = append(blocks, source(field.Value, nil))
			default:
				for _, used := range namesIn(field.Value) {
					if function, isShown := shown[used]; isShown {
						blocks = append(blocks, function)
					}
				}
			}
		}
		code[name] = blocks
	}
	return code
}

// namesIn returns the names that node uses, except for those of fields.
func namesIn(node ast.Node) (names []string) {
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			names = append(names, namesIn(n.Value)...)
			return false
		case *ast.Ident:
			names = append(names, n.Name)
		}
		return true
	})
	return names
}

// elementsOf returns the elements of the composite literal that variable is set to.
func elementsOf(t *testing.T, file *ast.File, variable string) []ast.Expr {
	t.Helper()
	var elements []ast.Expr
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == variable {
			elements = as[*ast.CompositeLit](t, spec.Values[0]).Elts
		}
		return true
	})
	require.NotEmpty(t, elements)
	return elements
}

// as returns node as a T, and fails the test if it is something else.
func as[T ast.Node](t *testing.T, node ast.Node) T {
	t.Helper()
	asserted, ok := node.(T)
	require.True(t, ok, "%T", node)
	return asserted
}
