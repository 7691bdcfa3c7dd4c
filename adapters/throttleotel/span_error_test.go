package throttleotel_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/throttle-go/throttle"
)

// This file holds what spans tell of runs that fail.

func TestSpanOfAFailedRunTellsTheError(t *testing.T) {
	wrapped := fmt.Errorf("write snapshot: %w", errFailed)
	span, err := spanOf(t, func() error {
		time.Sleep(25 * ms)
		return wrapped
	})
	require.Equal(t, wrapped, err)
	require.Equal(t, sdktrace.Status{Code: codes.Error, Description: "write snapshot: disk full"}, span.Status)
	require.Contains(t, span.Attributes, attribute.String("throttle.result", "failure"))
	require.Contains(t, span.Attributes, attribute.String("error.type", "*errors.errorString"))
	require.Len(t, span.Events, 1)
	require.Equal(t, "exception", span.Events[0].Name)
	require.Equal(t, span.EndTime, span.Events[0].Time)
	require.ElementsMatch(t, []attribute.KeyValue{
		attribute.String("exception.type", "*fmt.wrapError"),
		attribute.String("exception.message", "write snapshot: disk full"),
	}, span.Events[0].Attributes)
}

func TestSpanOfAPanicTellsItsStack(t *testing.T) {
	span, err := spanOf(t, burst, throttle.WithName("pipe"))
	panicked, ok := errors.AsType[*throttle.PanicError](err)
	require.True(t, ok)
	require.Equal(t, sdktrace.Status{Code: codes.Error, Description: "throttle: pipe: callback panicked: oh"}, span.Status)
	require.Contains(t, span.Attributes, attribute.String("throttle.result", "panic"))
	require.Contains(t, span.Attributes, attribute.String("error.type", "*throttle.PanicError"))
	require.Len(t, span.Events, 1)
	require.ElementsMatch(t, []attribute.KeyValue{
		attribute.String("exception.type", "*throttle.PanicError"),
		attribute.String("exception.message", "throttle: pipe: callback panicked: oh"),
		attribute.String("exception.stacktrace", string(panicked.Stack)),
	}, span.Events[0].Attributes)
	require.Contains(t, string(panicked.Stack), "throttleotel_test.burst")
}

func burst() { panic("oh") }

func TestSpanOfAnEndedGoroutineTellsSo(t *testing.T) {
	span, err := spanOf(t, runtime.Goexit)
	require.ErrorIs(t, err, throttle.ErrGoexit)
	require.Equal(t, sdktrace.Status{Code: codes.Error, Description: throttle.ErrGoexit.Error()}, span.Status)
}

func TestRetryInIsNoError(t *testing.T) {
	span, err := spanOf(t, func() error { return throttle.RetryIn(time.Hour) })
	require.Error(t, err)
	require.Equal(t, sdktrace.Status{}, span.Status)
	require.Empty(t, span.Events)
	require.Contains(t, span.Attributes, attribute.String("throttle.result", "retry_in"))
}

// Telemetry must not end a process that lives without it.
func TestErrorWhoseMethodsPanicIsTold(t *testing.T) {
	for _, test := range []struct {
		name, message, kind string
		err                 error
	}{
		{"Error, of nil", "<nil>", "*throttleotel_test.hollowError", (*hollowError)(nil)},
		{"ErrorType, of nil", "<nil>", "*throttleotel_test.hollowTypedError", (*hollowTypedError)(nil)},
		{"As, of a cause", "wrap: it", "*fmt.wrapError", fmt.Errorf("wrap: %w", hostileError{})},
	} {
		t.Run(test.name, func(t *testing.T) {
			span, err := spanOf(t, func() error { return test.err })
			require.Equal(t, test.err, err)
			require.Equal(t, sdktrace.Status{Code: codes.Error, Description: test.message}, span.Status)
			require.Contains(t, span.Attributes, attribute.String("error.type", test.kind))
			require.Contains(t, span.Events[0].Attributes, attribute.String("exception.type", fmt.Sprintf("%T", test.err)))
		})
	}
}

// A hollowError panics if it is nil, and is often returned so by mistake.
type hollowError struct{ text string }

func (e *hollowError) Error() string { return e.text }

// A hollowTypedError names its type, too.
type hollowTypedError struct{ text, kind string }

func (e *hollowTypedError) Error() string     { return e.text }
func (e *hollowTypedError) ErrorType() string { return e.kind }

// A hostileError panics if it is asked whether it is a panic.
type hostileError struct{}

func (hostileError) Error() string { return "it" }

func (hostileError) As(target any) bool {
	if _, ok := target.(**throttle.PanicError); ok {
		panic("no panic")
	}
	return false
}

func TestErrorTypeIsWhatTheErrorSays(t *testing.T) {
	span, err := spanOf(t, func() error {
		return fmt.Errorf("wrap: %w", &hollowTypedError{text: "timeout", kind: "ETIMEDOUT"})
	})
	require.Error(t, err)
	require.Contains(t, span.Attributes, attribute.String("error.type", "ETIMEDOUT"))
}
