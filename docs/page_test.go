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

// This file holds POLICIES.md to the scenarios: it shows each picture once, under
// its title, and the Go that ran.

const page = "POLICIES.md"

// packages are what the page's Go may use, by the name they go by.
var packages = map[string]string{
	"context": "context", "throttle": "github.com/throttle-go/throttle", "time": "time",
}

func TestPageCompiles(t *testing.T) {
	blocks := snippet.Blocks(readPage(t))
	require.NotEmpty(t, blocks)
	require.NoError(t, snippet.Check(blocks, packages))
}

func TestPageShowsEachPictureOnceWithTheCodeThatRan(t *testing.T) {
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
		assert.Equal(t, ran[s.name], snippet.Blocks(section), "%s: the page shows other code than the scenario's", s.title)
	}
	assert.Len(t, pictureFiles(readPage(t)), len(scenarios), "pictures on the page, and scenarios")
}

// TestPageLinksLeadSomewhere holds that the decision table's links are headings.
func TestPageLinksLeadSomewhere(t *testing.T) {
	anchors := map[string]bool{}
	for line := range strings.Lines(readPage(t)) {
		if title, isHeading := strings.CutPrefix(line, "## "); isHeading {
			anchors[anchor(strings.TrimSpace(title))] = true
		}
	}
	links := regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(readPage(t), -1)
	linked := map[string]bool{}
	for _, link := range links {
		assert.True(t, anchors[link[1]], "no section #%s", link[1])
		linked[link[1]] = true
	}
	for _, s := range scenarios {
		assert.True(t, linked[anchor(s.title)], "no link to %q", s.title)
	}
}

// anchor returns what a heading goes by in a link.
func anchor(title string) string {
	return strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(title), ""), " ", "-")
}

func readPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	return string(text)
}

// pictureFiles returns the files of the pictures that text shows, each of which
// must have a text for those who cannot see it.
func pictureFiles(text string) (files []string) {
	for _, picture := range regexp.MustCompile(`!\[([^\]]{40,})\]\(([^)]*)\)`).FindAllStringSubmatch(text, -1) {
		files = append(files, picture[2])
	}
	return files
}

// codeOfScenarios returns the source of each scenario's policy, and of the
// functions of shown_test.go that it uses, by its name.
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

// namesIn returns the names that are used in node, but for those of fields.
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

// elementsOf returns the elements of the variable's value.
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

// as returns node as a T, which it must be.
func as[T ast.Node](t *testing.T, node ast.Node) T {
	t.Helper()
	asserted, ok := node.(T)
	require.True(t, ok, "%T", node)
	return asserted
}
