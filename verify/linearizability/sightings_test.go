package linearizability_test

// This file holds the count of what occurred in the histories: a check of histories
// in which nothing ever happens is blind.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// sightings are how often something occurred.
type sightings map[string]int

// What is counted beside the answers of methods.
const (
	histories   = "histories"
	flushJoined = "Flush joined the active run"
	callMetRun  = "Call while a run was active"
	dropped     = "Cancel dropped something"
	notDropped  = "Cancel found nothing to drop"
	runAgain    = "RetryIn"
	undoneStart = "start undone by Close, and that somebody noticed" // too rare to be demanded
)

// demanded are the sightings that each form of the test has by the dozen.
func demanded() []string {
	return []string{
		"Do: a run's error", "Do: ErrCanceled", "Do: ErrClosed", "Do: ErrThrottled", "Do: the context's error",
		"Flush: a run's error", "Flush: ErrCanceled", "Flush: ErrClosed", "Flush: the context's error", "Flush: nil",
		"Shutdown: a run's error", "Shutdown: nil",
		flushJoined, callMetRun, dropped, notDropped, runAgain,
	}
}

// demand tells what is missing.
func (s sightings) demand(t *testing.T) {
	t.Helper()
	for _, what := range demanded() {
		if s[what] == 0 {
			t.Errorf("never occurred: %s", what)
		}
	}
}

// String returns a line for each.
func (s sightings) String() string {
	var lines strings.Builder
	for _, what := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&lines, "%9d %s\n", s[what], what)
	}
	return lines.String()
}

// add counts what occurred in history.
func (s sightings) add(history []porcupine.Operation) {
	s[histories]++
	s["operations"] += len(history)
	runs := map[int]recordedRun{}
	for _, operation := range history {
		q, _ := parts(operation)
		run := runs[q.run]
		switch q.kind {
		case runStarts:
			run.entered = operation.Return
		case runEnds:
			run.returning = operation.Call
		}
		runs[q.run] = run
	}
	for _, operation := range history {
		s.addOperation(operation, runs)
	}
}

func (s sightings) addOperation(operation porcupine.Operation, runs map[int]recordedRun) {
	q, a := parts(operation)
	switch q.kind {
	case do, flush, draining:
		s[q.kind+": "+a.outcome]++
		if q.kind == flush && a.outcome == byRun && operation.Call > runs[a.run].entered {
			s[flushJoined]++
		}
	case cancel:
		if a.yes {
			s[dropped]++
		} else {
			s[notDropped]++
		}
	case call:
		for _, run := range runs {
			if run.entered < operation.Call && operation.Return < run.returning {
				s[callMetRun]++
			}
		}
	case runEnds:
		s["runs"]++
		if q.again {
			s[runAgain]++
		}
	}
}
