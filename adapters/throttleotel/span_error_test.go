package throttleotel_test

import (
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

func TestTelemetry_SpanOfFailure(t *testing.T) {
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

func TestTelemetry_SpanOfPanic(t *testing.T) {
	span, err := spanOf(t, burst, throttle.WithName("pipe"))
	var panicked *throttle.PanicError
	require.ErrorAs(t, err, &panicked)
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

func TestTelemetry_SpanOfGoexit(t *testing.T) {
	span, err := spanOf(t, runtime.Goexit)
	require.ErrorIs(t, err, throttle.ErrGoexit)
	require.Equal(t, sdktrace.Status{Code: codes.Error, Description: throttle.ErrGoexit.Error()}, span.Status)
}

func TestTelemetry_SpanOfRetryIn(t *testing.T) {
	span, err := spanOf(t, func() error { return throttle.RetryIn(time.Hour) })
	require.Error(t, err)
	require.Equal(t, sdktrace.Status{}, span.Status)
	require.Empty(t, span.Events)
	require.Contains(t, span.Attributes, attribute.String("throttle.result", "retry_in"))
}

// An error whose methods panic must not end the process.
func TestTelemetry_SpanOfPanickingError(t *testing.T) {
	for _, test := range []struct {
		name, message, kind string
		err                 error
	}{
		{"Error of nil", "<nil>", "*throttleotel_test.hollowError", (*hollowError)(nil)},
		{"ErrorType of nil", "<nil>", "*throttleotel_test.hollowTypedError", (*hollowTypedError)(nil)},
		{"As of a cause", "wrap: it", "*fmt.wrapError", fmt.Errorf("wrap: %w", hostileError{})},
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

// A hollowError panics if it is nil. Such errors are often returned by mistake.
type hollowError struct{ text string }

func (e *hollowError) Error() string { return e.text }

// A hollowTypedError also names its type.
type hollowTypedError struct{ text, kind string }

func (e *hollowTypedError) Error() string     { return e.text }
func (e *hollowTypedError) ErrorType() string { return e.kind }

// A hostileError panics when errors.As looks for a PanicError.
type hostileError struct{}

func (hostileError) Error() string { return "it" }

func (hostileError) As(target any) bool {
	if _, ok := target.(**throttle.PanicError); ok {
		panic("no panic")
	}
	return false
}

func TestTelemetry_SpanErrorType(t *testing.T) {
	span, err := spanOf(t, func() error {
		return fmt.Errorf("wrap: %w", &hollowTypedError{text: "timeout", kind: "ETIMEDOUT"})
	})
	require.Error(t, err)
	require.Contains(t, span.Attributes, attribute.String("error.type", "ETIMEDOUT"))
}
