package throttleotel_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleotel"
)

func TestTelemetry_Add(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		reload := throttle.Must(throttle.New(throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading},
			func() { time.Sleep(10 * ms) }, throttle.WithName("reload"), throttle.WithCallCount()))
		tenants := throttle.Must(throttle.NewGroup(throttle.Every(100*ms),
			func(context.Context, string) error { return nil }, throttle.WithName("tenants")))
		batch := throttle.Must(throttle.NewCoalescer(throttle.Debounce(50*ms, 0), throttle.Latest[int](),
			func(context.Context, int) error { return nil }, throttle.WithName("batch")))
		for _, source := range []throttleotel.Source{reload, tenants, batch} {
			r.Add(source)
		}
		// The counts are the same each time.
		requireNow := func(tenantsPending, batchPending, reloadRunning, keys int64, due ...metricdata.Metrics) {
			t.Helper()
			synctest.Wait()
			r.requireMetrics(t, append(due,
				callsMetric(point(3, "reload"), point(2, "batch")), // the group's are not counted
				droppedMetric(point(2, "reload"), point(0, "tenants"), point(0, "batch")),
				pendingMetric(point(0, "reload"), point(tenantsPending, "tenants"), point(batchPending, "batch")),
				runningMetric(point(reloadRunning, "reload"), point(0, "tenants"), point(0, "batch")),
				keysMetric(point(keys, "tenants")))...)
		}
		begun := time.Now()
		for range 3 {
			reload.Call() // one runs, two are dropped
		}
		require.NoError(t, tenants.Call("a"))
		require.NoError(t, tenants.Call("b"))
		require.NoError(t, batch.Call(1))
		require.NoError(t, batch.Call(2))
		requireNow(0, 1, 1, 2, dueMetric(begun.Add(50*ms), "batch"))
		require.NoError(t, tenants.Call("a"))
		time.Sleep(60 * ms)
		requireNow(1, 0, 0, 2, dueMetric(begun.Add(100*ms), "tenants"))
		time.Sleep(time.Second)
		requireNow(0, 0, 0, 0)
	})
}

// Sources of one name are added up, because OpenTelemetry does not define the result of
// several measurements with the same attributes.
func TestTelemetry_AddSameName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		for keys := range 3 {
			group := throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
				func(context.Context, int) error { return nil }, throttle.WithName("tenants"), throttle.WithCallCount()))
			defer group.Close()
			r.Add(group)
			for key := range keys {
				require.NoError(t, group.Call(key))
			}
		}
		r.requireMetrics(t,
			callsMetric(point(3, "tenants")), droppedMetric(point(0, "tenants")), pendingMetric(point(2, "tenants")),
			runningMetric(point(0, "tenants")), keysMetric(point(3, "tenants")), dueMetric(time.Now().Add(time.Hour), "tenants"))
	})
}

// The counts of removed sources stay, so that a reader of deltas never sees a negative one.
func TestTelemetry_Remove(t *testing.T) {
	for _, temporality := range []metricdata.Temporality{metricdata.CumulativeTemporality, metricdata.DeltaTemporality} {
		t.Run(temporality.String(), func(t *testing.T) {
			reader := sdkmetric.NewManualReader(sdkmetric.WithTemporalitySelector(
				func(sdkmetric.InstrumentKind) metricdata.Temporality { return temporality }))
			r := newRigWithReader(t, reader, sdktrace.AlwaysSample())
			var got []int64
			for range 3 {
				connection := throttle.Must(throttle.New(throttle.Policy{Interval: time.Hour, Edges: throttle.Leading},
					func() {}, throttle.WithName("connection"), throttle.WithCallCount()))
				remove := r.Add(connection)
				got = append(got, r.count(t, "throttle.calls"))
				connection.Call()
				connection.Call() // dropped
				require.NoError(t, connection.Shutdown(t.Context()))
				remove()
				remove()
				got = append(got, r.count(t, "throttle.calls"))
			}
			want := []int64{0, 2, 2, 4, 4, 6}
			if temporality == metricdata.DeltaTemporality {
				want = []int64{0, 2, 0, 2, 0, 2}
			}
			require.Equal(t, want, got)
			require.Len(t, r.metrics(t).Metrics, 2, "only the counts are left")
		})
	}
}

func TestTelemetry_AddNil(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	none, err := throttle.New(throttle.Policy{Interval: -1}, func() {})
	require.Error(t, err)
	r.Add(none)()
	r.Add(nil)()
	r.requireMetrics(t)
}

// Counts above the API's range become its greatest value.
func TestTelemetry_AddCountsOverflow(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	r.Add(boundless{})
	require.EqualValues(t, math.MaxInt64-1023, r.count(t, "throttle.calls"))
	require.EqualValues(t, math.MaxInt64-1023, r.count(t, "throttle.call.dropped"))
}

// A boundless source has counts above the range of int64.
type boundless struct{}

func (boundless) Name() string { return "boundless" }

func (boundless) Stats() throttle.Stats {
	return throttle.Stats{Calls: math.MaxUint64, Dropped: math.MaxInt64 + 1}
}

// A Stats method that blocks must not stop others from adding sources.
func TestTelemetry_NoLockHeld(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	other := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithName("other")))
	source := &reentrant{onStats: func() { r.Add(other)() }}
	remove := r.Add(source)
	r.requireMetrics(t, droppedMetric(point(0, "reentrant"), point(0, "other")), pendingMetric(point(0, "reentrant")), runningMetric(point(0, "reentrant")))
	remove()
	r.requireMetrics(t, droppedMetric(point(0, "reentrant"), point(0, "other")))
	require.Equal(t, 2, source.asked)
}

// A reentrant source uses the Telemetry that reads it.
type reentrant struct {
	onStats func()
	asked   int
}

func (*reentrant) Name() string { return "reentrant" }

func (s *reentrant) Stats() throttle.Stats {
	s.asked++
	s.onStats()
	return throttle.Stats{}
}
