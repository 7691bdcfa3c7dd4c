package throttledebug

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/throttle-go/throttle"
)

// This file makes text from values of the program, whose methods may panic.

// The most bytes of a text.
const (
	textLimit  = 1 << 10
	stackLimit = 16 << 10
)

const causeLimit = 16 // causes of an error; a chain may lead back into itself

// text returns v as fmt.Sprint does.
func text(v any) (s string) {
	// fmt recovers the panic of a method, but not if the panic's value has such
	// a method in turn.
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("%T, which cannot be shown", v)
		}
	}()
	return cut(fmt.Sprint(v), textLimit)
}

// keyText returns a key as text. A pointer without a method for that is shown as
// the address that it is compared by: what it points at may be changing.
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

// cut returns s as valid UTF-8 that is not much longer than limit.
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

// typeOf returns err's type in Go.
func typeOf(err error) string { return cut(fmt.Sprintf("%T", err), textLimit) }

// describe returns what is shown of err, nil for nil.
func describe(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Message: text(err), Type: typeOf(err)}
	f.look(err)
	return f
}

// isRetryIn reports whether err says when to come again, which is no failure.
func isRetryIn(err error) (is bool) {
	defer func() {
		if recover() != nil {
			is = false
		}
	}()
	if _, panicked := err.(*throttle.PanicError); panicked { //nolint:errorlint // what it wraps was not returned
		return false
	}
	_, is = errors.AsType[*throttle.RetryError](err)
	return is
}

// look adds err's stack and the causes below it.
func (f *Failure) look(err error) {
	if panicked, ok := err.(*throttle.PanicError); ok && panicked != nil && f.Stack == "" { //nolint:errorlint // each error is looked at
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

// unwrap returns what err wraps.
func unwrap(err error) (causes []error) {
	defer func() {
		if recover() != nil {
			causes = nil
		}
	}()
	switch err := err.(type) { //nolint:errorlint // it is the error itself that wraps others
	case interface{ Unwrap() error }:
		return []error{err.Unwrap()}
	case interface{ Unwrap() []error }:
		return err.Unwrap()
	default:
		return nil
	}
}
