package throttleprom_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleprom"
	"github.com/throttle-go/throttle/fleet"
)

func TestMetrics_AddSameName(t *testing.T) {
	metrics, target := newMetrics(t)
	next := time.Unix(1000, 0)
	for _, stats := range []throttle.Stats{
		{Calls: 1, Dropped: 10, Refused: 5, Batches: 1, Values: 4, Pending: true, Next: next.Add(time.Second)},
		{Calls: 2, Dropped: 20, Pending: true, Running: true, Next: next},
		{Calls: 3, Dropped: 30, Refused: 6, Batches: 2, Values: 7},
	} {
		metrics.Add(fake{"users", stats})
	}
	for range 2 {
		metrics.Add(fakeGroup{fake{name: "users"}})
	}
	require.Equal(t, []string{
		`throttle_batches{throttle="users"} 3`,
		`throttle_calls_dropped_total{throttle="users"} 60`,
		`throttle_calls_refused_total{throttle="users"} 11`,
		`throttle_calls_total{throttle="users"} 6`,
		`throttle_keys{throttle="users"} 6`,
		`throttle_next_run_timestamp_seconds{throttle="users"} 1000`,
		`throttle_pending{throttle="users"} 2`,
		`throttle_running{throttle="users"} 1`,
		`throttle_values{throttle="users"} 11`,
	}, without(target.lines(t), isOfRuns))
}

// isOfRuns reports whether line is of a metric of runs.
func isOfRuns(line string) bool {
	return strings.HasPrefix(line, "throttle_run_") || strings.HasPrefix(line, "throttle_runs_total")
}

func TestMetrics_Remove(t *testing.T) {
	metrics, target := newMetrics(t)
	leaves, err := throttle.New(throttle.Policy{Interval: time.Hour, Edges: throttle.Leading}, func() {},
		throttle.WithName("leaves"), throttle.WithCallCount(), throttle.WithObserver(metrics.Observe))
	require.NoError(t, err)
	remove := metrics.Add(leaves)
	removeGroup := metrics.Add(fakeGroup{fake{name: "leaves", stats: throttle.Stats{Calls: 10, Refused: 20, Values: 30, Next: time.Unix(1, 0)}}})
	require.NoError(t, leaves.Do(t.Context()))
	leaves.Call() // dropped
	require.NoError(t, leaves.Shutdown(t.Context()))
	remove()
	removeGroup()
	removeGroup()
	require.Equal(t, []string{
		`throttle_calls_dropped_total{throttle="leaves"} 1`,
		`throttle_calls_refused_total{throttle="leaves"} 20`,
		`throttle_calls_total{throttle="leaves"} 12`,
	}, without(target.lines(t), isOfRuns))
	require.Contains(t, target.lines(t), `throttle_runs_total{cause="call",result="success",throttle="leaves"} 1`)
}

func TestMetrics_AddNil(t *testing.T) {
	metrics, target := newMetrics(t)
	none, err := throttle.New(throttle.Policy{Interval: -1}, func() {})
	require.Error(t, err)
	metrics.Add(none)()
	metrics.Add(nil)()
	require.Empty(t, target.lines(t))
}

func TestMetrics_AddStartsAtZero(t *testing.T) {
	for _, source := range []throttleprom.Source{fake{name: "reload"}, fakeGroup{fake{name: "reload"}}} {
		metrics, target := newMetrics(t)
		metrics.Add(source)
		lines := target.lines(t)
		for _, cause := range []throttle.Cause{"call", "retry", "interval", "flush"} {
			for _, result := range []throttle.Result{"success", "failure", "panic", "retry_in"} {
				require.Contains(t, lines, fmt.Sprintf(`throttle_runs_total{cause=%q,result=%q,throttle="reload"} 0`, cause, result))
			}
		}
		require.Len(t, only(lines, "throttle_runs_total"), 16)
		require.Contains(t, lines, `throttle_run_duration_seconds_count{result="panic",throttle="reload"} 0`)
	}
}

// The runs of a Group start at zero only if their key label is known.
func TestWithKeyLabel_AddStartsAtZero(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithKeyLabel(evenOrOdd))
	metrics.Add(fake{name: "reload"})
	metrics.Add(fakeGroup{fake{name: "refresh"}})
	lines := only(target.lines(t), "throttle_runs_total")
	require.Len(t, lines, 16)
	require.Contains(t, lines, `throttle_runs_total{cause="call",key="",result="failure",throttle="reload"} 0`)
}

func TestMetrics_KeyedCoalescer(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithKeyLabel(evenOrOdd))
	rows, err := throttle.NewKeyedCoalescer(throttle.Policy{Quiet: time.Hour, MaxCalls: 2}, throttle.Batch[string](),
		func(context.Context, int, []string) error { return nil },
		throttle.WithName("rows"), throttle.WithObserver(metrics.Observe), throttle.WithMaxPending(4), throttle.WithPaused())
	require.NoError(t, err)
	metrics.Add(rows)
	require.Equal(t, []string{
		`throttle_calls_dropped_total{throttle="rows"} 0`,
		`throttle_keys{throttle="rows"} 0`,
		`throttle_pending{throttle="rows"} 0`,
		`throttle_running{throttle="rows"} 0`,
	}, target.lines(t))
	for range 3 {
		require.NoError(t, rows.Call(1, "a"))
	}
	require.NoError(t, rows.Call(2, "b"))
	require.ErrorIs(t, rows.Call(2, "c"), throttle.ErrFull)
	lines := target.lines(t)
	for _, line := range []string{
		`throttle_batches{throttle="rows"} 3`,
		`throttle_calls_refused_total{throttle="rows"} 1`,
		`throttle_calls_total{throttle="rows"} 4`,
		`throttle_keys{throttle="rows"} 2`,
		`throttle_pending{throttle="rows"} 1`,
		`throttle_values{throttle="rows"} 4`,
	} {
		require.Contains(t, lines, line)
	}
	rows.Resume()
	require.NoError(t, rows.Shutdown(t.Context()))
	lines = target.lines(t)
	require.Contains(t, lines, `throttle_run_duration_seconds_count{key="odd",result="success",throttle="rows"} 2`)
	require.Contains(t, lines, `throttle_values{throttle="rows"} 0`)
}

func TestMetrics_NoName(t *testing.T) {
	metrics, target := newMetrics(t)
	for range 2 {
		nameless, err := throttle.New(throttle.Every(time.Hour), func() {}, throttle.WithObserver(metrics.Observe), throttle.WithCallCount())
		require.NoError(t, err)
		metrics.Add(nameless)
		require.NoError(t, nameless.Do(t.Context()))
		require.NoError(t, nameless.Shutdown(t.Context()))
	}
	require.Equal(t, []string{
		`throttle_batches{throttle=""} 0`,
		`throttle_calls_dropped_total{throttle=""} 0`,
		`throttle_calls_refused_total{throttle=""} 0`,
		`throttle_calls_total{throttle=""} 2`,
		`throttle_pending{throttle=""} 0`,
		`throttle_running{throttle=""} 0`,
		`throttle_runs_total{cause="call",result="success",throttle=""} 2`,
		`throttle_values{throttle=""} 0`,
	}, without(target.lines(t), func(line string) bool {
		return strings.HasPrefix(line, "throttle_run_") || isOfNoRun(line)
	}))
}

func TestMetrics_NoLockHeld(t *testing.T) {
	metrics, target := newMetrics(t)
	source := &meddler{metrics: metrics}
	metrics.Add(source)
	metrics.AddEngine("meddler", source)
	done := make(chan error, 1)
	go func() {
		_, err := target.registry.Gather()
		done <- err
	}()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the scrape deadlocks")
	}
	require.Contains(t, target.lines(t), `throttle_runs_total{cause="",result="",throttle="new"} 3`)
}

// A meddler is a source and an engine that changes metrics while it is read.
type meddler struct {
	metrics                *throttleprom.Metrics
	stats, counts, healthy sync.Once
}

func (m *meddler) Name() string { return "meddler" }

func (m *meddler) Stats() throttle.Stats {
	m.stats.Do(m.meddle)
	return throttle.Stats{}
}

func (m *meddler) Counts() fleet.Counts {
	m.counts.Do(m.meddle)
	return fleet.Counts{}
}

func (m *meddler) Health() fleet.Health {
	m.healthy.Do(m.meddle)
	return fleet.Health{}
}

func (m *meddler) meddle() {
	m.metrics.Observe(throttle.Run{Name: "new"})
	m.metrics.Add(&fakeReplica{fake: fake{name: "another"}})()
	m.metrics.AddEngine("another", &fakeEngine{})()
}

func TestMetrics_Concurrent(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithKeyLabel(evenOrOdd))
	const workers, turns = 4, 100
	stays, err := throttle.NewGroup(throttle.Policy{}, func(context.Context, int) error { return nil },
		throttle.WithName("stays"), throttle.WithObserver(metrics.Observe))
	require.NoError(t, err)
	metrics.Add(stays)

	var group sync.WaitGroup
	errs := make(chan error, 3*workers*turns)
	for worker := range workers {
		group.Go(func() { // runs that are observed concurrently
			for turn := range turns {
				errs <- stays.Do(t.Context(), worker*turns+turn)
			}
		})
		group.Go(func() { // throttles that come and go, two for each name
			for range turns {
				name := fmt.Sprint("goes", worker/2)
				goes, err := throttle.New(throttle.Policy{}, func() {}, throttle.WithName(name), throttle.WithObserver(metrics.Observe))
				if err == nil {
					remove := metrics.Add(goes)
					err = goes.Do(t.Context())
					remove()
				}
				errs <- err
			}
		})
		group.Go(func() { // sources and engines that come and go faster than a run can
			for range 5 * turns {
				metrics.Add(fake{name: fmt.Sprint("fake", worker)})()
				metrics.Add(&fakeReplica{fake: fake{name: "tenants"}})()
				metrics.AddEngine("redis", &fakeEngine{})()
			}
		})
		group.Go(func() {
			format := []string{text, protobuf}[worker%2]
			for range turns {
				_, _, err := target.get(format)
				errs <- err
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, stays.Shutdown(t.Context()))
	lines := target.lines(t)
	require.Contains(t, lines, fmt.Sprintf(`throttle_run_duration_seconds_count{key="even",result="success",throttle="stays"} %d`, workers*turns/2))
	require.Contains(t, lines, fmt.Sprintf(`throttle_runs_total{cause="call",key="odd",result="success",throttle="stays"} %d`, workers*turns/2))
}

func evenOrOdd(key any) string {
	if n, ok := key.(int); ok && n%2 == 0 {
		return "even"
	}
	return "odd"
}
