package fleet

import (
	"errors"
	"fmt"
	"strings"
)

// This file holds every error of the package, beside those of package throttle.

var (
	// ErrEngineUnavailable is what errors.Is finds in a [*EngineError] if the store could
	// not be reached, or did not answer in time.
	ErrEngineUnavailable = errors.New("throttle: engine unavailable")

	// ErrNotDurable is what errors.Is finds in a [*EngineError] if the store could lose
	// what it was told, by its configuration, and the engine was not told that this is
	// fine. No run is granted.
	ErrNotDurable = errors.New("throttle: store is not durable")

	// ErrOutcomeUnknown is returned by Do when a run that covers the call has ended, but
	// what became of it is not known: the store has forgotten it, or a later
	// run's outcome has replaced it.
	ErrOutcomeUnknown = errors.New("throttle: outcome of the run is unknown")

	// ErrLeaseLost is the cause of a run's context that was cancelled as its lease may be
	// over: the store could not be reached in time to prolong it, or has lost it. Another
	// replica may run by now. Only the token, see [Token], keeps what this run writes
	// from overwriting what that one wrote.
	ErrLeaseLost = errors.New("throttle: lease lost")

	// ErrLate is the error of a run whose callback was not entered, as too much time had
	// passed since its claim was sent: more than the guard, see [WithGuard]. The grant was
	// given back, and the calls are kept. The error handler and tracers receive it; Do and
	// observers do not, as there was no run.
	ErrLate = errors.New("throttle: grant came too late")
)

// A namedError is an error of the variables here, or of package throttle's, with the
// throttler's name in its text.
type namedError struct {
	name string
	err  error
}

func (e *namedError) Error() string {
	const prefix = "throttle: "
	return prefix + e.name + ": " + strings.TrimPrefix(e.err.Error(), prefix)
}

func (e *namedError) Unwrap() error { return e.err }

// An EngineError says that an operation of the store failed. The call is kept and the
// operation repeated. The error handler receives the first of a row; Do's error wraps
// the last, if its context ends meanwhile.
type EngineError struct {
	Op  string // "claim", "finish", "renew"
	Key string
	Err error // what the engine said
}

func (e *EngineError) Error() string {
	return fmt.Sprintf("throttle: %s: %s: %v", e.Key, e.Op, e.Err)
}

// Unwrap returns Err.
func (e *EngineError) Unwrap() error { return e.Err }

// Is reports whether target is [ErrEngineUnavailable] and the store could not be
// reached.
func (e *EngineError) Is(target error) bool {
	if target != ErrEngineUnavailable || errors.Is(e.Err, ErrNotDurable) {
		return false
	}
	_, reached := errors.AsType[*StateError](e.Err)
	return !reached
}

// A StateError says that the store holds something for a key that no engine has
// written there, or that a version has written which this one does not know. Nothing
// was changed; it is for an operator to remove.
type StateError struct {
	Key    string
	Reason string
}

func (e *StateError) Error() string {
	return fmt.Sprintf("throttle: %s: stored state is not valid: %s", e.Key, e.Reason)
}

// A MismatchError says that another replica's policy for the key is not this one's.
// Each grant is followed by the spacing of the policy it was asked for with, so that
// the fleet works on; the error handler receives this once, and again when the other
// policy changes.
type MismatchError struct {
	Key   string
	Own   string // this replica's policy, lease and guard
	Other string // that of the grant before
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("throttle: %s: policy is %q, and %q at another replica", e.Key, e.Own, e.Other)
}

// A RemoteError is returned by Do when another replica's run, which covers the call,
// failed. It is a text: errors.Is does not find what the callback returned there.
type RemoteError struct {
	Token   int64 // of the run
	Message string
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("throttle: run %d of another replica failed: %s", e.Token, e.Message)
}
