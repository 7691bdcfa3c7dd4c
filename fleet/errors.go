package fleet

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrEngineUnavailable matches, through errors.Is, an [*EngineError] whose store could
	// not be reached or did not answer in time. It does not match if the store has answered
	// with an error, such as one that it is out of memory.
	ErrEngineUnavailable = errors.New("throttle: engine unavailable")

	// ErrNotDurable matches, through errors.Is, an [*EngineError] whose store may lose its
	// state according to its configuration, unless the engine was told to accept that. The
	// store grants no run.
	ErrNotDurable = errors.New("throttle: store is not durable")

	// ErrOutcomeUnknown is returned by Do when a run that covers the call has ended, but
	// its outcome is not known: the store has lost it, or the outcome of a later run has
	// replaced it.
	ErrOutcomeUnknown = errors.New("throttle: outcome of the run is unknown")

	// ErrLeaseLost is the cause of a run's canceled context when the run's lease may have
	// ended: the store could not be reached in time to renew it, or has lost it. Another
	// replica may be running by now. Only the token, see [Token], keeps this run from
	// overwriting what the other run wrote.
	ErrLeaseLost = errors.New("throttle: lease lost")

	// ErrLate is the error of a grant that came too late to enter the callback: more time
	// than the guard, see [WithGuard], had passed since its claim was sent. The replica
	// gives the grant back and keeps the calls. The error handler and tracers receive
	// ErrLate. Do and observers do not, as there was no run.
	ErrLate = errors.New("throttle: grant came too late")
)

// A namedError is one of the variables here or in package throttle, with the throttler's
// name in its text.
type namedError struct {
	name string
	err  error
}

func (e *namedError) Error() string {
	if e.name == "" {
		return e.err.Error()
	}
	const prefix = "throttle: "
	return prefix + e.name + ": " + strings.TrimPrefix(e.err.Error(), prefix)
}

func (e *namedError) Unwrap() error { return e.err }

// An EngineError reports that an operation of the store failed. The throttler keeps the
// call and repeats the operation. When several attempts in a row fail, the error handler
// receives the error of the first. If the context of a Do ends meanwhile, the error of that
// Do wraps the error of the last.
type EngineError struct {
	Op  string // "claim", "finish" or "renew"
	Key string
	Err error // error of the engine
}

func (e *EngineError) Error() string {
	return fmt.Sprintf("throttle: %s: %s: %v", e.Key, e.Op, e.Err)
}

// Unwrap returns Err.
func (e *EngineError) Unwrap() error { return e.Err }

// Unreachable returns err as an error that matches [ErrEngineUnavailable]. An [Engine] returns
// it if the store could not be reached, or has not answered in time. It is nil if err is.
func Unreachable(err error) error {
	if err == nil {
		return nil
	}
	return &unreachableError{err}
}

// An unreachableError is what Unreachable returns.
type unreachableError struct{ err error }

func (e *unreachableError) Error() string        { return e.err.Error() }
func (e *unreachableError) Unwrap() error        { return e.err }
func (e *unreachableError) Is(target error) bool { return target == ErrEngineUnavailable }

// A StateError reports that the state that the store has for a key was not written by an
// engine, or was written by a version that this one does not know. The engine changes
// nothing. An operator must remove the state.
type StateError struct {
	Key    string
	Reason string
}

func (e *StateError) Error() string {
	return fmt.Sprintf("throttle: %s: stored state is not valid: %s", e.Key, e.Reason)
}

// A MismatchError reports that another replica has a different policy for the key. The
// fleet continues to work: each grant is followed by the spacing of the replica that
// received it. The error handler receives a MismatchError once, and again whenever the
// other policy changes.
type MismatchError struct {
	Key   string
	Own   string // this replica's policy, lease and guard
	Other string // those of the replica that had the previous grant
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("throttle: %s: this replica's policy is %q, another's is %q", e.Key, e.Own, e.Other)
}

// A RemoteError is returned by Do when the run that covers the call failed in another
// replica. It carries only the text of the error: errors.Is does not match what the
// callback returned there.
type RemoteError struct {
	Token   int64 // of the run
	Message string
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("throttle: run %d of another replica failed: %s", e.Token, e.Message)
}
