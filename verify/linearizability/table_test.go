package linearizability_test

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// at returns an operation with its begin and its end.
func at(began, ended int64, q request, a answer) porcupine.Operation {
	return porcupine.Operation{Input: q, Output: a, Call: began, Return: ended}
}

func called(began, ended int64) porcupine.Operation {
	return at(began, ended, request{kind: call}, answer{})
}

// started is the start of a run, between the two instants.
func started(run int, after, entered int64) porcupine.Operation {
	return at(after, entered, request{kind: runStarts, run: run}, answer{})
}

// ended is the end of a run, after its observer was about to return.
func ended(run int, returning int64) porcupine.Operation {
	return at(returning, later, request{kind: runEnds, run: run}, answer{})
}

// endedAgain is the end of a run whose callback returned RetryIn.
func endedAgain(run int, returning int64) porcupine.Operation {
	return at(returning, later, request{kind: runEnds, run: run, again: true}, answer{})
}

func didCancel(began, ended int64, dropped bool) porcupine.Operation {
	return at(began, ended, request{kind: cancel}, answer{yes: dropped})
}

func didClose(began, ended int64) porcupine.Operation {
	return at(began, ended, request{kind: closing}, answer{})
}

func didPause(began, ended int64) porcupine.Operation {
	return at(began, ended, request{kind: pausing}, answer{})
}

func didResume(began, ended int64) porcupine.Operation {
	return at(began, ended, request{kind: resuming}, answer{})
}

// saw is a result of Stats.
func saw(instant int64, g glance) porcupine.Operation {
	return at(instant, instant, request{kind: stats}, answer{glance: g})
}

// know is something that a caller knows from instant on.
func know(instant int64, q request) porcupine.Operation { return at(instant, instant, q, answer{}) }

func quiet(instant int64) porcupine.Operation { return know(instant, request{kind: atRest}) }

// TestModel checks the model against histories made by hand. It must refuse those that break a
// promise, and accept the others: a check of a million operations says nothing if the model
// accepts anything.
func TestModel(t *testing.T) {
	firstRun := answer{outcome: byRun, run: 1}
	secondRun := answer{outcome: byRun, run: 2}
	for _, test := range []struct {
		name        string
		right       bool
		leadingOnly bool
		history     []porcupine.Operation
	}{
		{name: "a call is covered", right: true, history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), ended(1, 4), quiet(5)}},
		{name: "a call is lost", history: []porcupine.Operation{
			called(1, 2), quiet(5)}},
		{name: "a call while a run is active is covered", right: true, history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), called(4, 5), ended(1, 6), started(2, 3, 7), ended(2, 8), quiet(9)}},
		{name: "a call while a run is active is lost", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), called(4, 5), ended(1, 6), quiet(9)}},
		{name: "a call that meets a start is covered by it", right: true, history: []porcupine.Operation{
			called(1, 2), called(2, 5), started(1, 0, 4), ended(1, 6), quiet(9)}},
		{name: "a call is refused with only the leading edge", right: true, leadingOnly: true, history: []porcupine.Operation{
			called(1, 2), quiet(5)}},
		{name: "a run that covers no call", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), ended(1, 4), started(2, 3, 6), ended(2, 7), quiet(9)}},
		{name: "a run before its call", history: []porcupine.Operation{
			started(1, 0, 1), called(2, 3), ended(1, 4), quiet(9)}},
		{name: "runs overlap", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), called(4, 5), started(2, 3, 6), ended(1, 8), ended(2, 9), quiet(10)}},

		{name: "Do is covered", right: true, history: []porcupine.Operation{
			at(1, 5, request{kind: do}, firstRun), started(1, 0, 2), ended(1, 3), know(5, request{kind: heardRun, run: 1}), quiet(9)}},
		{name: "Do returns before the run has ended", history: []porcupine.Operation{
			at(1, 3, request{kind: do}, firstRun), started(1, 0, 2), know(3, request{kind: heardRun, run: 1}), ended(1, 4), quiet(9)}},
		{name: "Do joins the active run", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), at(4, 8, request{kind: do}, firstRun), ended(1, 5), quiet(9)}},
		{name: "Do waits for the run after its own", history: []porcupine.Operation{
			at(1, 8, request{kind: do}, secondRun), started(1, 0, 2), called(3, 4), ended(1, 5), started(2, 2, 6), ended(2, 7), quiet(9)}},
		{name: "Do gets an answer without a run", history: []porcupine.Operation{
			at(1, 8, request{kind: do}, firstRun), quiet(9)}},
		{name: "Do returns nil without a run", history: []porcupine.Operation{
			at(1, 2, request{kind: do}, answer{outcome: nothing}), quiet(9)}},
		{name: "Do's call stays when its context ends", right: true, history: []porcupine.Operation{
			at(1, 2, request{kind: do}, answer{outcome: abandoned}), started(1, 0, 3), ended(1, 4), quiet(9)}},
		{name: "Do asks for a run with an ended context", history: []porcupine.Operation{
			at(1, 2, request{kind: do, spent: true}, answer{outcome: abandoned}), started(1, 0, 3), ended(1, 4), quiet(9)}},
		{name: "Do is throttled with a trailing edge", history: []porcupine.Operation{
			at(1, 2, request{kind: do}, answer{outcome: throttled}), quiet(9)}},

		{name: "Cancel drops", right: true, history: []porcupine.Operation{
			at(1, 4, request{kind: do}, answer{outcome: canceled}), didCancel(2, 3, true), know(5, request{kind: heardCanceled}), quiet(9)}},
		{name: "ErrCanceled without a Cancel", history: []porcupine.Operation{
			at(1, 4, request{kind: do}, answer{outcome: canceled}), know(4, request{kind: heardCanceled}), quiet(9)}},
		{name: "ErrCanceled before the Cancel", history: []porcupine.Operation{
			at(1, 2, request{kind: do}, answer{outcome: canceled}), know(3, request{kind: heardCanceled}), didCancel(4, 5, true), quiet(9)}},
		{name: "ErrCanceled, but a run covers the call", history: []porcupine.Operation{
			at(1, 4, request{kind: do}, answer{outcome: canceled}), started(1, 0, 3), know(4, request{kind: heardCanceled}), ended(1, 5), quiet(9)}},
		{name: "a run's answer to a call that Cancel dropped", history: []porcupine.Operation{
			at(1, 10, request{kind: do}, firstRun), saw(2, glance{pending: true}), didCancel(3, 4, true), called(5, 6),
			started(1, 0, 7), ended(1, 8), quiet(11)}},
		{name: "Cancel says that it dropped nothing", history: []porcupine.Operation{
			called(1, 2), didCancel(3, 4, false), saw(5, glance{pending: true}), started(1, 0, 6), ended(1, 7), quiet(9)}},
		{name: "Cancel says that it dropped what was not there", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), ended(1, 4), didCancel(5, 6, true), quiet(9)}},
		{name: "a run after Cancel", history: []porcupine.Operation{
			called(1, 2), didCancel(3, 4, true), started(1, 0, 5), ended(1, 6), quiet(9)}},
		{name: "RetryIn repeats a run", right: true, history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), endedAgain(1, 4), started(2, 3, 6), ended(2, 7), quiet(9)}},
		{name: "RetryIn repeats nothing", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), endedAgain(1, 4), quiet(9)}},
		{name: "RetryIn repeats a run after Cancel", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), didCancel(4, 5, false), endedAgain(1, 6), started(2, 3, 7), ended(2, 8), quiet(9)}},

		{name: "Flush finds nothing", right: true, history: []porcupine.Operation{
			at(1, 2, request{kind: flush}, answer{outcome: nothing}), quiet(9)}},
		{name: "Flush joins the active run", right: true, history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), at(4, 6, request{kind: flush}, firstRun), ended(1, 5), know(6, request{kind: heardRun, run: 1}), quiet(9)}},
		{name: "Flush does not wait for the active run", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), at(4, 5, request{kind: flush}, answer{outcome: nothing}), ended(1, 6), quiet(9)}},
		{name: "Flush does not wait for the pending run", history: []porcupine.Operation{
			called(1, 2), at(3, 4, request{kind: flush}, answer{outcome: nothing}), started(1, 0, 6), ended(1, 7), quiet(9),
			saw(5, glance{pending: true})}},
		{name: "Flush waits for the active run instead of the pending one", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), called(4, 5), at(6, 8, request{kind: flush}, firstRun), ended(1, 7),
			started(2, 3, 9), ended(2, 10), quiet(11)}},

		{name: "Close drops", right: true, history: []porcupine.Operation{
			at(1, 4, request{kind: do}, answer{outcome: closed}), didClose(2, 3), know(4, request{kind: heardClosed}), quiet(9)}},
		{name: "Close lets the active run end", right: true, history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), called(4, 5), didClose(6, 7), ended(1, 8), quiet(9)}},
		{name: "Close comes when a run is about to enter", right: true, history: []porcupine.Operation{
			called(1, 2), didClose(3, 4), started(1, 0, 5), ended(1, 6), quiet(9)}},
		{name: "ErrClosed without a Close", history: []porcupine.Operation{
			at(1, 4, request{kind: do}, answer{outcome: closed}), know(4, request{kind: heardClosed}), quiet(9)}},
		{name: "a run after Close for a call before it", history: []porcupine.Operation{
			called(1, 2), didClose(3, 4), saw(5, glance{closed: true}), started(1, 0, 6), ended(1, 7), quiet(9)}},
		{name: "a run after Close for a call after it", history: []porcupine.Operation{
			didClose(1, 2), called(3, 4), started(1, 0, 6), ended(1, 7), quiet(9)}},
		{name: "a Do after Close that is not refused", history: []porcupine.Operation{
			didClose(1, 2), at(3, 8, request{kind: do}, firstRun), started(1, 0, 4), ended(1, 5), quiet(9)}},
		{name: "SetPolicy after Close", history: []porcupine.Operation{
			didClose(1, 2), at(3, 4, request{kind: setPolicy}, answer{yes: true}), quiet(9)}},
		{name: "a start that Close undoes", right: true, history: []porcupine.Operation{
			called(1, 2), didCancel(3, 4, false), didClose(5, 6), quiet(9)}},
		{name: "a start that nobody undoes", history: []porcupine.Operation{
			called(1, 2), didCancel(3, 4, false), quiet(9)}},
		{name: "a start that is undone, but the run happens", history: []porcupine.Operation{
			called(1, 2), didCancel(3, 4, false), called(5, 6), didCancel(7, 8, true), called(9, 10), started(1, 0, 11),
			saw(4, glance{}), didClose(12, 13), ended(1, 14), quiet(15)}},

		{name: "Shutdown runs the pending calls", right: true, history: []porcupine.Operation{
			called(1, 2), at(3, 8, request{kind: draining}, firstRun), at(3, 8, request{kind: drained}, firstRun),
			started(1, 0, 4), called(5, 6), ended(1, 7), know(8, request{kind: heardRun, run: 1}), quiet(8)}},
		{name: "Shutdown does not wait for the pending run", history: []porcupine.Operation{
			called(1, 2), at(3, 4, request{kind: draining}, answer{}), at(3, 4, request{kind: drained}, answer{}),
			started(1, 0, 5), ended(1, 7), quiet(9)}},
		{name: "a run for a call after Shutdown", history: []porcupine.Operation{
			at(1, 2, request{kind: draining}, answer{}), at(1, 2, request{kind: drained}, answer{}),
			called(3, 4), started(1, 0, 5), ended(1, 7), quiet(9)}},

		{name: "a pause holds a call up", right: true, history: []porcupine.Operation{
			didPause(1, 2), called(3, 4), saw(5, glance{pending: true, paused: true}), didResume(6, 7), started(1, 0, 8), ended(1, 9), quiet(10)}},
		{name: "a run for a call during a pause", history: []porcupine.Operation{
			didPause(1, 2), called(3, 4), started(1, 0, 5), ended(1, 6), didResume(7, 8), quiet(10)}},
		{name: "a run for a call before a pause", history: []porcupine.Operation{
			called(1, 2), didPause(3, 4), saw(5, glance{pending: true, paused: true}), started(1, 0, 6), ended(1, 7), didResume(8, 9), quiet(10)}},
		{name: "a run enters that started before a pause", right: true, history: []porcupine.Operation{
			called(1, 2), didPause(3, 4), started(1, 0, 5), ended(1, 6), quiet(10)}},
		{name: "a call during a pause is lost", history: []porcupine.Operation{
			didPause(1, 2), called(3, 4), didResume(5, 6), quiet(10)}},
		{name: "Stats omits the pause", history: []porcupine.Operation{
			didPause(1, 2), saw(3, glance{}), didResume(4, 5), quiet(10)}},
		{name: "Shutdown during a pause drops", right: true, history: []porcupine.Operation{
			didPause(1, 2), at(3, 8, request{kind: do}, answer{outcome: paused}), saw(4, glance{pending: true, paused: true}),
			at(5, 7, request{kind: draining}, answer{outcome: paused}), at(5, 7, request{kind: drained}, answer{outcome: paused}),
			know(9, request{kind: heardPaused}), quiet(10)}},
		{name: "Shutdown during a pause runs the pending calls", history: []porcupine.Operation{
			didPause(1, 2), called(3, 4), at(5, 8, request{kind: draining}, firstRun), at(5, 8, request{kind: drained}, firstRun),
			started(1, 0, 6), ended(1, 7), quiet(10)}},
		{name: "a pause drops what Shutdown waits for", right: true, history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), called(4, 5), at(6, 10, request{kind: draining}, answer{outcome: paused}),
			at(6, 10, request{kind: drained}, answer{outcome: paused}), didPause(7, 8), ended(1, 9), know(10, request{kind: heardPaused}), quiet(11)}},
		{name: "ErrPaused without a pause", history: []porcupine.Operation{
			called(1, 2), at(3, 4, request{kind: draining}, answer{outcome: paused}), at(3, 4, request{kind: drained}, answer{outcome: paused}),
			know(5, request{kind: heardPaused}), quiet(10)}},
		{name: "ErrPaused after the pause", history: []porcupine.Operation{
			didPause(1, 2), called(3, 4), saw(5, glance{pending: true, paused: true}), didResume(6, 7),
			at(8, 9, request{kind: draining}, answer{outcome: paused}), at(8, 9, request{kind: drained}, answer{outcome: paused}), quiet(10)}},

		{name: "Wait waits for the active run", right: true, history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), at(4, 6, request{kind: wait}, firstRun), ended(1, 5), know(6, request{kind: heardRun, run: 1}), quiet(9)}},
		{name: "Wait returns before the run has ended", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), at(4, 5, request{kind: wait}, firstRun), know(5, request{kind: heardRun, run: 1}), ended(1, 6), quiet(9)}},
		{name: "Wait does not wait for the active run", history: []porcupine.Operation{
			called(1, 2), started(1, 0, 3), at(4, 5, request{kind: wait}, answer{outcome: nothing}), ended(1, 6), quiet(9)}},
		{name: "Wait does not wait for the pending run", right: true, history: []porcupine.Operation{
			called(1, 2), at(3, 4, request{kind: wait}, answer{outcome: nothing}), saw(5, glance{pending: true}), started(1, 0, 6), ended(1, 7), quiet(9)}},
		{name: "Wait after Close", history: []porcupine.Operation{
			didClose(1, 2), at(3, 4, request{kind: wait}, answer{outcome: nothing}), quiet(9)}},

		{name: "Stats", right: true, history: []porcupine.Operation{
			saw(1, glance{}), called(2, 3), saw(4, glance{pending: true}), started(1, 0, 6), saw(7, glance{runs: 1, running: true}),
			ended(1, 8), saw(9, glance{runs: 1}), quiet(9)}},
		{name: "Stats omits the pending calls", history: []porcupine.Operation{
			called(2, 3), saw(4, glance{}), started(1, 0, 6), ended(1, 8), quiet(9)}},
		{name: "Stats omits the active run", history: []porcupine.Operation{
			called(2, 3), started(1, 0, 4), saw(5, glance{runs: 1}), ended(1, 8), quiet(9)}},
		{name: "Stats forgets a run", history: []porcupine.Operation{
			called(2, 3), started(1, 0, 4), ended(1, 5), know(6, request{kind: heardRun, run: 1}), saw(7, glance{}), quiet(9)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := model{leadingOnly: test.leadingOnly, undoes: true}
			result, info := porcupine.CheckOperationsVerbose(m.forPorcupine(), test.history, checkTimeout)
			if right := result == porcupine.Ok; right != test.right || result == porcupine.Unknown {
				t.Errorf("linearizable: %s, want %t\n%s", result, test.right, timeline(test.history, info))
			}
		})
	}
}
