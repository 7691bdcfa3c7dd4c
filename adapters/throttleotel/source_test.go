package throttleotel_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleotel"
)

// This file holds what is told of sources.

func TestSourcesAreToldAtEveryCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		reload := throttle.Must(throttle.New(throttle.Policy{Interval: 100 * ms, Edges: throttle.Leading},
			func() { time.Sleep(10 * ms) }, throttle.WithName("reload"), throttle.WithCallCount()))
		tenants := throttle.Must(throttle.NewGroup(throttle.Every(100*ms),
			func(context.Context, string) error { return nil }, throttle.WithName("tenants")))
		batch := throttle.Must(throttle.NewCoalescer(throttle.Debounce(50*ms, 0), throttle.Latest[int],
			func(context.Context, int) error { return nil }, throttle.WithName("batch")))
		for _, source := range []throttleotel.Source{reload, tenants, batch} {
			r.Add(source)
		}
		// What is counted is the same each time.
		requireNow := func(tenantsPending, batchPending, reloadRunning, keys int64) {
			t.Helper()
			synctest.Wait()
			r.requireMetrics(t,
				callsMetric(point(3, "reload"), point(2, "batch")), // the group's are not counted
				droppedMetric(point(2, "reload"), point(0, "tenants"), point(0, "batch")),
				pendingMetric(point(0, "reload"), point(tenantsPending, "tenants"), point(batchPending, "batch")),
				runningMetric(point(reloadRunning, "reload"), point(0, "tenants"), point(0, "batch")),
				keysMetric(point(keys, "tenants")))
		}
		for range 3 {
			reload.Call() // one runs, two are dropped
		}
		require.NoError(t, tenants.Call("a"))
		require.NoError(t, tenants.Call("b"))
		require.NoError(t, batch.Call(1))
		require.NoError(t, batch.Call(2))
		requireNow(0, 1, 1, 2)
		require.NoError(t, tenants.Call("a"))
		time.Sleep(60 * ms)
		requireNow(1, 0, 0, 2)
		time.Sleep(time.Second)
		requireNow(0, 0, 0, 0)
	})
}

// What several measurements with the same attributes amount to is undefined in
// OpenTelemetry, and a counter must not fall when one source of many is gone.
func TestSourcesOfOneNameAreToldAsTheirSum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		var removes []func()
		end := make(chan struct{})
		defer close(end)
		for calls := range 3 {
			connection := throttle.Must(throttle.New(throttle.Policy{Interval: time.Hour, Edges: throttle.Leading},
				func() { <-end }, throttle.WithName("connection"), throttle.WithCallCount()))
			removes = append(removes, r.Add(connection))
			for range calls + 1 {
				connection.Call()
			}
		}
		requireSum := func(calls, dropped, running int64) {
			t.Helper()
			r.requireMetrics(t,
				callsMetric(point(calls, "connection")), droppedMetric(point(dropped, "connection")),
				pendingMetric(point(0, "connection")), runningMetric(point(running, "connection")))
		}
		requireSum(6, 3, 3)
		removes[1]()
		removes[1]()
		requireSum(6, 3, 2)
		removes[0]()
		requireSum(6, 3, 1)
		removes[2]()
		r.requireMetrics(t)
	})
}

func TestGroupsOfOneNameAreToldAsTheirSum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sdktrace.AlwaysSample())
		for keys := range 3 {
			group := throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
				func(context.Context, int) error { return nil }, throttle.WithName("tenants")))
			defer group.Close()
			r.Add(group)
			for key := range keys {
				require.NoError(t, group.Call(key))
			}
		}
		r.requireMetrics(t,
			droppedMetric(point(0, "tenants")), pendingMetric(point(2, "tenants")),
			runningMetric(point(0, "tenants")), keysMetric(point(3, "tenants")))
	})
}

// A Stats that blocks must not stop others from adding.
func TestStatsIsCalledWithNoLockHeld(t *testing.T) {
	r := newRig(t, sdktrace.AlwaysSample())
	other := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithName("other")))
	source := &reentrant{ask: func() { r.Add(other)() }}
	remove := r.Add(source)
	r.requireMetrics(t, droppedMetric(point(0, "reentrant")), pendingMetric(point(0, "reentrant")), runningMetric(point(0, "reentrant")))
	remove()
	r.requireMetrics(t)
	require.Equal(t, 2, source.asked)
}

// A reentrant source uses the Telemetry that asks it.
type reentrant struct {
	ask   func()
	asked int
}

func (*reentrant) Name() string { return "reentrant" }

func (s *reentrant) Stats() throttle.Stats {
	s.asked++
	s.ask()
	return throttle.Stats{}
}
