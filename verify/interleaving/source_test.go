package interleaving_test

// This file holds that the model and the library name the same: states, phases,
// kinds of words, fields and transitions. What is new in the library fails here
// until the model has it, or a reason stands here why it need not.

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/verify/interleaving"
)

// toldTransitions says what in the model tells which function of the library again.
var toldTransitions = map[string][]string{
	"Throttler.Call":            {"move.load"},
	"Throttler.CallWithin":      {"move.callWithin"},
	"Throttler.Cancel":          {"move.cancel"},
	"Throttler.SetPolicy":       {"move.setPolicy"},
	"Throttler.absorbLocked":    {"state.absorb"},
	"Throttler.activeOutcome":   {"move.awaitActive"},
	"Throttler.adoptLocked":     {"move.setPolicy"},
	"Throttler.ask":             {"move.do"},
	"Throttler.awaitCallLocked": {"move.await"},
	"Throttler.awaitLocked":     {"move.await"},
	"Throttler.beginLocked":     {"move.lock"},
	"Throttler.callLocked":      {"move.call"},
	"Throttler.cancelLocked":    {"move.cancel"},
	"Throttler.close":           {"move.close", "move.closeDrained", "move.closeByParent"},
	"Throttler.closeLocked":     {"move.closeAll"},
	"Throttler.coalesce":        {"move.load", "move.readClock", "move.compareAndSwap"},
	"Throttler.decide":          {"move.decide"},
	"Throttler.decideLocked":    {"move.decide"},
	"Throttler.drain":           {"move.drain"},
	"Throttler.drainLocked":     {"move.drain"},
	"Throttler.dropLocked":      {"move.drop"},
	"Throttler.end":             {"move.end"},
	"Throttler.endLocked":       {"move.end"},
	"Throttler.enter":           {"move.enter", "move.undo"},
	"Throttler.enterLocked":     {"move.enter", "move.undo"},
	"Throttler.execute":         {"move.checkParent", "move.closeByRun"},
	"Throttler.flush":           {"move.flush"},
	"Throttler.flushLocked":     {"move.flushNow"},
	"Throttler.lock":            {"move.lock"},
	"Throttler.pendingLocked":   {"state.outstanding"},
	"Throttler.setAlarmLocked":  {"move.setAlarm"},
	"Throttler.settle":          {"move.settle", "move.publish"},
	"Throttler.settleLocked":    {"move.settle", "move.publish"},
	"Throttler.startLocked":     {"move.start"},
	"Throttler.strandLocked":    {"move.closeAll"},
	"Throttler.takeCallsLocked": {"move.start", "move.drop"},
	"Throttler.wake":            {"move.wake"},
	"Throttler.wordLocked":      {"move.nextWord"},
	"alarm.set":                 {"move.setAlarm", "move.fire", "move.fireStale"},
}

// untoldTransitions says why a function of the library is not in the model.
var untoldTransitions = map[string]string{
	"New":                      "the first state is what it leaves",
	"Throttler.conclude":       "the order of a run's last steps",
	"domain.closedError":       "errors",
	"domain.now":               "reads only",
	"newAlone":                 "before the first step",
	"newDomain":                "before the first step",
	"newOutcome":               "each process knows what it awaits",
	"newTally":                 "for Stats",
	"outcome.decide":           "errors",
	"run.outcome":              "each process knows what it awaits",
	"timedWord":                "reads only",
	"Throttler.Policy":         "reads only",
	"Throttler.Stats":          "reads only: to take over a word again changes nothing",
	"Throttler.admitLocked":    "reads only: which phase admits what, and who waits for himself",
	"Throttler.closedLocked":   "reads only",
	"Throttler.decidedLocked":  "errors",
	"Throttler.isActiveLocked": "reads only",
	"Throttler.leave":          "errors: it changes who is told of one",
	"Throttler.refusalLocked":  "errors",
	"Throttler.reported":       "a Coalescer's",
	"Throttler.settleNow":      "a Group's and a Coalescer's",
	"Throttler.takeTurnLocked": "a Group's",
	"Throttler.watch":          "before the first step",
	"run.active":               "reads only",
}

// modelTransitions says why a step, or a part of one, is in the model alone.
var modelTransitions = map[string]string{
	"move.answer":  "a waiter goes on once a channel is closed",
	"move.over":    "as above",
	"process.goOn": "what a process awaits has started",

	"move.complete": "a method returns",
	"move.giveUp":   "a caller's context ends",

	"move.endParent": "the parent context ends",
	"move.fire":      "a timer",
	"move.fireStale": "a timer",

	"move.oweNothing": "for the guarantees",
	"move.record":     "for the guarantees",
	"move.wait":       "for the guarantees",
	"move.policy":     "reads only",
	"move.process":    "reads only",
	"move.unlock":     "the part of settle that some faults leave",

	"model.keepsWord":     "of a fault",
	"model.opensUnlocked": "of a fault",
}

// absentFields says why a field of the library is not in the model.
var absentFields = map[string]string{
	"Policy.Burst": "the bucket holds one",
	"Policy.From":  "Interval is measured from the start",

	"history.accrual":  "of a bucket of one: the last start",
	"history.created":  "instant 0",
	"history.failures": "a constant backoff counts none",
	"history.tokens":   "of a bucket of one: none",

	"Throttler.awaited": "each process knows what it awaits",
	"Throttler.fn":      "decides nothing",

	"run.asked":   "for observers",
	"run.attempt": "for observers",
	"run.awaited": "each process knows what it awaits",
	"run.calls":   "judged at the start",
	"run.cause":   "judged at the start",
	"run.cancel":  "contexts decide nothing",
	"run.decided": "a stage",
	"run.due":     "for observers",
	"run.entered": "a stage",
	"run.err":     "errors",
	"run.of":      "there is one Throttler",
	"run.report":  "errors",
	"run.started": "history.started, once the run is entered",
	"run.stopped": "errors",
	"run.unheard": "errors",
}

// diagramArrows says which step the label of an arrow in the state diagram is.
var diagramArrows = map[string]interleaving.Step{
	"call":                               interleaving.Call,
	"due, maybe at once":                 interleaving.Wake,
	"end":                                interleaving.End,
	"end, failed: retry":                 interleaving.End,
	"Cancel":                             interleaving.Cancel,
	"Shutdown":                           interleaving.Drain,
	"nothing pending, nothing running":   interleaving.CloseDrained,
	"Close, or the parent context ended": interleaving.Close,
}

func TestModelHasEveryTransition(t *testing.T) {
	var transitions []string
	for name := range functions(t, "../../lock.go") {
		transitions = append(transitions, name)
	}
	for name, function := range functions(t, "../../throttle.go") {
		if isTransition(function) {
			transitions = append(transitions, name)
		}
	}
	known := slices.AppendSeq(slices.Collect(maps.Keys(toldTransitions)), maps.Keys(untoldTransitions))
	assert.ElementsMatch(t, known, transitions)
}

func TestModelHasNoOtherTransition(t *testing.T) {
	var steps []string
	for _, file := range []string{"call.go", "lock.go", "run.go", "steer.go"} {
		steps = slices.AppendSeq(steps, maps.Keys(functions(t, file)))
	}
	known := slices.Collect(maps.Keys(modelTransitions))
	for _, by := range toldTransitions {
		known = append(known, by...)
	}
	slices.Sort(known)
	assert.ElementsMatch(t, slices.Compact(known), steps)
}

func TestModelNamesThePhasesAndWords(t *testing.T) {
	for _, test := range []struct{ prefix, kind, library, model string }{
		{"", "phase", "../../policy.go", "due.go"},
		{"", "holder", "../../policy.go", "due.go"},
		{"word", "", "../../lock.go", "word.go"},
	} {
		names := constants(t, test.library, test.prefix, test.kind)
		assert.NotEmpty(t, names)
		assert.Equal(t, names, constants(t, test.model, test.prefix, test.kind))
	}
}

func TestModelHasEveryField(t *testing.T) {
	var library, known []string
	for _, record := range []struct{ name, library, model, as string }{
		{"Policy", "../../policy.go", "due.go", "Policy"},
		{"history", "../../policy.go", "due.go", "history"},
		{"Throttler", "../../lock.go", "state.go", "state"},
		{"run", "../../lock.go", "state.go", "run"},
	} {
		has := fields(t, record.library, record.name)
		for _, field := range has {
			library = append(library, record.name+"."+field)
		}
		for _, field := range fields(t, record.model, record.as) {
			if slices.Contains(has, field) {
				known = append(known, record.name+"."+field)
			}
		}
	}
	assert.ElementsMatch(t, slices.AppendSeq(known, maps.Keys(absentFields)), library)
}

func TestModelHasTheStatesAndArrowsOfTheDiagram(t *testing.T) {
	found := interleaving.Search(interleaving.Configuration{
		Policies: []interleaving.Policy{{Interval: 1, Retry: 2}},
		Scripts: [][]interleaving.Op{
			{interleaving.OpCall, interleaving.OpCall},
			{interleaving.OpCancel},
			{interleaving.OpShutdown},
			{interleaving.OpClose},
		},
		Ticks:    3,
		Failures: 1,
	}, interleaving.NoFault)
	require.Nil(t, found.Breach)
	known := append(slices.Collect(maps.Keys(found.Names)), "any")
	for label, step := range diagramArrows {
		assert.NotZero(t, found.Steps[step], "steps for %q", label)
		known = append(known, label)
	}
	labels := diagramLabels(t)
	slices.Sort(labels)
	assert.ElementsMatch(t, known, slices.Compact(labels))
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	require.NoError(t, err)
	return parsed
}

// functions returns the functions of file, methods as Type.Name.
func functions(t *testing.T, file string) map[string]*ast.FuncDecl {
	t.Helper()
	all := map[string]*ast.FuncDecl{}
	for _, declaration := range parse(t, file).Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := function.Name.Name
		if function.Recv != nil {
			name = typeName(function.Recv.List[0].Type) + "." + name
		}
		all[name] = function
	}
	return all
}

// typeName returns the name of the type that expression, which may be a pointer to
// it, names.
func typeName(expression ast.Expr) string {
	if pointer, ok := expression.(*ast.StarExpr); ok {
		expression = pointer.X
	}
	if name, ok := expression.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// isTransition reports whether function takes the lock, has it, touches the word,
// or is handed a run.
func isTransition(function *ast.FuncDecl) (is bool) {
	for _, parameter := range function.Type.Params.List {
		is = is || typeName(parameter.Type) == "run"
	}
	ast.Inspect(function, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			is = is || slices.Contains([]string{"lock", "Lock", "word"}, selector.Sel.Name)
		}
		return true
	})
	return is || strings.HasSuffix(function.Name.Name, "Locked")
}

// constants returns the constants of file that have the prefix and, if kind is not
// empty, are in a group that begins with one of that type.
func constants(t *testing.T, file, prefix, kind string) (names []string) {
	t.Helper()
	for _, declaration := range parse(t, file).Decls {
		group, ok := declaration.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for i, spec := range group.Specs {
			values, ok := spec.(*ast.ValueSpec)
			require.True(t, ok)
			if i == 0 && kind != "" && typeName(values.Type) != kind {
				break
			}
			if strings.HasPrefix(values.Names[0].Name, prefix) {
				names = append(names, values.Names[0].Name)
			}
		}
	}
	return names
}

// fields returns the named fields of the struct of the given name.
func fields(t *testing.T, file, name string) (names []string) {
	t.Helper()
	ast.Inspect(parse(t, file), func(node ast.Node) bool {
		declared, ok := node.(*ast.TypeSpec)
		if !ok || declared.Name.Name != name {
			return true
		}
		record, ok := declared.Type.(*ast.StructType)
		require.True(t, ok)
		for _, field := range record.Fields.List {
			for _, name := range field.Names {
				names = append(names, name.Name)
			}
		}
		return false
	})
	return names
}

// diagramLabels returns all that is written in lock.go's state diagram.
func diagramLabels(t *testing.T) (labels []string) {
	t.Helper()
	// What is drawn with, or wide space, separates what is written.
	gap := regexp.MustCompile(`\s*[\x{2500}-\x{25ff}]+\s*|\s{2,}`)
	for _, comment := range parse(t, "../../lock.go").Comments {
		if !strings.Contains(comment.Text(), "──►") {
			continue
		}
		for line := range strings.Lines(comment.Text()) {
			if drawn := strings.TrimLeft(line, " \t"); drawn != line {
				labels = append(labels, gap.Split(strings.TrimSpace(drawn), -1)...)
			}
		}
	}
	return slices.DeleteFunc(labels, func(label string) bool { return label == "" })
}
