package explore_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/internal/explore"
)

// A program is the path of the command, as built. The tests run the search as a process of
// its own, because the race detector has nothing to find in it and would make it ten times
// slower.
type program string

// build builds the command. overlay replaces files of the module, or adds some, by their
// paths from its root.
func build(t *testing.T, overlay map[string]string) program {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for file, text := range overlay {
		with := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		require.NoError(t, os.WriteFile(with, []byte(text), 0o600))
		original, err := filepath.Abs(inModule(file))
		require.NoError(t, err)
		replace[original] = with
	}
	listed, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	list := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(list, listed, 0o600))
	path := filepath.Join(dir, "explore.exe")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-race=false", "-overlay", list, "-o", path, "./cmd").CombinedOutput()
	require.NoError(t, err, "%s", output)
	return program(path)
}

// inModule returns the path of a file that is given from the module's root.
func inModule(file string) string { return filepath.Join("..", "..", "..", filepath.FromSlash(file)) }

// search runs p with environment added to its own.
func (p program) search(t *testing.T, c explore.Configuration, environment ...string) (found explore.Result) {
	t.Helper()
	input, err := json.Marshal(c)
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), string(p))
	command.Stdin, command.Stderr = bytes.NewReader(input), os.Stderr
	command.Env = append(command.Environ(), environment...)
	output, err := command.Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(output, &found))
	return found
}

// faultVariable is the environment variable that selects the fault in a faulty program, by
// its index in the list from which the program was built.
const faultVariable = "EXPLORE_FAULT"

// buildFaulty builds the command once, with every fault of the list. It gives each fault a
// copy of the function that it changes. If the fault is selected, the original function
// calls that copy.
func buildFaulty(t *testing.T, faults []fault) program {
	t.Helper()
	overlay := map[string]string{}
	byFile := map[string]*faultyFile{}
	for i, f := range faults {
		if byFile[f.file] == nil {
			byFile[f.file] = parse(t, f.file)
		}
		byFile[f.file].add(t, i, f)
	}
	for file, faulty := range byFile {
		overlay[file] = faulty.text()
		overlay[filepath.ToSlash(filepath.Dir(file))+"/selected_fault.go"] = fmt.Sprintf(
			"package %s\n\nimport \"os\"\n\nvar selectedFault = os.Getenv(%q)\n", faulty.parsed.Name, faultVariable)
	}
	return build(t, overlay)
}

// A faultyFile is a source file to which faults are added.
type faultyFile struct {
	source string
	parsed *ast.File
	calls  map[*ast.FuncDecl]string // statements at the beginning of a function
	copies strings.Builder          // functions with faults
}

func parse(t *testing.T, file string) *faultyFile {
	t.Helper()
	source, err := os.ReadFile(inModule(file))
	require.NoError(t, err)
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.SkipObjectResolution)
	require.NoError(t, err)
	return &faultyFile{source: string(source), parsed: parsed, calls: map[*ast.FuncDecl]string{}}
}

// add adds f, which is selected by its index.
func (x *faultyFile) add(t *testing.T, index int, f fault) {
	t.Helper()
	require.Equal(t, 1, strings.Count(x.source, f.text), "%s contains %q once", f.file, f.text)
	at := strings.Index(x.source, f.text)
	for _, d := range x.parsed.Decls {
		d, ok := d.(*ast.FuncDecl)
		if !ok || at < offset(d.Pos()) || at >= offset(d.End()) {
			continue
		}
		before, name, after := x.source[offset(d.Pos()):offset(d.Name.Pos())], d.Name.Name, x.source[offset(d.Name.End()):offset(d.End())]
		name = fmt.Sprintf("%sFault%d", name, index)
		fmt.Fprintf(&x.copies, "\n%s%s%s\n", before, name, strings.Replace(after, f.text, f.instead, 1))
		x.calls[d] += fmt.Sprintf("\nif selectedFault == \"%d\" { %s }\n", index, call(d, name))
		return
	}
	t.Fatalf("%q is not in a function of %s", f.text, f.file)
}

// call returns statements that call the method with this name as d was called, and return.
func call(d *ast.FuncDecl, name string) string {
	var arguments []string
	for _, field := range d.Type.Params.List {
		for _, parameter := range field.Names {
			arguments = append(arguments, parameter.Name)
		}
	}
	text := fmt.Sprintf("%s.%s(%s)", d.Recv.List[0].Names[0], name, strings.Join(arguments, ", "))
	if d.Type.Results == nil {
		return text + "; return"
	}
	return "return " + text
}

// text returns the source with all faults.
func (x *faultyFile) text() string {
	text := x.source
	for _, d := range slices.Backward(x.parsed.Decls) {
		if d, ok := d.(*ast.FuncDecl); ok {
			at := offset(d.Body.Lbrace) + 1
			text = text[:at] + x.calls[d] + text[at:]
		}
	}
	return text + x.copies.String()
}

// offset returns the offset of a position in the only file of its set.
func offset(at token.Pos) int { return int(at) - 1 }
