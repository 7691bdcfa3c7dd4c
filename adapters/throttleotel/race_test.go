package throttleotel_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/throttle-go/throttle"
)

func TestTelemetry_Concurrent(t *testing.T) {
	const goroutines, rounds = 8, 100
	r := newRig(t, sdktrace.AlwaysSample())
	throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithName("alone"), throttle.WithCallCount(), r.traced()))
	group := throttle.Must(throttle.NewGroup(throttle.Policy{}, func(context.Context, int) error { return nil },
		throttle.WithName("keyed"), r.traced()))
	r.Add(throttler)
	r.Add(group)

	var all sync.WaitGroup
	for id := range goroutines {
		all.Go(func() {
			ctx, span := r.tracer.Start(t.Context(), "request")
			defer span.End()
			for range rounds {
				remove := r.Add(throttler)
				assert.NoError(t, throttler.Do(ctx))
				assert.NoError(t, group.Do(ctx, id))
				remove()
				r.Add(&fakeReplica{name: "tenants"})()
				r.AddEngine("redis", &fakeEngine{})()
			}
		})
	}
	for range rounds {
		r.metrics(t)
	}
	all.Wait()
	require.NoError(t, throttler.Shutdown(t.Context()))
	require.NoError(t, group.Shutdown(t.Context()))

	want := map[string]int64{"alone": int64(throttler.Stats().Runs), "keyed": int64(group.Stats().Runs)}
	require.EqualValues(t, goroutines*rounds, want["keyed"])
	got := map[string]int64{}
	for _, metric := range r.metrics(t).Metrics {
		runs, ok := metric.Data.(metricdata.Sum[int64])
		if !ok || metric.Name != "throttle.runs" {
			continue
		}
		for _, point := range runs.DataPoints {
			name, _ := point.Attributes.Value("throttle.name")
			got[name.AsString()] += point.Value
		}
	}
	require.Equal(t, want, got)
	require.Len(t, r.runs(), int(want["alone"]+want["keyed"]))
}
