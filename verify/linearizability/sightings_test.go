package linearizability_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// sightings counts what occurred in the histories. If nothing ever happened in them, the test
// would check nothing.
type sightings map[string]int

// What is counted besides the answers of methods.
const (
	histories   = "histories"
	flushJoined = "Flush joined the active run"
	callMetRun  = "Call while a run was active"
	dropped     = "Cancel dropped something"
	notDropped  = "Cancel found nothing to drop"
	runAgain    = "RetryIn"
	undoneStart = "start undone by Close, and somebody noticed" // too rare to require
)

// required returns the sightings that occur dozens of times in the short form.
func required() []string {
	return []string{
		"Do: a run's error", "Do: ErrCanceled", "Do: ErrClosed", "Do: ErrThrottled", "Do: the context's error",
		"Flush: a run's error", "Flush: ErrCanceled", "Flush: ErrClosed", "Flush: the context's error", "Flush: nil",
		"Shutdown: a run's error", "Shutdown: nil", "Shutdown: ErrPaused",
		"Wait: a run's error", "Wait: nil", "Wait: ErrClosed",
		flushJoined, callMetRun, dropped, notDropped, runAgain,
	}
}

// require reports what never occurred.
func (s sightings) require(t *testing.T) {
	t.Helper()
	for _, what := range required() {
		if s[what] == 0 {
			t.Errorf("never occurred: %s", what)
		}
	}
}

// String returns a line for each sighting.
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
	case do, flush, wait, draining:
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
