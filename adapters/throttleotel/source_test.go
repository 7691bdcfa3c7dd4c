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
	"github.com/throttle-go/throttle/fleet"
)

func TestTelemetry_Add(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		reload := throttle.Must(throttle.New(throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading},
			func() { time.Sleep(10 * ms) }, throttle.WithName("reload"), throttle.WithCallCount()))
		tenants := throttle.Must(throttle.NewGroup(throttle.Every(100*ms),
			func(context.Context, string) error { return nil }, throttle.WithName("tenants")))
		batch := throttle.Must(throttle.NewCoalescer(throttle.Debounce(50*ms, 0), throttle.Latest[int](),
			func(context.Context, int) error { return nil }, throttle.WithName("batch"), throttle.WithMaxPending(2)))
		for _, source := range []throttleotel.Source{reload, tenants, batch} {
			r.Add(source)
		}
		// The counts are the same each time.
		requireNow := func(tenantsPending, batchPending, values, reloadRunning, keys int64, due ...metricdata.Metrics) {
			t.Helper()
			synctest.Wait()
			r.requireMetrics(t, append(due,
				callsMetric(point(3, "reload"), point(2, "batch")), // the group's are not counted
				droppedMetric(point(2, "reload"), point(0, "tenants"), point(0, "batch")),
				refusedMetric(point(0, "reload"), point(1, "batch")),
				pendingMetric(point(0, "reload"), point(tenantsPending, "tenants"), point(batchPending, "batch")),
				runningMetric(point(reloadRunning, "reload"), point(0, "tenants"), point(0, "batch")),
				keysMetric(point(keys, "tenants")),
				valuesMetric(point(0, "reload"), point(values, "batch")),
				batchesMetric(point(0, "reload"), point(batchPending, "batch")))...)
		}
		begun := time.Now()
		for range 3 {
			reload.Call() // one runs, two are dropped
		}
		require.NoError(t, tenants.Call("a"))
		require.NoError(t, tenants.Call("b"))
		require.NoError(t, batch.Call(1))
		require.NoError(t, batch.Call(2))
		require.ErrorIs(t, batch.Call(3), throttle.ErrFull)
		requireNow(0, 1, 2, 1, 2, dueMetric(begun.Add(50*ms), "batch"))
		require.NoError(t, tenants.Call("a"))
		time.Sleep(60 * ms)
		requireNow(1, 0, 0, 0, 2, dueMetric(begun.Add(100*ms), "tenants"))
		time.Sleep(time.Second)
		requireNow(0, 0, 0, 0, 0)
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
			runningMetric(point(0, "tenants")), keysMetric(point(3, "tenants")),
			refusedMetric(point(0, "tenants")), valuesMetric(point(0, "tenants")), batchesMetric(point(0, "tenants")),
			dueMetric(time.Now().Add(time.Hour), "tenants"))
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
			require.Len(t, r.metrics(t).Metrics, 3, "only the counts are left")
		})
	}
}

// A KeyedCoalescer counts as a Group.
func TestTelemetry_AddKeyedCoalescer(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	rows := throttle.Must(throttle.NewKeyedCoalescer(throttle.Policy{Quiet: time.Hour, MaxCalls: 2}, throttle.Batch[string](),
		func(context.Context, int, []string) error { return nil },
		throttle.WithName("rows"), throttle.WithMaxPending(4), throttle.WithPaused()))
	r.Add(rows)
	for range 3 {
		require.NoError(t, rows.Call(1, "a"))
	}
	require.NoError(t, rows.Call(2, "b"))
	require.ErrorIs(t, rows.Call(2, "c"), throttle.ErrFull)
	for name, want := range map[string]int64{
		"throttle.calls": 4, "throttle.call.refused": 1, "throttle.key.count": 2, "throttle.value.count": 4, "throttle.batch.count": 3,
	} {
		require.Equal(t, want, r.count(t, name), name)
	}
	rows.Resume()
	require.NoError(t, rows.Shutdown(t.Context()))
	require.Zero(t, r.count(t, "throttle.value.count"))
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
	require.EqualValues(t, math.MaxInt64-1023, r.count(t, "throttle.call.refused"))
}

// A boundless source has counts above the range of int64.
type boundless struct{}

func (boundless) Name() string { return "boundless" }

func (boundless) Stats() throttle.Stats {
	return throttle.Stats{Calls: math.MaxUint64, Dropped: math.MaxInt64 + 1, Refused: math.MaxUint64}
}

// A Stats method that blocks must not stop others from adding sources.
func TestTelemetry_NoLockHeld(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	other := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithName("other")))
	source := &reentrant{onRead: func() {
		r.Add(other)()
		r.Add(&fakeReplica{name: "another"})()
		r.AddEngine("another", &fakeEngine{})()
	}}
	remove := r.Add(source)
	removeEngine := r.AddEngine("", source)
	r.metrics(t)
	require.Equal(t, 3, source.asked)
	remove()
	removeEngine()
	require.Equal(t, 5, source.asked)
}

// A reentrant source and engine uses the Telemetry that reads it.
type reentrant struct {
	onRead func()
	asked  int
}

func (*reentrant) Name() string { return "reentrant" }

func (s *reentrant) Stats() throttle.Stats {
	s.asked++
	s.onRead()
	return throttle.Stats{}
}

func (s *reentrant) Counts() fleet.Counts {
	s.asked++
	s.onRead()
	return fleet.Counts{}
}

func (s *reentrant) Health() fleet.Health {
	s.asked++
	s.onRead()
	return fleet.Health{}
}
