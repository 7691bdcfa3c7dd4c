package throttleotel_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// A fakeReplica is a source with given Counts.
type fakeReplica struct {
	name   string
	counts fleet.Counts
}

func (f *fakeReplica) Name() string         { return f.name }
func (*fakeReplica) Stats() throttle.Stats  { return throttle.Stats{} }
func (f *fakeReplica) Counts() fleet.Counts { return f.counts }

// A fakeEngine is an engine with a given Health.
type fakeEngine fleet.Health

func (f *fakeEngine) Health() fleet.Health { return fleet.Health(*f) }

// claimsMetric returns the metric of the sources with that name.
func claimsMetric(name string, served, granted, deferred int64) metricdata.Metrics {
	claims := func(verdict string, n int64) metricdata.DataPoint[int64] {
		return metricdata.DataPoint[int64]{Value: n, Attributes: attribute.NewSet(
			attribute.String("throttle.name", name), attribute.String("throttle.verdict", verdict))}
	}
	return counter("throttle.claims", "{claim}", "Claims that the store has answered.", false,
		claims("served", served), claims("granted", granted), claims("deferred", deferred))
}

// countMetrics returns the other metrics of the sources with that name.
func countMetrics(name string, failed, late, local, lost int64) []metricdata.Metrics {
	return []metricdata.Metrics{
		counter("throttle.message.failed", "{message}", "Failed attempts to send a claim or a finish to the store.", false, point(failed, name)),
		counter("throttle.grant.late", "{grant}", "Grants that came too late to be used.", false, point(late, name)),
		counter("throttle.run.local", "{run}", "Runs without a grant, because the store could not be reached.", false, point(local, name)),
		counter("throttle.lease.lost", "{lease}", "Runs that have lost their lease.", false, point(lost, name)),
	}
}

// engineMetrics returns the metrics of the engines with that name.
func engineMetrics(name string, h fleet.Health, unreachable int64) []metricdata.Metrics {
	of := attribute.NewSet()
	if name != "" {
		of = attribute.NewSet(attribute.String("throttle.engine", name))
	}
	level := func(name, unit, description string, n int64) metricdata.Metrics {
		return counter("throttle.engine."+name, unit, description, true, metricdata.DataPoint[int64]{Attributes: of, Value: n})
	}
	gauge := func(name, unit, description string, n float64) metricdata.Metrics {
		return metricdata.Metrics{
			Name: "throttle.engine." + name, Unit: unit, Description: description,
			Data: metricdata.Gauge[float64]{DataPoints: []metricdata.DataPoint[float64]{{Attributes: of, Value: n}}},
		}
	}
	return []metricdata.Metrics{
		level("throttler.count", "{throttler}", "Throttlers of this process on the engine that are not closed.", int64(h.Throttlers)),
		level("message.in_flight", "{message}", "Messages on their way to the store.", int64(h.InFlight)),
		level("message.waiting", "{message}", "Messages that wait until others are answered.", int64(h.Waiting)),
		level("unreachable", "{engine}", "Engines that cannot reach their store, or a part of it.", unreachable),
		gauge("due.count", "{key}", "Keys that were due in the store, whichever process holds them.", float64(h.DueKeys)),
		gauge("due.oldest", "s", "How long the first of these keys had been due.", h.OldestDue.Seconds()),
	}
}

func TestTelemetry_Fleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		engine := fleet.NewMemory()
		r.AddEngine("memory", engine)
		var replicas []*fleet.Throttler
		for range 2 {
			index, err := fleet.New(engine, "search-index", throttle.Every(time.Hour), func(context.Context) error { return nil },
				fleet.WithName("index"), fleet.WithTracer(r.Trace))
			require.NoError(t, err)
			defer index.Close()
			r.Add(index)
			replicas = append(replicas, index)
		}
		synctest.Wait()                                 // until the process has read the store's clock
		require.NoError(t, replicas[0].Do(t.Context())) // granted
		synctest.Wait()                                 // until the store knows that the run has ended
		replicas[1].Call()                              // deferred
		synctest.Wait()

		want := append(engineMetrics("memory", fleet.Health{Throttlers: 2}, 0), countMetrics("index", 0, 0, 0, 0)...)
		r.requireMetrics(t, append(want,
			runsMetric(point(1, "index", "call", "success")),
			durationMetric(took(of("index", "", "success"), 0)), latenessMetric(took(of("index"), 0)), waitMetric(took(of("index"), 0)),
			callsMetric(point(2, "index")), droppedMetric(point(0, "index")), refusedMetric(point(0, "index")),
			pendingMetric(point(1, "index")), runningMetric(point(0, "index")),
			valuesMetric(point(0, "index")), batchesMetric(point(0, "index")),
			dueMetric(replicas[1].Stats().Next, "index"),
			claimsMetric("index", 0, 1, 1))...)
	})
}

// A Group of a fleet has keys, and counts.
func TestTelemetry_FleetGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		tenants, err := fleet.NewGroup(fleet.NewMemory(), throttle.Every(time.Hour), func(context.Context, string) error { return nil },
			fleet.WithName("tenants"), fleet.WithTracer(r.Trace))
		require.NoError(t, err)
		defer tenants.Close()
		r.Add(tenants)
		synctest.Wait() // until the process has read the store's clock
		for _, key := range []string{"a", "b", "c"} {
			require.NoError(t, tenants.Do(t.Context(), key)) // granted
		}
		synctest.Wait() // until the store knows that the runs have ended
		for _, key := range []string{"a", "b"} {
			require.NoError(t, tenants.Call(key)) // deferred
		}
		synctest.Wait()

		r.requireMetrics(t, append(countMetrics("tenants", 0, 0, 0, 0),
			runsMetric(point(3, "tenants", "call", "success")),
			durationMetric(took(of("tenants", "", "success"), 0, 0, 0)),
			latenessMetric(took(of("tenants"), 0, 0, 0)), waitMetric(took(of("tenants"), 0, 0, 0)),
			callsMetric(point(5, "tenants")), droppedMetric(point(0, "tenants")), refusedMetric(point(0, "tenants")),
			pendingMetric(point(1, "tenants")), runningMetric(point(0, "tenants")),
			keysMetric(point(2, "tenants")), valuesMetric(point(0, "tenants")), batchesMetric(point(0, "tenants")),
			dueMetric(tenants.Stats().Next, "tenants"),
			claimsMetric("tenants", 0, 3, 2))...)
	})
}

func TestTelemetry_FleetCounts(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	require.Equal(t, 7, reflect.TypeFor[fleet.Counts]().NumField(), "a new field")
	remove := r.Add(&fakeReplica{"tenants", fleet.Counts{
		Served: 1, Granted: 2, Deferred: 4, Failed: 8, Late: 16, LocalRuns: 32, LostLeases: 64,
	}})
	counts := append(countMetrics("tenants", 8, 16, 32, 64), claimsMetric("tenants", 1, 2, 4), droppedMetric(point(0, "tenants")))
	r.requireMetrics(t, append(slices.Clip(counts), pendingMetric(point(0, "tenants")), runningMetric(point(0, "tenants")))...)
	remove()
	r.requireMetrics(t, counts...)
}

func TestTelemetry_AddEngine(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	r.AddEngine("none", nil)()
	health := fleet.Health{
		Throttlers: 1, InFlight: 2, Waiting: 3, Unreachable: errors.New("refused"), DueKeys: 4, OldestDue: 1500 * ms,
	}
	remove := r.AddEngine("redis\xff", (*fakeEngine)(&health))
	r.requireMetrics(t, engineMetrics("redis\uFFFD", health, 1)...)
	remove()
	r.AddEngine("", &fakeEngine{InFlight: 5})
	r.requireMetrics(t, engineMetrics("", fleet.Health{InFlight: 5}, 0)...)
}
