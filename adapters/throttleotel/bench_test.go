package throttleotel_test

import (
	"context"
	"testing"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleotel"
)

// The cost that telemetry adds to a run.
func BenchmarkRun(b *testing.B) {
	noMetrics := throttleotel.WithMeterProvider(metricnoop.NewMeterProvider())
	noSpans := throttleotel.WithTracerProvider(tracenoop.NewTracerProvider())
	metrics := throttleotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	spans := throttleotel.WithTracerProvider(sdktrace.NewTracerProvider())
	dropped := throttleotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())))

	b.Run("no telemetry", func(b *testing.B) { benchmarkRun(b) })
	b.Run("tracer that does nothing", func(b *testing.B) {
		benchmarkRun(b, throttle.WithTracer(
			func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
				return nil, nil
			}))
	})
	for _, with := range []struct {
		name    string
		options []throttleotel.Option
	}{
		{"no providers", nil},
		{"no-op providers", []throttleotel.Option{noMetrics, noSpans}},
		{"metrics", []throttleotel.Option{metrics, noSpans}},
		{"spans", []throttleotel.Option{noMetrics, spans}},
		{"spans, sampled out", []throttleotel.Option{noMetrics, dropped}},
		{"metrics and spans", []throttleotel.Option{metrics, spans}},
	} {
		b.Run(with.name, func(b *testing.B) {
			telemetry, err := throttleotel.New(with.options...)
			if err != nil {
				b.Fatal(err)
			}
			benchmarkRun(b, throttle.WithTracer(telemetry.Trace))
		})
	}
}

// benchmarkRun measures runs from the call to the end.
func benchmarkRun(b *testing.B, options ...throttle.Option) {
	b.Helper()
	throttler := throttle.Must(throttle.New(throttle.Policy{}, func(context.Context) error { return nil },
		append(options, throttle.WithName("bench"))...))
	defer throttler.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := throttler.Do(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
