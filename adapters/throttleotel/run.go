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

// This file holds the span of a run.

// Trace begins the span of run, which starts, and returns a child of ctx that carries
// it. end ends it with the finished run, and records that in the metrics. The span is
// linked to those of callers.
//
// Trace is for [throttle.WithTracer], of any number of throttles, whose names (see
// [throttle.WithName]) tell them apart. What is measured of a name stays for as long as
// the program runs: so throttles that come and go should share one. A tracer that is
// given after Trace traces inside of the span.
func (t *Telemetry) Trace(
	ctx context.Context, run throttle.Run, callers []context.Context,
) (traced context.Context, end func(throttle.Run)) {
	started := run.Started
	traced, span := t.tracer.Start(ctx, spanName(run.Name),
		trace.WithTimestamp(started),
		trace.WithAttributes(t.attributes(run)...), // here, and the links too, so that samplers see them
		trace.WithLinks(links(callers)...))
	return traced, func(run throttle.Run) {
		t.measure(traced, run)
		finish(span, started, run)
	}
}

// spanName returns a name of low cardinality: there are as many as there are names
// of throttles.
func spanName(name string) string {
	if name == "" {
		return "throttle.run"
	}
	return "throttle.run " + sources.Valid(name)
}

// attributes returns what a span tells of run from its start on.
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

// links returns a link to each span that callers were in.
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

// finish ends the span of run, which is over and had begun at started.
func finish(span trace.Span, started time.Time, run throttle.Run) {
	// The wall clock may have been stepped since: run.Started then is another time,
	// and run.Ended might be before the span's start.
	ended := started.Add(run.Ended.Sub(run.Started))
	if span.IsRecording() {
		span.SetAttributes(text(resultKey, string(run.Result)))
		if run.Err != nil && run.Result != throttle.ResultRetryIn {
			fail(span, ended, run.Err)
		}
	}
	span.End(trace.WithTimestamp(ended))
}

// fail tells of err, with which the run of span has failed at ended.
func fail(span trace.Span, ended time.Time, err error) {
	// RecordError calls err.Error, whose panic, as of a nil pointer that was returned
	// as an error, would end the process here. fmt.Sprint survives it.
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

// inspect returns the type of err, as it is named in error.type, and if it comes of a
// panic its stack. Both call methods of err's own, such as Unwrap and ErrorType: if one
// panics, its Go type has to do.
func inspect(err error) (kind string, stack []byte) {
	defer func() {
		if recover() != nil {
			kind = fmt.Sprintf("%T", err)
		}
	}()
	if panicked, ok := errors.AsType[*throttle.PanicError](err); ok {
		stack = panicked.Stack
	}
	return semconv.ErrorType(err).Value.AsString(), stack
}

// text returns the attribute of value, which may not be valid.
func text(key attribute.Key, value string) attribute.KeyValue {
	return key.String(sources.Valid(value))
}

// number returns n as the API takes it.
func number(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
