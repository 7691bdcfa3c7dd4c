package throttleotel_test

import (
	"os"
	"os/exec"
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

func TestNew_Problems(t *testing.T) {
	telemetry, err := throttleotel.New(nil, throttleotel.WithMeterProvider(nil), throttleotel.WithKeys(), throttleotel.WithTracerProvider(nil))
	require.Nil(t, telemetry)
	require.EqualError(t, err, `throttle: Option <nil>: must not be nil
throttle: WithMeterProvider <nil>: must not be nil
throttle: WithTracerProvider <nil>: must not be nil`)
	var problem *throttle.PolicyError
	require.ErrorAs(t, err, &problem)
	require.Equal(t, "Option", problem.Field)
}

func TestNew_MeterProviderFails(t *testing.T) {
	for _, refuses := range []string{"throttle.run.wait", "a callback"} {
		telemetry, err := throttleotel.New(throttleotel.WithMeterProvider(refusing{what: refuses}))
		require.Nil(t, telemetry)
		require.ErrorIs(t, err, errFailed)
		require.EqualError(t, err, "throttleotel: disk full")
	}
}

// refusing is a MeterProvider that refuses one instrument, or callbacks.
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

func TestNew_GlobalProviders(t *testing.T) {
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewInMemoryExporter()
	defer setGlobalProviders(reader, spans)()
	telemetry, err := throttleotel.New()
	require.NoError(t, err)
	requireExported(t, telemetry, reader, spans)
}

// The global providers may be set after New. Only the first provider that a process sets
// reaches earlier users, so this test needs a process of its own.
func TestNew_GlobalProvidersSetLater(t *testing.T) {
	const childVariable = "THROTTLEOTEL_TEST_CHILD"
	if os.Getenv(childVariable) == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		child.Env = append(os.Environ(), childVariable+"=1")
		output, err := child.CombinedOutput()
		require.NoError(t, err, string(output))
		return
	}
	telemetry, err := throttleotel.New()
	require.NoError(t, err)
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewInMemoryExporter()
	defer setGlobalProviders(reader, spans)()
	requireExported(t, telemetry, reader, spans)
}

// setGlobalProviders makes the global providers send to reader and spans, until restore is
// called.
func setGlobalProviders(reader sdkmetric.Reader, spans sdktrace.SpanExporter) (restore func()) {
	meters, tracers := otel.GetMeterProvider(), otel.GetTracerProvider()
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	return func() {
		otel.SetMeterProvider(meters)
		otel.SetTracerProvider(tracers)
	}
}

// requireExported requires that reader and spans receive what telemetry exports.
func requireExported(t *testing.T, telemetry *throttleotel.Telemetry, reader sdkmetric.Reader, spans *tracetest.InMemoryExporter) {
	t.Helper()
	throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithTracer(telemetry.Trace)))
	defer telemetry.Add(throttler)()
	throttler.Call()
	require.NoError(t, throttler.Shutdown(t.Context()))
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	require.Len(t, all.ScopeMetrics, 1)
	require.Len(t, all.ScopeMetrics[0].Metrics, 7)
	require.Len(t, spans.GetSpans(), 1)
}
