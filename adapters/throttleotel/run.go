package throttleotel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/internal/sources"
)

// Trace starts the span of a run and returns a child of ctx that carries it. The span is
// linked to the spans in callers. Call end with the finished run: it ends the span and
// records the metrics of the run.
//
// Pass Trace to [throttle.WithTracer], for any number of throttles. Tell them apart with
// [throttle.WithName]. The metrics of a name stay for as long as the program runs, so
// throttles that come and go should share one. A tracer given after Trace runs inside the
// span.
func (t *Telemetry) Trace(
	ctx context.Context, run throttle.Run, callers []context.Context,
) (traced context.Context, end func(throttle.Run)) {
	started := run.Started
	traced, span := t.tracer.Start(ctx, spanName(run.Name),
		trace.WithTimestamp(started),
		trace.WithAttributes(t.attributes(run)...), // here, like the links, so that samplers see them
		trace.WithLinks(links(callers)...))
	return traced, func(run throttle.Run) {
		t.measure(traced, run)
		finish(span, started, run)
	}
}

// spanName returns a name of low cardinality: one for each name of a throttle.
func spanName(name string) string {
	if name == "" {
		return "throttle.run"
	}
	return "throttle.run " + sources.Valid(name)
}

// attributes returns the attributes that a span has from its start.
func (t *Telemetry) attributes(run throttle.Run) []attribute.KeyValue {
	attributes := append(make([]attribute.KeyValue, 0, 6),
		text(causeKey, string(run.Cause)), attemptKey.Int(run.Attempt))
	if run.Name != "" {
		attributes = append(attributes, text(nameKey, run.Name))
	}
	if run.Calls > 0 {
		attributes = append(attributes, callsKey.Int64(number(run.Calls)))
	}
	if !run.Asked.IsZero() {
		attributes = append(attributes, waitKey.Float64(run.Started.Sub(run.Asked).Seconds()))
	}
	if t.withKeys && run.Key != nil {
		attributes = append(attributes, text(groupKey, fmt.Sprint(run.Key)))
	}
	return attributes
}

// links returns one link to each span in callers.
func links(callers []context.Context) []trace.Link {
	var links []trace.Link
	for _, caller := range callers {
		link := trace.LinkFromContext(caller)
		same := func(other trace.Link) bool { return other.SpanContext.Equal(link.SpanContext) }
		if link.SpanContext.IsValid() && !slices.ContainsFunc(links, same) {
			links = append(links, link)
		}
	}
	return links
}

// finish ends the span of a finished run. started is the start time of the span.
func finish(span trace.Span, started time.Time, run throttle.Run) {
	// If the wall clock was stepped during the run, run.Started differs from started, and
	// run.Ended may be before the start of the span. The duration is right all the same.
	ended := started.Add(run.Ended.Sub(run.Started))
	if span.IsRecording() {
		span.SetAttributes(text(resultKey, string(run.Result)))
		if run.Err != nil && run.Result != throttle.ResultRetryIn {
			fail(span, ended, run.Err)
		}
	}
	span.End(trace.WithTimestamp(ended))
}

// fail records on span that its run failed with err at the time ended.
func fail(span trace.Span, ended time.Time, err error) {
	// This does not use span.RecordError, which calls err.Error. If that panics, as it may
	// on a nil pointer returned as an error, the process would end. fmt.Sprint recovers.
	message := sources.Valid(fmt.Sprint(err))
	kind, stack := inspect(err)
	exception := []attribute.KeyValue{
		text(semconv.ExceptionTypeKey, fmt.Sprintf("%T", err)),
		semconv.ExceptionMessage(message),
	}
	if stack != nil {
		exception = append(exception, text(semconv.ExceptionStacktraceKey, string(stack)))
	}
	span.AddEvent(semconv.ExceptionEventName, trace.WithTimestamp(ended), trace.WithAttributes(exception...))
	span.SetAttributes(text(semconv.ErrorTypeKey, kind))
	span.SetStatus(codes.Error, message)
}

// inspect returns the error.type of err and, if err comes from a panic, the stack. It calls
// methods of err such as Unwrap and ErrorType. If one panics, kind is err's Go type.
func inspect(err error) (kind string, stack []byte) {
	defer func() {
		if recover() != nil {
			kind = fmt.Sprintf("%T", err)
		}
	}()
	var panicked *throttle.PanicError
	if errors.As(err, &panicked) {
		stack = panicked.Stack
	}
	return semconv.ErrorType(err).Value.AsString(), stack
}

// text returns an attribute with value as valid UTF-8.
func text(key attribute.Key, value string) attribute.KeyValue {
	return key.String(sources.Valid(value))
}

// highest is the highest count that number returns. Some SDKs, v1.46 among them, add up
// counts as float64, and this is the highest int64 that a float64 holds exactly.
const highest = math.MaxInt64 - 1023

// number returns n as OpenTelemetry wants it, at most highest.
func number(n uint64) int64 { return int64(min(n, highest)) }
