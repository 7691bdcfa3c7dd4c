package throttledebug

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/throttle-go/throttle"
)

// The functions in this file make text from values of the program, whose methods may panic.

// The greatest sizes of texts, in bytes.
const (
	textLimit  = 1 << 10
	stackLimit = 16 << 10
)

const causeLimit = 16 // causes of an error, whose chain may have a cycle

// text returns v as fmt.Sprint prints it, cut off if it is long.
func text(v any) (s string) {
	// fmt recovers the panic of a method. It does not recover a second panic while it prints
	// the value of the first one.
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("%T, which cannot be shown", v)
		}
	}()
	return cut(fmt.Sprint(v), textLimit)
}

// keyText returns a key as text. For a pointer without a method such as String it returns
// the address. It does not read what the pointer points to, which may be changing.
func keyText(key any) string {
	switch key.(type) {
	case fmt.Formatter, fmt.Stringer, error:
		return text(key)
	}
	if reflect.ValueOf(key).Kind() == reflect.Pointer {
		return fmt.Sprintf("%p", key)
	}
	return text(key)
}

// cut returns s as valid UTF-8. If it is longer than limit bytes, the end is replaced by an
// ellipsis.
func cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	if len(s) <= limit {
		return s
	}
	for i := 1; i < utf8.UTFMax && !utf8.RuneStart(s[limit]); i++ {
		limit--
	}
	return s[:limit] + "…"
}

// typeOf returns the Go type of err.
func typeOf(err error) string { return cut(fmt.Sprintf("%T", err), textLimit) }

// describe returns err as a Failure; nil for nil.
func describe(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Message: text(err), Type: typeOf(err)}
	f.look(err)
	return f
}

// isRetryIn reports whether err is a RetryIn, which is not a failure.
func isRetryIn(err error) (is bool) {
	defer func() {
		if recover() != nil {
			is = false
		}
	}()
	if _, panicked := err.(*throttle.PanicError); panicked { //nolint:errorlint // a panic is a failure even if its value wraps a RetryIn
		return false
	}
	var retry *throttle.RetryError
	return errors.As(err, &retry)
}

// look adds the stack of err and the errors that it wraps.
func (f *Failure) look(err error) {
	if panicked, ok := err.(*throttle.PanicError); ok && panicked != nil && f.Stack == "" { //nolint:errorlint // look visits each wrapped error
		f.Stack = cut(string(panicked.Stack), stackLimit)
	}
	for _, cause := range unwrap(err) {
		if cause == nil || len(f.Causes) == causeLimit {
			continue
		}
		f.Causes = append(f.Causes, Cause{Message: text(cause), Type: typeOf(cause)})
		f.look(cause)
	}
}

// unwrap returns the errors that err wraps directly.
func unwrap(err error) (causes []error) {
	defer func() {
		if recover() != nil {
			causes = nil
		}
	}()
	switch err := err.(type) { //nolint:errorlint // it asks this error, not those it wraps
	case interface{ Unwrap() error }:
		return []error{err.Unwrap()}
	case interface{ Unwrap() []error }:
		return err.Unwrap()
	default:
		return nil
	}
}
