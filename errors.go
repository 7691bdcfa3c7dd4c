package throttle

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// All errors of the package. Tell them apart with errors.Is and errors.As; their text
// is for people.
var (
	// ErrClosed is returned by Do, Flush, Wait and SetPolicy on a closed Throttler. Do and
	// SetPolicy return it as soon as Shutdown has begun. Do, Flush and Shutdown
	// return it if Close dropped what they waited for. The Call, CallWithin and Send of
	// a Group or Coalescer return it when Do does.
	// If the end of the parent context closed the Throttler, the error also wraps
	// the context's cause.
	ErrClosed = errors.New("throttle: closed")

	// ErrCanceled is returned by Do, Flush and Shutdown if Cancel dropped what they
	// waited for.
	ErrCanceled = errors.New("throttle: call canceled")

	// ErrThrottled is what errors.Is finds in a [*ThrottledError].
	ErrThrottled = errors.New("throttle: call dropped inside the window")

	// ErrGoexit is the error of a run whose callback ended its goroutine with
	// runtime.Goexit, as t.FailNow does in a test.
	ErrGoexit = errors.New("throttle: callback called runtime.Goexit")

	// ErrTooManyKeys is returned by the calls of a Group or KeyedCoalescer if the key is
	// new and it already holds as many keys as [WithMaxKeys] allows. The call
	// had no effect.
	ErrTooManyKeys = errors.New("throttle: too many keys")

	// ErrReentrant is returned by Do, Flush, Wait and Shutdown if their context is the
	// active run's own or derived from it: they would wait for themselves. So it is by
	// Send, if there is no room. The method had no effect.
	ErrReentrant = errors.New("throttle: callback would wait for itself")

	// ErrPaused is returned by a Shutdown that dropped what was pending because the
	// Throttler or Group was paused, and by whoever waited for that. errors.Is finds
	// ErrClosed in it too.
	ErrPaused = errors.New("throttle: paused")

	// ErrFull is returned by Call and CallWithin of a [Coalescer] or [KeyedCoalescer] if
	// as many calls wait as [WithMaxPending] allows. The call had no effect.
	ErrFull = errors.New("throttle: too many values wait")

	// ErrUndecided is the reason why the Shutdown of a [Coalescer] or [KeyedCoalescer]
	// reports a value as lost if its ctx ended while a run still had that value. It may
	// yet be delivered. If not, the error handler gets a [*LostError].
	ErrUndecided = errors.New("throttle: a run still has the value")
)

// detailed returns an error with the text of sentinel, one of the variables above,
// plus the Throttler's name and the cause, where there are any. errors.Is finds both
// sentinel and cause in it.
func detailed(sentinel error, name string, cause error) error {
	if name == "" && cause == nil {
		return sentinel
	}
	return &detailedError{sentinel: sentinel, name: name, cause: cause}
}

type detailedError struct {
	sentinel error
	name     string
	cause    error // nil if there is none
}

func (e *detailedError) Error() string {
	text := prefix(e.name) + e.sentinel.Error()[len(prefix("")):]
	if e.cause != nil {
		text += ": " + strings.TrimPrefix(e.cause.Error(), prefix(""))
	}
	return text
}

// Is and Unwrap make it one error. With an Unwrap that returns two, whoever walks a
// joined error would take it for a list.
func (e *detailedError) Is(target error) bool { return target == e.sentinel }
func (e *detailedError) Unwrap() error        { return e.cause }

// prefix returns the beginning of every message of the package.
func prefix(name string) string {
	if name == "" {
		return "throttle: "
	}
	return "throttle: " + name + ": "
}

// A ThrottledError says that a call was dropped: the policy has no trailing edge and
// the call came inside the window. Do returns it, and so do a Coalescer's Call,
// CallWithin and Send. errors.Is(err, ErrThrottled) is true for it.
type ThrottledError struct {
	Name       string        // of the Throttler, if it has one
	RetryAfter time.Duration // after which a call would run at once; 0 if only an active run stands in its way
}

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%scall dropped inside the window, retry after %v", prefix(e.Name), e.RetryAfter)
}

// Is reports whether target is [ErrThrottled].
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

// A PanicError is the error of a run whose callback panicked. The Throttler recovers
// the panic and works on. To crash instead, panic again in the error handler.
type PanicError struct {
	Value any    // the argument of panic
	Stack []byte // of the panicking goroutine, as runtime/debug.Stack formats it

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

// A PolicyError reports one problem with a [Policy], a callback or an [Option].
// Nothing was built or changed. If there are several problems, errors.Join joins
// them.
type PolicyError struct {
	Field  string // the field's name ("Interval", "Retry.Max"), the option's ("WithContext"), "callback" or "merge"
	Value  any    // what it was set to
	Reason string // what is wrong with that

	name string
}

func (e *PolicyError) Error() string {
	return fmt.Sprintf("%s%s %v: %s", prefix(e.name), e.Field, e.Value, e.Reason)
}

// A LostError reports a batch that a [Coalescer] or [KeyedCoalescer] will not deliver any
// more: its run failed and is not repeated, or Close or the end of the parent context
// dropped it. Everyone who waits for the batch gets the error; if nobody waits, the error
// handler does. Shutdown also reports so a batch that may yet be delivered, see
// [ErrUndecided].
type LostError struct {
	Value any   // of the Coalescer's type A: a batch, or what Unfinished left of it
	Err   error // why: the run's error, or ErrClosed

	name string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%svalue lost: %v", prefix(e.name), e.Err)
}

// Unwrap returns Err.
func (e *LostError) Unwrap() error { return e.Err }

// A KeyError says which key of a [Group] or [KeyedCoalescer] an error belongs to. The error handler and
// the default log get it, and Shutdown and Wait join one for each key. Do and Flush
// return Err itself.
type KeyError struct {
	Key any
	Err error

	name string
}

func (e *KeyError) Error() string {
	start := prefix(e.name)
	return fmt.Sprintf("%skey %v: %s", start, e.Key, strings.TrimPrefix(e.Err.Error(), start))
}

// Unwrap returns Err.
func (e *KeyError) Unwrap() error { return e.Err }

// A RetryError is returned by a callback to ask for another run: see [RetryIn].
type RetryError struct {
	In time.Duration // from the end of the run; a negative value counts as 0
}

func (e *RetryError) Error() string {
	return fmt.Sprintf("%sretry in %v", prefix(""), e.In)
}

// RetryIn returns an error by which a callback asks to run again d after its end, for
// example to obey a server's Retry-After. Such a run has neither succeeded nor failed:
// whoever waits for it gets the error, but the error handler and the log do not. The
// window closes for d, whatever [Backoff] says, and a run is due at its end.
//
// The callback may wrap the error to say why. Do, Flush, Wait and Shutdown wrap it once
// more: errors.As still finds it, but if another callback returns it, that callback has
// failed, as with any other error.
func RetryIn(d time.Duration) error { return &RetryError{In: d} }

// Unfinished returns an error for the callback of a [Coalescer] or [KeyedCoalescer] to
// return when it has delivered a part of its batch: rest is what is left to do, and err
// says why. The run has failed, even if err is nil. If the policy repeats it, the next
// run takes rest and not the whole batch; otherwise rest is lost. rest counts as many
// calls, and weighs as much, as the whole batch. err may contain a [RetryIn].
//
// The callback may wrap the error. Like RetryIn, it has no effect on another callback
// that returns it from Do. A rest that is not of the Coalescer's type changes nothing:
// the whole batch is repeated or lost, and the error contains a [*PolicyError].
func Unfinished[A any](rest A, err error) error { return &unfinishedError{rest: &rest, err: err} }

type unfinishedError struct {
	rest any   // a pointer: the rest may itself be an interface
	err  error // may be nil
}

func (e *unfinishedError) Error() string {
	if e.err == nil {
		return "throttle: unfinished"
	}
	return "throttle: unfinished: " + e.err.Error()
}

// Unwrap returns the reason.
func (e *unfinishedError) Unwrap() error { return e.err }
