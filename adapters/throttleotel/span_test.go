package throttleotel_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleotel"
)

func TestTelemetry_Span(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		begun := time.Now()
		throttler := throttle.Must(throttle.New(throttle.Every(100*ms), func() { time.Sleep(25 * ms) },
			throttle.WithName("reload"), throttle.WithCallCount(), r.traced()))
		throttler.Call()
		time.Sleep(60 * ms)
		throttler.Call()
		throttler.Call()
		time.Sleep(time.Second)
		synctest.Wait()

		runs := r.runs()
		require.Len(t, runs, 2)
		run := runs[1]
		require.Equal(t, "throttle.run reload", run.Name)
		require.Equal(t, trace.SpanKindInternal, run.SpanKind)
		require.Equal(t, 100*ms, run.StartTime.Sub(begun))
		require.Equal(t, 125*ms, run.EndTime.Sub(begun))
		require.Equal(t, sdktrace.Status{}, run.Status)
		require.Empty(t, run.Events)
		require.Empty(t, run.Links)
		require.False(t, run.Parent.IsValid())
		require.NotEqual(t, runs[0].SpanContext.TraceID(), run.SpanContext.TraceID(), "each run has its own trace")
		require.ElementsMatch(t, []attribute.KeyValue{
			attribute.String("throttle.name", "reload"),
			attribute.String("throttle.cause", "call"),
			attribute.Int("throttle.attempt", 1),
			attribute.Int("throttle.calls", 2),
			attribute.Float64("throttle.wait", 0.04),
			attribute.String("throttle.result", "success"),
		}, run.Attributes)
	})
}

// The span lasts from the run's start to the callback's return. It includes an earlier
// tracer, but not the error handler.
func TestTelemetry_SpanDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		begun := time.Now()
		throttler := throttle.Must(throttle.New(throttle.Policy{},
			func() error {
				time.Sleep(25 * ms)
				return errFailed
			},
			throttle.WithTracer(func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
				time.Sleep(50 * ms)
				return nil, nil
			}),
			throttle.WithErrorHandler(func(error) { time.Sleep(70 * ms) }),
			r.traced()))
		throttler.Call()
		time.Sleep(time.Second)
		synctest.Wait()

		require.Equal(t, begun, r.runs()[0].StartTime)
		require.Equal(t, 75*ms, r.runs()[0].EndTime.Sub(begun))
		require.Equal(t, r.runs()[0].EndTime, r.runs()[0].Events[0].Time)
	})
}

// The run has no name, its calls are not counted, and it covers none.
func TestTelemetry_SpanWithoutOptionalAttributes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		throttler := throttle.Must(throttle.New(throttle.Policy{MaxInterval: time.Second}, func() {}, r.traced()))
		defer throttler.Close()
		time.Sleep(time.Second)
		synctest.Wait()

		require.Len(t, r.runs(), 1)
		run := r.runs()[0]
		require.Equal(t, "throttle.run", run.Name)
		require.ElementsMatch(t, []attribute.KeyValue{
			attribute.String("throttle.cause", "interval"),
			attribute.Int("throttle.attempt", 1),
			attribute.String("throttle.result", "success"),
		}, run.Attributes)
	})
}

func TestTelemetry_SpanOfCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		work := func(ctx context.Context) error {
			_, span := r.tracer.Start(ctx, "work")
			defer span.End()
			return nil
		}
		kinds := map[string]func() error{
			"throttler": func() error {
				return throttle.Must(throttle.New(throttle.Policy{}, work, r.traced())).Do(t.Context())
			},
			"group": func() error {
				callback := func(ctx context.Context, _ int) error { return work(ctx) }
				return throttle.Must(throttle.NewGroup(throttle.Policy{}, callback, r.traced())).Do(t.Context(), 1)
			},
			"coalescer": func() error {
				callback := func(ctx context.Context, _ int) error { return work(ctx) }
				return throttle.Must(throttle.NewCoalescer(throttle.Policy{}, throttle.Latest[int](), callback, r.traced())).Do(t.Context(), 1)
			},
		}
		for name, do := range kinds {
			r.spans.Reset()
			require.NoError(t, do(), name)
			synctest.Wait()
			require.Len(t, r.runs(), 1, name)
			require.Equal(t, r.runs()[0].SpanContext, r.span(t, "work").Parent, name)
		}
	})
}

func TestTelemetry_SpanLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		throttler := throttle.Must(throttle.New(throttle.Every(100*ms), func() {}, r.traced()))
		first, firstSpan := r.tracer.Start(t.Context(), "first request")
		second, secondSpan := r.tracer.Start(t.Context(), "second request")
		require.NoError(t, throttler.Do(first)) // runs at 0
		for _, ctx := range []context.Context{second, t.Context(), first, second} {
			go func() { _ = throttler.Do(ctx) }() // all run at 100
			synctest.Wait()
		}
		time.Sleep(110 * ms)
		throttler.Call() // runs at 200
		time.Sleep(time.Second)
		synctest.Wait()

		runs := r.runs()
		require.Len(t, runs, 3)
		require.Equal(t, []trace.SpanContext{firstSpan.SpanContext()}, linked(runs[0]))
		require.Equal(t, []trace.SpanContext{secondSpan.SpanContext(), firstSpan.SpanContext()}, linked(runs[1]),
			"one link for each span, none for a call outside of a span")
		require.Empty(t, linked(runs[2]))
		for _, run := range runs {
			require.False(t, run.Parent.IsValid(), "a run serves many callers, so it has no parent")
		}
	})
}

// linked returns the spans that span is linked to.
func linked(span tracetest.SpanStub) (to []trace.SpanContext) {
	for _, link := range span.Links {
		to = append(to, link.SpanContext)
	}
	return to
}

func TestTelemetry_SpanInParentContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		ctx, span := r.tracer.Start(t.Context(), "job")
		throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithContext(ctx), r.traced()))
		require.NoError(t, throttler.Do(t.Context()))
		synctest.Wait()
		require.Equal(t, span.SpanContext(), r.runs()[0].Parent)
	})
}

// A collector refuses a whole batch if one string in it is not UTF-8.
func TestTelemetry_InvalidUTF8(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample(), throttleotel.WithKeys())
	run := throttle.Run{Name: "na\xffme", Key: "ke\xffy", Cause: "ca\xffuse", Attempt: 1}
	_, end := r.Trace(t.Context(), run, nil)
	run.Result, run.Err = "re\xffsult", errors.Join(
		&hollowTypedError{text: "te\xffxt", kind: "ki\xffnd"}, &throttle.PanicError{Value: "va\xfflue", Stack: []byte("sta\xffck")})
	end(run)

	span := r.runs()[0]
	message := "te\ufffdxt\nthrottle: callback panicked: va\ufffdlue"
	require.Equal(t, "throttle.run na\ufffdme", span.Name)
	require.Equal(t, sdktrace.Status{Code: codes.Error, Description: message}, span.Status)
	require.ElementsMatch(t, []attribute.KeyValue{
		attribute.String("throttle.name", "na\ufffdme"),
		attribute.String("throttle.key", "ke\ufffdy"),
		attribute.String("throttle.cause", "ca\ufffduse"),
		attribute.Int("throttle.attempt", 1),
		attribute.String("throttle.result", "re\ufffdsult"),
		attribute.String("error.type", "ki\ufffdnd"),
	}, span.Attributes)
	require.ElementsMatch(t, []attribute.KeyValue{
		attribute.String("exception.type", "*errors.joinError"),
		attribute.String("exception.message", message),
		attribute.String("exception.stacktrace", "sta\ufffdck"),
	}, span.Events[0].Attributes)
	r.requireMetrics(t,
		runsMetric(point(1, "na\ufffdme", "ca\ufffduse", "re\ufffdsult")),
		durationMetric(took(of("na\ufffdme", "", "re\ufffdsult"), 0)),
		latenessMetric(took(of("na\ufffdme"), 0)))
}

// A step of the wall clock during the run does not change the duration of the span.
func TestTelemetry_SpanDuringClockStep(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		r := newRig(t, sdktrace.AlwaysSample())
		started := time.Unix(1000000, 0)
		_, end := r.Trace(t.Context(), throttle.Run{Started: started}, nil)
		end(throttle.Run{Started: started.Add(step), Ended: started.Add(step + 25*ms), Err: errFailed, Result: throttle.ResultFailure})
		run := r.runs()[0]
		require.Equal(t, started, run.StartTime)
		require.Equal(t, started.Add(25*ms), run.EndTime)
		require.Equal(t, started.Add(25*ms), run.Events[0].Time)
	}
}

// A number of calls above the API's range becomes its greatest value.
func TestTelemetry_SpanCallsOverflow(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	_, end := r.Trace(t.Context(), throttle.Run{Calls: math.MaxUint64}, nil)
	end(throttle.Run{})
	require.Contains(t, r.runs()[0].Attributes, attribute.Int64("throttle.calls", math.MaxInt64-1023))
}

func TestTelemetry_SpanAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		failures := 2
		throttler := throttle.Must(throttle.New(throttle.Policy{Retry: throttle.Backoff{Initial: 10 * ms}}, func() error {
			if failures == 0 {
				return nil
			}
			failures--
			return errFailed
		}, quietly(), r.traced()))
		throttler.Call()
		time.Sleep(time.Second)
		synctest.Wait()

		runs := r.runs()
		require.Len(t, runs, 3)
		for i, want := range []struct{ cause, result string }{{"call", "failure"}, {"retry", "failure"}, {"retry", "success"}} {
			require.Contains(t, runs[i].Attributes, attribute.Int("throttle.attempt", i+1))
			require.Contains(t, runs[i].Attributes, attribute.String("throttle.cause", want.cause))
			require.Contains(t, runs[i].Attributes, attribute.String("throttle.result", want.result))
		}
	})
}

func TestWithKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attributes := func(opts ...throttleotel.Option) []attribute.KeyValue {
			r := newRig(t, sdktrace.AlwaysSample(), opts...)
			group := throttle.Must(throttle.NewGroup(throttle.Policy{},
				func(context.Context, int) error { return nil }, throttle.WithName("users"), r.traced()))
			require.NoError(t, group.Do(t.Context(), 4711))
			synctest.Wait()
			for _, metric := range r.metrics(t).Metrics {
				require.NotContains(t, fmt.Sprint(metric.Data), "4711")
			}
			return r.runs()[0].Attributes
		}
		require.NotContains(t, fmt.Sprint(attributes()), "4711")
		require.Contains(t, attributes(throttleotel.WithKeys()), attribute.String("throttle.key", "4711"))
	})
}

func TestWithKeys_NoKey(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample(), throttleotel.WithKeys())
	throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, r.traced()))
	throttler.Call()
	require.NoError(t, throttler.Shutdown(t.Context()))
	require.NotContains(t, fmt.Sprint(r.runs()[0].Attributes), "throttle.key")
}

func TestTelemetry_Sampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sampler := &curious{}
		r := newRig(t, sampler)
		ctx, request := r.tracer.Start(t.Context(), "request")
		throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithName("reload"), throttle.WithCallCount(), r.traced()))
		require.NoError(t, throttler.Do(ctx))
		synctest.Wait()

		require.Equal(t, "throttle.run reload", sampler.saw.Name)
		require.Equal(t, request.SpanContext(), sampler.saw.Links[0].SpanContext)
		require.ElementsMatch(t, []attribute.KeyValue{
			attribute.String("throttle.name", "reload"),
			attribute.String("throttle.cause", "call"),
			attribute.Int("throttle.attempt", 1),
			attribute.Int("throttle.calls", 1),
			attribute.Float64("throttle.wait", 0),
		}, sampler.saw.Attributes)

		require.NoError(t, throttler.Do(t.Context()))
		require.Empty(t, sampler.saw.Links, "a call outside of a span")
	})
}

// A curious sampler keeps the parameters of its last call.
type curious struct{ saw sdktrace.SamplingParameters }

func (c *curious) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	c.saw = p
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
}

func (*curious) Description() string { return "curious" }

// A run that is not sampled has metrics, but no span.
func TestTelemetry_NotSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.ParentBased(sdktrace.NeverSample()))
		throttler := throttle.Must(throttle.New(throttle.Policy{}, func(ctx context.Context) error {
			require.True(t, trace.SpanContextFromContext(ctx).IsValid())
			_, span := r.tracer.Start(ctx, "work")
			defer span.End()
			require.Equal(t, trace.SpanContextFromContext(ctx).TraceID(), span.SpanContext().TraceID())
			require.False(t, span.SpanContext().IsSampled())
			return errFailed
		}, throttle.WithName("reload"), r.traced()))
		require.Equal(t, errFailed, throttler.Do(t.Context()))
		synctest.Wait()

		require.Empty(t, r.spans.GetSpans())
		r.requireMetrics(t,
			runsMetric(point(1, "reload", "call", "failure")),
			durationMetric(took(of("reload", "", "failure"), 0)),
			latenessMetric(took(of("reload"), 0)),
			waitMetric(took(of("reload"), 0)))
	})
}

// The error of a run that is not sampled is not printed, which might be expensive.
func TestTelemetry_NotSampledError(t *testing.T) {
	r := newRig(t, sdktrace.NeverSample())
	err := &countingError{}
	throttler := throttle.Must(throttle.New(throttle.Policy{}, func() error { return err }, r.traced()))
	require.Error(t, throttler.Do(t.Context()))
	require.NoError(t, throttler.Shutdown(t.Context()))
	require.EqualValues(t, 1, r.count(t, "throttle.runs"))
	require.Zero(t, err.printed)
}

// A countingError counts how often it is printed.
type countingError struct{ printed int }

func (e *countingError) Error() string {
	e.printed++
	return "counted"
}
