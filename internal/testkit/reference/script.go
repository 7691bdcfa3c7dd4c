package reference

import (
	"fmt"
	"time"
)

// A Script is what the callback does in one run.
type Script struct {
	Length       time.Duration
	HeedsContext bool          // it returns when its context ends
	Early, Late  Act           // what it does first, and last
	Outcome      Outcome       // how it ends
	RetryIn      time.Duration // what it asks for, if that is its outcome
}

// An Outcome is how the callback ends.
type Outcome int

// The outcomes.
const (
	OutcomeSuccess Outcome = iota
	OutcomeError
	OutcomePanicsWithError
	OutcomePanicsWithText
	OutcomePanicsWithNil
	OutcomeGoexit
	OutcomeRetryIn
	OutcomeWrappedRetryIn
)

const outcomes = int(OutcomeWrappedRetryIn) + 1 // how many there are

// Succeeds reports whether the callback returns nil.
func (o Outcome) Succeeds() bool { return o == OutcomeSuccess }

// AsksRetry reports whether the callback returns a RetryIn.
func (o Outcome) AsksRetry() bool { return o == OutcomeRetryIn || o == OutcomeWrappedRetryIn }

func (o Outcome) panics() bool {
	return o == OutcomePanicsWithError || o == OutcomePanicsWithText || o == OutcomePanicsWithNil
}

func (o Outcome) String() string {
	return [outcomes]string{
		"returns nil", "returns an error", "panics with an error", "panics with a text", "panics with nil",
		"calls Goexit", "returns RetryIn", "returns a wrapped RetryIn",
	}[o]
}

// An Act is a method that the callback calls on its own throttler.
type Act int

// The acts.
const (
	ActNone Act = iota
	ActCall
	ActCallWithin // of ActWithin
	ActCancel
	ActSetSamePolicy
	ActClose
	ActDo // with the run's own context, as are the next two
	ActFlush
	ActShutdown
	ActPause
	ActResume
	ActWait // with the run's own context
)

const acts = int(ActWait) + 1

// ActWithin is what the callback passes to CallWithin.
const ActWithin = 10 * time.Millisecond

func (a Act) String() string {
	return [acts]string{
		"nothing", "Call", "CallWithin", "Cancel", "SetPolicy(Policy())", "Close", "Do", "Flush", "Shutdown",
		"Pause", "Resume", "Wait",
	}[a]
}

func (s Script) String() string {
	text := fmt.Sprintf("%v after %v", s.Outcome, s.Length)
	if s.Outcome.AsksRetry() {
		text += fmt.Sprintf(" (%v)", s.RetryIn)
	}
	if s.HeedsContext {
		text += " or when its context ends"
	}
	if s.Early != ActNone {
		text += fmt.Sprintf(", begins with %v", s.Early)
	}
	if s.Late != ActNone {
		text += fmt.Sprintf(", ends with %v", s.Late)
	}
	return text
}

// verdict is how the error of run number n reads.
func (s Script) verdict(n int) string {
	switch s.Outcome {
	case OutcomeSuccess:
		return verdictNil
	case OutcomePanicsWithNil:
		return verdictNilPanic
	case OutcomeGoexit:
		return verdictGoexit
	case OutcomeRetryIn, OutcomeWrappedRetryIn:
		return verdictRetryIn
	case OutcomeError, OutcomePanicsWithError, OutcomePanicsWithText:
	}
	return verdictOfRun(n, s.Outcome.panics())
}
