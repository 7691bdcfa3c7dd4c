package throttleotel_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleotel"
)

// This file holds what New accepts.

func TestNewReportsEveryInvalidOption(t *testing.T) {
	telemetry, err := throttleotel.New(nil, throttleotel.WithMeterProvider(nil), throttleotel.WithKeys(), throttleotel.WithTracerProvider(nil))
	require.Nil(t, telemetry)
	require.EqualError(t, err, `throttle: Option <nil>: must not be nil
throttle: WithMeterProvider <nil>: must not be nil
throttle: WithTracerProvider <nil>: must not be nil`)
	problem, ok := errors.AsType[*throttle.PolicyError](err)
	require.True(t, ok)
	require.Equal(t, "Option", problem.Field)
}

func TestNewReportsWhatTheMeterProviderRefuses(t *testing.T) {
	for _, refuses := range []string{"throttle.run.wait", "a callback"} {
		telemetry, err := throttleotel.New(throttleotel.WithMeterProvider(refusing{what: refuses}))
		require.Nil(t, telemetry)
		require.ErrorIs(t, err, errFailed)
		require.EqualError(t, err, "throttleotel: disk full")
	}
}

// refusing is a MeterProvider that refuses one thing.
type refusing struct {
	metricnoop.MeterProvider

	what string
}

func (r refusing) Meter(string, ...metric.MeterOption) metric.Meter {
	return refusingMeter{what: r.what}
}

type refusingMeter struct {
	metricnoop.Meter

	what string
}

func (m refusingMeter) Float64Histogram(name string, _ ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	if name == m.what {
		return nil, errFailed
	}
	return metricnoop.Float64Histogram{}, nil
}

func (m refusingMeter) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	if m.what == "a callback" {
		return nil, errFailed
	}
	return metricnoop.Registration{}, nil
}

func TestGlobalProvidersAreTheDefault(t *testing.T) {
	meters, tracers := otel.GetMeterProvider(), otel.GetTracerProvider()
	defer otel.SetMeterProvider(meters)
	defer otel.SetTracerProvider(tracers)
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewInMemoryExporter()
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))

	telemetry, err := throttleotel.New()
	require.NoError(t, err)
	throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithTracer(telemetry.Trace)))
	throttler.Call()
	require.NoError(t, throttler.Shutdown(t.Context()))
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	require.Len(t, all.ScopeMetrics, 1)
	require.Len(t, spans.GetSpans(), 1)
}
