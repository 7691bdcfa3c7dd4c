package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

const source = `package clock

type hand[T any] struct{ at T }

const start = -1

func (h *hand[T]) turned(a, b, c bool, n int) int {
	for n < 9 {
		if a && b && c || n == 2 && n == 3 {
			break
		}
		n++
	}
	if n == 4 {
		return n + 1
	}
	if n == 4 {
		return n / 2
	}
	return n
}
`

// at returns the line and column of the count-th text in source, from 1.
func at(t *testing.T, text string, count int) (line, column int) {
	t.Helper()
	offset := 0
	for range count {
		next := strings.Index(source[offset:], text)
		if next < 0 {
			t.Fatalf("%q is not there so often", text)
		}
		offset += next + 1
	}
	before := source[:offset-1]
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndex(before, "\n")
}

func TestEveryMutatorSwapsTheOperatorAtItsPlace(t *testing.T) {
	for _, test := range []struct {
		mutator, operator string
		count             int
		changed           string
	}{
		{"ARITHMETIC_BASE", "+ 1", 1, "return n - 1\n"},
		{"ARITHMETIC_BASE", "/", 1, "return n * 2\n"},
		{"ARITHMETIC_BASE", "-", 1, "const start = +1\n"},
		{"INVERT_NEGATIVES", "-", 1, "const start = +1\n"},
		{"CONDITIONALS_BOUNDARY", "<", 1, "for n <= 9 {\n"},
		{"CONDITIONALS_NEGATION", "<", 1, "for n >= 9 {\n"},
		{"CONDITIONALS_NEGATION", "==", 2, "|| n == 2 && n != 3 {\n"},
		{"INCREMENT_DECREMENT", "++", 1, "n--\n"},
		{"INVERT_LOOPCTRL", "break", 1, "continue\n"},
		{"INVERT_LOGICAL", "&&", 1, "if (a || b) && c || n == 2"},
		{"INVERT_LOGICAL", "&&", 2, "if a && b || c || n == 2"},
		{"INVERT_LOGICAL", "||", 1, "if a && b && c && (n == 2 && n == 3) {"},
	} {
		t.Run(test.mutator+" "+test.changed, func(t *testing.T) {
			m := mutantAt(t, test.mutator, test.operator, test.count)
			if err := prepare([]*mutant{m}, "clock.go", []byte(source)); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(m.changed), test.changed) {
				t.Errorf("%s", m.changed)
			}
			if before, after := strings.Count(source, "\n"), strings.Count(string(m.changed), "\n"); before != after {
				t.Errorf("%d lines became %d", before, after)
			}
		})
	}
}

// mutantAt returns the mutant of the count-th operator in source.
func mutantAt(t *testing.T, mutator, operator string, count int) *mutant {
	t.Helper()
	line, column := at(t, operator, count)
	return &mutant{file: "clock.go", line: line, column: column, mutator: mutator, status: lived}
}

func TestReportOfAnotherSourceIsRefused(t *testing.T) {
	for _, m := range []*mutant{
		{line: 1, column: 1, mutator: "INVERT_LOGICAL"},
		{line: 1000, column: 1, mutator: "INVERT_LOGICAL"},
		mutantAt(t, "INVERT_LOGICAL", "<", 1),
		mutantAt(t, "NO_SUCH_MUTATOR", "<", 1),
	} {
		if err := prepare([]*mutant{m}, "clock.go", []byte(source)); err == nil {
			t.Errorf("%v was made: %s", m, m.changed)
		}
	}
}

func TestKeyOutlivesAMove(t *testing.T) {
	first, second := mutantAt(t, "CONDITIONALS_NEGATION", "== 4", 1), mutantAt(t, "CONDITIONALS_NEGATION", "== 4", 2)
	constant := mutantAt(t, "INVERT_NEGATIVES", "-", 1)
	mutants := []*mutant{constant, first, second}
	want := []string{
		"clock.go - INVERT_NEGATIVES: const start = -1",
		"clock.go hand.turned CONDITIONALS_NEGATION: if n == 4 {",
		"clock.go hand.turned CONDITIONALS_NEGATION#2: if n == 4 {",
	}
	for moved := range 2 {
		if err := prepare(mutants, "clock.go", []byte(strings.Repeat("\n", moved)+source)); err != nil {
			t.Fatal(err)
		}
		for i, m := range mutants {
			if m.key != want[i] {
				t.Errorf("%s is not %s", m.key, want[i])
			}
			m.line++
		}
	}
}

func TestReportIsReadInTheOrderOfTheSource(t *testing.T) {
	byFile, err := parseReport([]byte(`{"go_module": "clock", "mutants_total": 3, "files": [{"file_name": "clock.go", "mutations": [
		{"type": "INVERT_LOGICAL", "status": "KILLED", "line": 9, "column": 4},
		{"type": "CONDITIONALS_NEGATION", "status": "NOT COVERED", "line": 2, "column": 40},
		{"type": "CONDITIONALS_BOUNDARY", "status": "LIVED", "line": 2, "column": 40}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range byFile["clock.go"] {
		got = append(got, fmt.Sprintf("%s %s %d:%d %s", m.status, m.file, m.line, m.column, m.mutator))
	}
	want := []string{
		"LIVED clock.go 2:40 CONDITIONALS_BOUNDARY", "NOT COVERED clock.go 2:40 CONDITIONALS_NEGATION", "KILLED clock.go 9:4 INVERT_LOGICAL",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestReportOfADryRunIsRefused(t *testing.T) {
	_, err := parseReport([]byte(`{"files": [{"file_name": "clock.go", "mutations": [
		{"type": "INVERT_LOGICAL", "status": "RUNNABLE", "line": 9, "column": 4}]}]}`))
	if err == nil {
		t.Error("it was read")
	}
}

func TestEndOfGoTestTellsTheStatus(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, test := range []struct {
		output string
		err    error
		status status
	}{
		{"ok", nil, lived},
		{"--- FAIL: TestHand", failed, killed},
		{"FAIL clock [build failed]", failed, notViable},
		{"", context.DeadlineExceeded, timedOut},
		{"goleak: Errors on successful test run", failed, killed},
	} {
		if got, err := verdict([]byte(test.output), test.err); got != test.status || err != nil {
			t.Errorf("%s and %v for %s", got, err, test.status)
		}
	}
}

func TestEndThatSaysNothingOfAFaultIsAnError(t *testing.T) {
	if got, err := verdict([]byte("signal: killed"), errors.New("exit status 1")); err == nil {
		t.Errorf("%s", got)
	}
}

func TestListHasAKeyAndAReasonInEachParagraph(t *testing.T) {
	explained, err := parseExplained("# A comment.\n# It goes on.\n\nkey one\nthe\n  reason\n\n\nkey two\nanother\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"key one": "the reason", "key two": "another"}; !maps.Equal(explained, want) {
		t.Errorf("%q", explained)
	}
	for name, wrong := range map[string]string{"no reason": "key one\n\nkey two\nreason", "twice": "a key\nreason\n\na key\nreason"} {
		if _, err := parseExplained(wrong); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
	if _, err := parseExplained(explanations); err != nil {
		t.Error(err)
	}
}

func TestJudgementNamesWhatIsWrong(t *testing.T) {
	mutants := func(kills int) []*mutant {
		all := []*mutant{
			{file: "a.go", key: "explained", status: lived}, {file: "a.go", key: "hangs", status: timedOut},
			{file: "b.go", key: "broken", status: notViable},
		}
		for range kills {
			all = append(all, &mutant{file: "b.go", status: killed})
		}
		return all
	}
	explained := map[string]string{"explained": "why"}
	for _, test := range []struct {
		name      string
		mutants   []*mutant
		explained map[string]string
		wrong     string
	}{
		{"all is well", mutants(19), explained, ""},
		{"too few are killed", mutants(18), explained, "an efficacy of 94.74 %, below 95 %"},
		{"one is unexplained", mutants(19), nil, "unexplained: LIVED a.go:0:0 explained"},
		{"one is explained in vain", mutants(19), map[string]string{"explained": "why", "hangs": "why"}, "explained, but not alive: hangs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := judge(io.Discard, test.mutants, test.explained, 95)
			if got := fmt.Sprint(err); test.wrong != "" && got != test.wrong || test.wrong == "" && err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestScoreIsCountedPerFileAndInAll(t *testing.T) {
	var printed strings.Builder
	printScore(&printed, []*mutant{
		{file: "a.go", key: "explained", status: lived}, {file: "a.go", status: lived}, {file: "a.go", status: killed}, {file: "a.go", status: killed},
		{file: "b.go", status: timedOut}, {file: "b.go", status: notViable}, {file: "b.go", status: killed},
	}, map[string]string{"explained": "why"})
	var got [][]string
	for line := range strings.Lines(printed.String()) {
		got = append(got, strings.Fields(line))
	}
	want := [][]string{
		{"file", "killed", "timed", "out", "lived", "explained", "not", "viable", "efficacy"},
		{"a.go", "2", "0", "2", "1", "0", "50.00", "%"},
		{"b.go", "1", "1", "0", "0", "1", "100.00", "%"},
		{"all", "3", "1", "2", "1", "1", "60.00", "%"},
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%q", got)
	}
}
