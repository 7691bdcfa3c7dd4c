package throttle

import (
	"errors"
	"fmt"
	"time"
)

// This file holds every error of the package. Callers tell them apart with
// errors.Is and errors.As; the text is for people.

var (
	// ErrClosed is returned by Do, Flush and SetPolicy on a closed Throttler, by
	// Do and SetPolicy as soon as Shutdown has begun, and by Do, Flush and
	// Shutdown when Close dropped what they waited for. A Group's and a
	// Coalescer's Call and CallWithin return it when Do does.
	// When the parent context closed the Throttler, the error wraps the
	// context's cause too.
	ErrClosed = errors.New("throttle: closed")

	// ErrCanceled is returned by Do, Flush and Shutdown when Cancel dropped
	// what they waited for.
	ErrCanceled = errors.New("throttle: call canceled")

	// ErrThrottled is what errors.Is finds in a [*ThrottledError].
	ErrThrottled = errors.New("throttle: call dropped inside the window")

	// ErrGoexit is the error of a run whose callback ended its goroutine with
	// runtime.Goexit, as t.FailNow does in a test.
	ErrGoexit = errors.New("throttle: callback called runtime.Goexit")

	// ErrTooManyKeys is returned by a Group's Call, CallWithin and Do when the
	// key is new and [WithMaxKeys] are held already. The call had no effect.
	ErrTooManyKeys = errors.New("throttle: too many keys")

	// ErrReentrant is returned by Do, Flush and Shutdown when their context is
	// that of the active run, or derived from it: the wait would be for itself.
	// The method had no effect.
	ErrReentrant = errors.New("throttle: callback would wait for itself")
)

// sentinel returns err, one of the variables above, with the Throttler's name
// in its text and with the cause, where there are such. What it returns
// satisfies errors.Is for both.
func sentinel(err error, name string, cause error) error {
	if name == "" && cause == nil {
		return err
	}
	return &detailedError{sentinel: err, name: name, cause: cause}
}

// A detailedError is a sentinel that also says whose it is and why it came.
type detailedError struct {
	sentinel error
	name     string
	cause    error // nil if there is none
}

func (e *detailedError) Error() string {
	text := prefix(e.name) + e.sentinel.Error()[len(prefix("")):]
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

func (e *detailedError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.sentinel}
	}
	return []error{e.sentinel, e.cause}
}

// prefix is what every message of the package starts with.
func prefix(name string) string {
	if name == "" {
		return "throttle: "
	}
	return "throttle: " + name + ": "
}

// A ThrottledError is returned by Do, and by a Coalescer's Call and CallWithin,
// when the call was dropped, because the policy has no trailing edge and the call
// came inside the window.
// errors.Is(err, ErrThrottled) holds for it.
type ThrottledError struct {
	Name       string        // of the Throttler, if it has one
	RetryAfter time.Duration // at the earliest then a call would run at once; 0 if only an active run is in its way
}

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%scall dropped inside the window, retry after %v", prefix(e.Name), e.RetryAfter)
}

// Is reports whether target is [ErrThrottled].
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

// A PanicError is the error of a run whose callback panicked. The panic is
// recovered and the Throttler works on; an error handler that panics again
// restores the crash that some programs prefer.
type PanicError struct {
	Value any    // what the callback panicked with
	Stack []byte // of the panicking goroutine, as runtime/debug.Stack gives it

	name string
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("%scallback panicked: %v", prefix(e.name), e.Value)
}

// Unwrap returns Value if it is an error, and nil otherwise.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A PolicyError reports one invalid field of a [Policy], an invalid callback or
// an invalid [Option]. Nothing was built or changed. Where several things are
// wrong, all are reported, joined with errors.Join.
type PolicyError struct {
	Field  string // the field's name ("Interval", "Retry.Max"), the option's ("WithContext"), "callback" or "merge"
	Value  any    // what it was set to
	Reason string // what is wrong with that

	name string
}

func (e *PolicyError) Error() string {
	return fmt.Sprintf("%s%s %v: %s", prefix(e.name), e.Field, e.Value, e.Reason)
}

// A LostError reports a value that was handed to a [Coalescer] and that no run
// will deliver any more: its run failed and is not repeated, or Close or the
// parent context's end dropped it. It goes to those who wait for the value, or
// else to the error handler.
type LostError struct {
	Value any   // of the Coalescer's type, merged from all calls the run covered
	Err   error // why: the run's error, or ErrClosed

	name string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%svalue lost: %v", prefix(e.name), e.Err)
}

// Unwrap returns Err.
func (e *LostError) Unwrap() error { return e.Err }

// A RetryError is returned by a callback to ask for another run: see [RetryIn].
type RetryError struct {
	In time.Duration // from the end of the run; negative counts as 0
}

func (e *RetryError) Error() string {
	return fmt.Sprintf("%sretry in %v", prefix(""), e.In)
}

// RetryIn returns an error by which a callback asks to run again d after its
// end, as a server's Retry-After demands. Such a run has neither succeeded nor
// failed: the window closes until then, whatever [Backoff] says, and a run is
// due at its end. The callback may wrap the error to say why. As any error it
// goes to those who wait for the run, or else to the error handler.
func RetryIn(d time.Duration) error { return &RetryError{In: d} }
