package throttleotel_test

import (
	"cmp"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleotel"
)

const (
	ms    = time.Millisecond
	scope = "github.com/throttle-go/throttle/adapters/throttleotel"
)

var errFailed = errors.New("disk full")

// A rig is a Telemetry whose spans and metrics are kept in memory.
type rig struct {
	*throttleotel.Telemetry

	reader *sdkmetric.ManualReader
	spans  *tracetest.InMemoryExporter
	tracer trace.Tracer // for the test's own spans, of the same provider
}

// newRig returns a rig with a sampler.
func newRig(t *testing.T, sampler sdktrace.Sampler, opts ...throttleotel.Option) *rig {
	t.Helper()
	return newRigWithReader(t, sdkmetric.NewManualReader(), sampler, opts...)
}

// newRigWithReader returns a rig with a reader of metrics and a sampler.
func newRigWithReader(t *testing.T, reader *sdkmetric.ManualReader, sampler sdktrace.Sampler, opts ...throttleotel.Option) *rig {
	t.Helper()
	r := &rig{reader: reader, spans: tracetest.NewInMemoryExporter()}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSyncer(r.spans))
	r.tracer = tracers.Tracer("user")
	var err error
	r.Telemetry, err = throttleotel.New(append([]throttleotel.Option{
		throttleotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))),
		throttleotel.WithTracerProvider(tracers),
	}, opts...)...)
	require.NoError(t, err)
	return r
}

// traced returns the option that makes a throttle report its runs to r.
func (r *rig) traced() throttle.Option { return throttle.WithTracer(r.Trace) }

// metrics collects the metrics: one scope, or none.
func (r *rig) metrics(t *testing.T) metricdata.ScopeMetrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, r.reader.Collect(t.Context(), &all))
	if len(all.ScopeMetrics) == 0 {
		return metricdata.ScopeMetrics{}
	}
	require.Len(t, all.ScopeMetrics, 1)
	return all.ScopeMetrics[0]
}

// count returns the value of the counter with the given name, which must have one data
// point; 0 without a counter.
func (r *rig) count(t *testing.T, name string) int64 {
	t.Helper()
	for _, metric := range r.metrics(t).Metrics {
		if metric.Name == name {
			sum, ok := metric.Data.(metricdata.Sum[int64])
			require.True(t, ok)
			require.Len(t, sum.DataPoints, 1)
			return sum.DataPoints[0].Value
		}
	}
	return 0
}

// requireMetrics requires that the collected metrics are exactly want.
func (r *rig) requireMetrics(t *testing.T, want ...metricdata.Metrics) {
	t.Helper()
	var expected metricdata.ScopeMetrics
	if len(want) > 0 {
		expected = metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: scope}, Metrics: want}
	}
	if !metricdatatest.AssertEqual(t, expected, r.metrics(t),
		metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars()) {
		t.FailNow()
	}
}

// runs returns the spans of finished runs, in order of their start.
func (r *rig) runs() tracetest.SpanStubs {
	spans := slices.DeleteFunc(r.spans.GetSpans(), func(s tracetest.SpanStub) bool {
		return s.InstrumentationScope.Name != scope
	})
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return spans
}

// spanOf runs fn once, in fake time, and returns the span and the error of the run.
func spanOf[F throttle.Callback](t *testing.T, fn F, opts ...throttle.Option) (span tracetest.SpanStub, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		throttler := throttle.Must(throttle.New(throttle.Policy{}, fn, append(opts, r.traced())...))
		defer throttler.Close()
		err = throttler.Do(t.Context())
		synctest.Wait()
		require.Len(t, r.runs(), 1)
		span = r.runs()[0]
	})
	return span, err
}

// span returns the span with the given name.
func (r *rig) span(t *testing.T, name string) tracetest.SpanStub {
	t.Helper()
	spans := r.spans.GetSpans()
	i := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.Name == name })
	require.GreaterOrEqual(t, i, 0, "no span %q", name)
	return spans[i]
}

// quietly returns the option that discards the errors of runs.
func quietly() throttle.Option { return throttle.WithErrorHandler(func(error) {}) }

// of returns the attributes of a measurement: name, cause and result, in this order. It
// leaves out empty ones.
func of(values ...string) attribute.Set {
	var attributes []attribute.KeyValue
	for i, key := range []string{"throttle.name", "throttle.cause", "throttle.result"}[:len(values)] {
		if values[i] != "" {
			attributes = append(attributes, attribute.String(key, values[i]))
		}
	}
	return attribute.NewSet(attributes...)
}

// point returns a data point with the value n.
func point(n int64, values ...string) metricdata.DataPoint[int64] {
	return metricdata.DataPoint[int64]{Attributes: of(values...), Value: n}
}

// counter returns a counter, or an up-down counter.
func counter(name, unit, description string, upDown bool, points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return metricdata.Metrics{Name: name, Unit: unit, Description: description, Data: metricdata.Sum[int64]{
		Temporality: metricdata.CumulativeTemporality, IsMonotonic: !upDown, DataPoints: points,
	}}
}

func runsMetric(points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return counter("throttle.runs", "{run}", "Runs that have ended.", false, points...)
}

func callsMetric(points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return counter("throttle.calls", "{call}", "Calls accepted or dropped, if they are counted.", false, points...)
}

func droppedMetric(points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return counter("throttle.call.dropped", "{call}", "Calls dropped because the policy has no trailing edge.", false, points...)
}

func refusedMetric(points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return counter("throttle.call.refused", "{call}", "Calls refused because too many values wait.", false, points...)
}

func pendingMetric(points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return counter("throttle.pending", "{throttle}", "Throttles in which a call or a retry waits for its run.", true, points...)
}

func runningMetric(points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return counter("throttle.running", "{throttle}", "Throttles in which a run is active.", true, points...)
}

func keysMetric(points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return counter("throttle.key.count", "{key}", "Keys that Groups and KeyedCoalescers hold.", true, points...)
}

func valuesMetric(points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return counter("throttle.value.count", "{call}", "Calls whose values wait for a run.", true, points...)
}

func batchesMetric(points ...metricdata.DataPoint[int64]) metricdata.Metrics {
	return counter("throttle.batch.count", "{batch}", "Batches of values that wait for a run.", true, points...)
}

// dueMetric returns the metric with one data point: the throttle's next run is due at that time.
func dueMetric(at time.Time, name string) metricdata.Metrics {
	return metricdata.Metrics{
		Name: "throttle.run.due", Unit: "s", Description: "Unix time at which the next run is due, at the earliest while one is active.",
		Data: metricdata.Gauge[float64]{DataPoints: []metricdata.DataPoint[float64]{
			{Attributes: of(name), Value: float64(at.UnixMilli()) / 1000},
		}},
	}
}

// boundaries are the boundaries of the histograms.
var boundaries = []float64{
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
	0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
}

// A distribution is a data point of a histogram.
type distribution = metricdata.HistogramDataPoint[float64]

// took returns the distribution of values, recorded in this order.
func took(attributes attribute.Set, values ...time.Duration) distribution {
	d := distribution{
		Attributes:   attributes,
		Count:        uint64(len(values)),
		Bounds:       boundaries,
		BucketCounts: make([]uint64, len(boundaries)+1),
		Min:          metricdata.NewExtrema(slices.Min(values).Seconds()),
		Max:          metricdata.NewExtrema(slices.Max(values).Seconds()),
	}
	for _, value := range values {
		bucket, _ := slices.BinarySearchFunc(boundaries, value.Seconds(), cmp.Compare[float64])
		d.BucketCounts[bucket]++
		d.Sum += value.Seconds()
	}
	return d
}

func histogram(name, description string, points ...distribution) metricdata.Metrics {
	return metricdata.Metrics{Name: name, Unit: "s", Description: description, Data: metricdata.Histogram[float64]{
		Temporality: metricdata.CumulativeTemporality, DataPoints: points,
	}}
}

func durationMetric(points ...distribution) metricdata.Metrics {
	return histogram("throttle.run.duration", "Time from a run's start to the callback's return.", points...)
}

func latenessMetric(points ...distribution) metricdata.Metrics {
	return histogram("throttle.run.lateness", "Time from when a run was due to its start.", points...)
}

func waitMetric(points ...distribution) metricdata.Metrics {
	return histogram("throttle.run.wait", "Time from the first call that a run covers to its start.", points...)
}
