package throttle_test

// This file is what the callback may do in a run, as the reference model knows
// it and the harness has it done.

import (
	"fmt"
	"time"
)

// A modelScript is what the callback does in one run.
type modelScript struct {
	length       time.Duration
	heedsContext bool // returns when its context ends
	early, late  modelAct
	outcome      modelOutcome
	retryIn      time.Duration
}

type modelOutcome int

const (
	outcomeSuccess modelOutcome = iota
	outcomeError
	outcomePanicsWithError
	outcomePanicsWithText
	outcomePanicsWithNil
	outcomeGoexit
	outcomeRetryIn
	outcomeWrappedRetryIn
)

const outcomes = int(outcomeWrappedRetryIn) + 1 // how many there are

func (o modelOutcome) succeeds() bool { return o == outcomeSuccess }

func (o modelOutcome) asksRetry() bool { return o == outcomeRetryIn || o == outcomeWrappedRetryIn }

func (o modelOutcome) panics() bool {
	return o == outcomePanicsWithError || o == outcomePanicsWithText || o == outcomePanicsWithNil
}

func (o modelOutcome) String() string {
	return [outcomes]string{
		"returns nil", "returns an error", "panics with an error", "panics with a text", "panics with nil",
		"calls Goexit", "returns RetryIn", "returns a wrapped RetryIn",
	}[o]
}

// A modelAct is a method that the callback calls on its own throttler.
type modelAct int

const (
	actNone modelAct = iota
	actCall
	actCallWithin
	actCancel
	actSetSamePolicy
	actClose
	actDo // with the run's own context, as are the next two
	actFlush
	actShutdown
)

const acts = int(actShutdown) + 1

const actWithin = 10 * time.Millisecond

func (a modelAct) String() string {
	return [acts]string{
		"nothing", "Call", "CallWithin", "Cancel", "SetPolicy(Policy())", "Close", "Do", "Flush", "Shutdown",
	}[a]
}

func (s modelScript) String() string {
	text := fmt.Sprintf("%v after %v", s.outcome, s.length)
	if s.outcome.asksRetry() {
		text += fmt.Sprintf(" (%v)", s.retryIn)
	}
	if s.heedsContext {
		text += " or when its context ends"
	}
	if s.early != actNone {
		text += fmt.Sprintf(", begins with %v", s.early)
	}
	if s.late != actNone {
		text += fmt.Sprintf(", ends with %v", s.late)
	}
	return text
}

// verdict is how the error of run number n reads.
func (s modelScript) verdict(n int) string {
	switch s.outcome {
	case outcomeSuccess:
		return verdictNil
	case outcomePanicsWithNil:
		return verdictNilPanic
	case outcomeGoexit:
		return verdictGoexit
	case outcomeRetryIn, outcomeWrappedRetryIn:
		return verdictRetryIn
	case outcomeError, outcomePanicsWithError, outcomePanicsWithText:
	}
	return verdictOfRun(n, s.outcome.panics())
}
