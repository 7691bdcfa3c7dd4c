package throttleprom_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleprom"
	"github.com/throttle-go/throttle/fleet"
)

// A fakeReplica is a source with given Counts.
type fakeReplica struct {
	fake

	counts fleet.Counts
}

func (f *fakeReplica) Counts() fleet.Counts { return f.counts }

// A fakeEngine is an engine with a given Health.
type fakeEngine fleet.Health

func (f *fakeEngine) Health() fleet.Health { return fleet.Health(*f) }

// addFleet adds a source and an engine, so that all metrics of fleets are exported.
func addFleet(metrics *throttleprom.Metrics) {
	metrics.Add(&fakeReplica{fake: fake{name: "index"}})
	metrics.AddEngine("redis", &fakeEngine{})
}

func TestMetrics_Fleet(t *testing.T) {
	metrics, target := newMetrics(t)
	synctest.Test(t, func(t *testing.T) {
		engine := fleet.NewMemory()
		metrics.AddEngine("memory", engine)
		var replicas []*fleet.Throttler
		for range 2 {
			index, err := fleet.New(engine, "search-index", throttle.Every(time.Hour), func(context.Context) error { return nil },
				fleet.WithName("index"), fleet.WithObserver(metrics.Observe))
			require.NoError(t, err)
			defer index.Close()
			metrics.Add(index)
			replicas = append(replicas, index)
		}
		synctest.Wait()                                 // until the process has read the store's clock
		require.NoError(t, replicas[0].Do(t.Context())) // granted
		synctest.Wait()                                 // until the store knows that the run has ended
		replicas[1].Call()                              // deferred
		synctest.Wait()

		lines := without(target.gather(t), isOfNoRun)
		for _, line := range []string{
			`throttle_calls_total{throttle="index"} 2`,
			`throttle_claims_total{throttle="index",verdict="deferred"} 1`,
			`throttle_claims_total{throttle="index",verdict="granted"} 1`,
			`throttle_claims_total{throttle="index",verdict="served"} 0`,
			`throttle_engine_throttlers{engine="memory"} 2`,
			`throttle_engine_unreachable{engine="memory"} 0`,
			`throttle_pending{throttle="index"} 1`,
			`throttle_running{throttle="index"} 0`,
			`throttle_runs_total{cause="call",result="success",throttle="index"} 1`,
		} {
			require.Contains(t, lines, line)
		}
	})
}

// A Group of a fleet has keys, and counts.
func TestMetrics_FleetGroup(t *testing.T) {
	metrics, target := newMetrics(t)
	synctest.Test(t, func(t *testing.T) {
		tenants, err := fleet.NewGroup(fleet.NewMemory(), throttle.Every(time.Hour), func(context.Context, string) error { return nil },
			fleet.WithName("tenants"), fleet.WithObserver(metrics.Observe))
		require.NoError(t, err)
		defer tenants.Close()
		metrics.Add(tenants)
		synctest.Wait() // until the process has read the store's clock
		for _, key := range []string{"a", "b", "c"} {
			require.NoError(t, tenants.Do(t.Context(), key)) // granted
		}
		synctest.Wait() // until the store knows that the runs have ended
		for _, key := range []string{"a", "b"} {
			require.NoError(t, tenants.Call(key)) // deferred
		}
		synctest.Wait()

		lines := without(target.gather(t), isOfNoRun)
		for _, line := range []string{
			`throttle_calls_total{throttle="tenants"} 5`,
			`throttle_claims_total{throttle="tenants",verdict="deferred"} 2`,
			`throttle_claims_total{throttle="tenants",verdict="granted"} 3`,
			`throttle_claims_total{throttle="tenants",verdict="served"} 0`,
			`throttle_keys{throttle="tenants"} 2`,
			`throttle_pending{throttle="tenants"} 1`,
			`throttle_running{throttle="tenants"} 0`,
			`throttle_runs_total{cause="call",result="success",throttle="tenants"} 3`,
		} {
			require.Contains(t, lines, line)
		}
	})
}

func TestMetrics_FleetCounts(t *testing.T) {
	metrics, target := newMetrics(t)
	require.Equal(t, 7, reflect.TypeFor[fleet.Counts]().NumField(), "a new field")
	remove := metrics.Add(&fakeReplica{fake{name: "tenants"}, fleet.Counts{
		Served: 1, Granted: 2, Deferred: 4, Failed: 8, Late: 16, LocalRuns: 32, LostLeases: 64,
	}})
	lines := []string{
		`throttle_calls_dropped_total{throttle="tenants"} 0`,
		`throttle_claims_total{throttle="tenants",verdict="deferred"} 4`,
		`throttle_claims_total{throttle="tenants",verdict="granted"} 2`,
		`throttle_claims_total{throttle="tenants",verdict="served"} 1`,
		`throttle_grants_late_total{throttle="tenants"} 16`,
		`throttle_leases_lost_total{throttle="tenants"} 64`,
		`throttle_messages_failed_total{throttle="tenants"} 8`,
		`throttle_pending{throttle="tenants"} 0`,
		`throttle_running{throttle="tenants"} 0`,
		`throttle_runs_local_total{throttle="tenants"} 32`,
	}
	require.Equal(t, lines, without(target.lines(t), isOfRuns))
	remove()
	require.Equal(t, without(lines, func(line string) bool {
		return strings.HasPrefix(line, "throttle_pending") || strings.HasPrefix(line, "throttle_running")
	}), without(target.lines(t), isOfRuns))
}

func TestMetrics_AddEngine(t *testing.T) {
	metrics, target := newMetrics(t)
	metrics.AddEngine("none", nil)()
	remove := metrics.AddEngine("redis", &fakeEngine{
		Throttlers: 1, InFlight: 2, Waiting: 3, Unreachable: errors.New("refused"), DueKeys: 4, OldestDue: 1500 * time.Millisecond,
	})
	require.Equal(t, []string{
		`throttle_engine_due_keys{engine="redis"} 4`,
		`throttle_engine_messages_in_flight{engine="redis"} 2`,
		`throttle_engine_messages_waiting{engine="redis"} 3`,
		`throttle_engine_oldest_due_seconds{engine="redis"} 1.5`,
		`throttle_engine_throttlers{engine="redis"} 1`,
		`throttle_engine_unreachable{engine="redis"} 1`,
	}, target.lines(t))
	remove()
	require.Empty(t, target.lines(t))
}
