package throttleotel_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/throttle-go/throttle"
)

func TestTelemetry_ThrottlerMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		script := []struct {
			takes time.Duration
			err   error
		}{{20 * ms, nil}, {40 * ms, errFailed}, {250 * ms, nil}, {20 * ms, nil}}
		run := 0
		throttler := throttle.Must(throttle.New(throttle.Every(100*ms), func() error {
			step := script[run]
			run++
			time.Sleep(step.takes)
			return step.err
		}, throttle.WithName("reload"), quietly(), r.traced()))

		throttler.Call() // runs at 0
		time.Sleep(10 * ms)
		throttler.Call() // runs at 100
		throttler.Call()
		time.Sleep(150 * ms)
		throttler.Call() // at 160, due at 200
		time.Sleep(10 * ms)
		go func() { _ = throttler.Flush(t.Context()) }() // at 170, runs at once
		time.Sleep(10 * ms)
		throttler.Call() // at 180, due at 270, runs at 420
		time.Sleep(time.Second)
		synctest.Wait()

		r.requireMetrics(t,
			runsMetric(point(2, "reload", "call", "success"), point(1, "reload", "call", "failure"), point(1, "reload", "flush", "success")),
			durationMetric(
				took(of("reload", "", "success"), 20*ms, 250*ms, 20*ms),
				took(of("reload", "", "failure"), 40*ms)),
			latenessMetric(took(of("reload"), 0, 0, 0, 150*ms)),
			waitMetric(took(of("reload"), 0, 90*ms, 10*ms, 240*ms)))
	})
}

// All keys of a Group share one series, and a run that covers no call has no wait.
func TestTelemetry_GroupMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		asked := false
		group := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(_ context.Context, key string) error {
			switch {
			case key == "fragile":
				panic("oh")
			case key == "busy" && !asked:
				asked = true
				return throttle.RetryIn(30 * ms)
			}
			time.Sleep(5 * ms)
			return nil
		}, throttle.WithName("sync"), quietly(), r.traced()))
		for _, key := range []string{"fragile", "busy", "plain"} {
			require.NoError(t, group.Call(key))
			time.Sleep(ms)
		}
		time.Sleep(time.Second)
		synctest.Wait()

		r.requireMetrics(t,
			runsMetric(
				point(1, "sync", "call", "panic"), point(1, "sync", "call", "retry_in"),
				point(1, "sync", "call", "success"), point(1, "sync", "retry", "success")),
			durationMetric(
				took(of("sync", "", "panic"), 0), took(of("sync", "", "retry_in"), 0),
				took(of("sync", "", "success"), 5*ms, 5*ms)),
			latenessMetric(took(of("sync"), 0, 0, 0, 0)),
			waitMetric(took(of("sync"), 0, 0, 0)))
	})
}

func TestTelemetry_CoalescerMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		batch := throttle.Must(throttle.NewCoalescer(throttle.Debounce(30*ms, 0), throttle.Batch[int](),
			func(context.Context, []int) error { return nil }, throttle.WithName("batch"), r.traced()))
		for i := range 3 {
			require.NoError(t, batch.Call(i))
			time.Sleep(10 * ms)
		}
		time.Sleep(time.Second)
		synctest.Wait()

		r.requireMetrics(t,
			runsMetric(point(1, "batch", "call", "success")),
			durationMetric(took(of("batch", "", "success"), 0)),
			latenessMetric(took(of("batch"), 0)),
			waitMetric(took(of("batch"), 50*ms)))
	})
}

// In OpenTelemetry a name is either a metric or a namespace, never both.
func TestTelemetry_MetricNames(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	_, end := r.Trace(t.Context(), throttle.Run{}, nil)
	end(throttle.Run{Asked: time.Now()})
	group := throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
		func(context.Context, int) error { return nil }, throttle.WithCallCount()))
	defer group.Close()
	r.Add(group)
	require.NoError(t, group.Call(1))
	r.Add(&fakeReplica{})
	r.AddEngine("", &fakeEngine{})

	all := r.metrics(t).Metrics
	require.Len(t, all, 24)
	for _, namespace := range all {
		for _, metric := range all {
			require.False(t, strings.HasPrefix(metric.Name, namespace.Name+"."), "%s, %s", namespace.Name, metric.Name)
		}
	}
}

func TestTelemetry_NoName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, r.traced()))
		require.NoError(t, throttler.Do(t.Context()))
		synctest.Wait()
		runs, ok := r.metrics(t).Metrics[0].Data.(metricdata.Sum[int64])
		require.True(t, ok)
		require.Equal(t, attribute.NewSet(attribute.String("throttle.cause", "call"), attribute.String("throttle.result", "success")),
			runs.DataPoints[0].Attributes)
	})
}

// Exemplars lead from a slow run in a histogram to its span.
func TestTelemetry_Exemplars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, r.traced()))
		require.NoError(t, throttler.Do(t.Context()))
		synctest.Wait()

		span := r.runs()[0].SpanContext
		id, trace := span.SpanID(), span.TraceID()
		histograms := 0
		for _, metric := range r.metrics(t).Metrics {
			if data, ok := metric.Data.(metricdata.Histogram[float64]); ok {
				histograms++
				require.Len(t, data.DataPoints[0].Exemplars, 1, metric.Name)
				require.Equal(t, id[:], data.DataPoints[0].Exemplars[0].SpanID, metric.Name)
				require.Equal(t, trace[:], data.DataPoints[0].Exemplars[0].TraceID, metric.Name)
			}
		}
		require.Equal(t, 3, histograms)
	})
}
