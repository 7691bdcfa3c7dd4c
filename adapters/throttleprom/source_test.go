package throttleprom_test

// This file holds how sources come and go, and what may happen meanwhile.

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleprom"
)

func TestNamesAreUnique(t *testing.T) {
	metrics, target := newMetrics(t)
	require.ErrorIs(t, metrics.Add(nil), throttleprom.ErrNoName)
	require.ErrorIs(t, metrics.Add(fake{}), throttleprom.ErrNoName)
	require.NoError(t, metrics.Add(fake{"a\xff", throttle.Stats{Dropped: 1}}))
	for _, same := range []string{"a\xff", "a\xfe", "a\ufffd"} {
		err := metrics.Add(fake{same, throttle.Stats{Dropped: 2}})
		require.ErrorIs(t, err, throttleprom.ErrNameTaken)
		require.EqualError(t, err, "throttleprom: name is taken: a\ufffd")
	}
	require.Equal(t, []string{"throttle_calls_dropped_total{throttle=\"a\ufffd\"} 1"}, only(target.lines(t), "throttle_calls"))
}

func TestRunsShowFromZeroOn(t *testing.T) {
	for _, source := range []throttleprom.Source{fake{name: "reload"}, fakeGroup{fake{name: "reload"}}} {
		metrics, target := newMetrics(t)
		require.NoError(t, metrics.Add(source))
		lines := target.lines(t)
		for _, cause := range []throttle.Cause{"call", "retry", "interval", "flush"} {
			for _, result := range []throttle.Result{"success", "failure", "panic", "retry_in"} {
				require.Contains(t, lines, fmt.Sprintf(`throttle_runs_total{cause=%q,result=%q,throttle="reload"} 0`, cause, result))
			}
		}
		require.Len(t, only(lines, "throttle_runs_total"), 16)
		require.Contains(t, lines, `throttle_run_duration_seconds_count{throttle="reload"} 0`)
	}
}

func TestRunsShowFromZeroOnIfTheirKeyIsKnown(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithKeyLabel(evenOrOdd))
	require.NoError(t, metrics.Add(fake{name: "reload"}))
	require.NoError(t, metrics.Add(fakeGroup{fake{name: "refresh"}}))
	lines := only(target.lines(t), "throttle_runs_total")
	require.Len(t, lines, 16)
	require.Contains(t, lines, `throttle_runs_total{cause="call",key="",result="failure",throttle="reload"} 0`)
}

func TestRunsWithoutANameAreShownTogether(t *testing.T) {
	metrics, target := newMetrics(t)
	for range 2 {
		nameless, err := throttle.New(throttle.Every(time.Hour), func() {}, throttle.WithObserver(metrics.Observe))
		require.NoError(t, err)
		require.NoError(t, nameless.Do(t.Context()))
		require.NoError(t, nameless.Shutdown(t.Context()))
	}
	require.Equal(t, []string{`throttle_runs_total{cause="call",result="success",throttle=""} 2`},
		only(target.lines(t), "throttle_runs_total"))
}

func TestNothingIsLeftOfWhatIsRemoved(t *testing.T) {
	metrics, target := newMetrics(t)
	require.NoError(t, metrics.Add(fake{name: "stays"}))
	before := target.lines(t)

	build := func() (*throttle.Throttler, error) {
		return throttle.New(throttle.Every(time.Hour), func() {}, throttle.WithName("leaves"), throttle.WithObserver(metrics.Observe))
	}
	run := func() weak.Pointer[throttle.Throttler] {
		leaves, err := build()
		require.NoError(t, err)
		require.NoError(t, metrics.Add(leaves))
		require.NoError(t, leaves.Do(t.Context()))
		require.NoError(t, leaves.Shutdown(t.Context()))
		require.Contains(t, target.lines(t), `throttle_runs_total{cause="call",result="success",throttle="leaves"} 1`)
		return weak.Make(leaves)
	}
	for range 2 { // its runs are counted from 1 again
		gone := run()
		require.True(t, metrics.Remove("leaves"))
		require.False(t, metrics.Remove("leaves"))
		require.Equal(t, before, target.lines(t))
		require.Eventually(t, func() bool {
			runtime.GC()
			return gone.Value() == nil
		}, 10*time.Second, time.Millisecond)
	}
}

func TestRemoveForgetsWhatIsOnlyObserved(t *testing.T) {
	metrics, target := newMetrics(t)
	metrics.Observe(throttle.Run{Name: "leaves"})
	require.False(t, metrics.Remove("leaves"))
	require.Empty(t, target.lines(t))
}

func TestSourcesAreReadWithNoLockHeld(t *testing.T) {
	metrics, target := newMetrics(t)
	require.NoError(t, metrics.Add(&meddler{metrics: metrics}))
	done := make(chan error, 1)
	go func() {
		_, err := target.registry.Gather()
		done <- err
	}()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the scrape waits for itself")
	}
	require.Contains(t, target.lines(t), `throttle_runs_total{cause="",result="",throttle="new"} 1`)
}

// A meddler is a source that changes metrics when it is read.
type meddler struct {
	metrics *throttleprom.Metrics
	once    sync.Once
}

func (m *meddler) Name() string { return "meddler" }

func (m *meddler) Stats() throttle.Stats {
	m.once.Do(func() {
		m.metrics.Observe(throttle.Run{Name: "new"})
		m.metrics.Remove("another")
	})
	return throttle.Stats{}
}

func TestScrapesNeverFailWhateverHappensMeanwhile(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithKeyLabel(evenOrOdd))
	const workers, turns = 4, 100
	stays, err := throttle.NewGroup(throttle.Policy{}, func(context.Context, int) error { return nil },
		throttle.WithName("stays"), throttle.WithObserver(metrics.Observe))
	require.NoError(t, err)
	require.NoError(t, metrics.Add(stays))

	var group sync.WaitGroup
	errs := make(chan error, 3*workers*turns)
	for worker := range workers {
		group.Go(func() { // runs that are observed concurrently
			for turn := range turns {
				errs <- stays.Do(t.Context(), worker*turns+turn)
			}
		})
		group.Go(func() { // throttlers that come and go, two for each name
			for range turns {
				name := fmt.Sprint("goes", worker/2)
				goes, err := throttle.New(throttle.Policy{}, func() {}, throttle.WithName(name), throttle.WithObserver(metrics.Observe))
				if err == nil && metrics.Add(goes) == nil {
					err = goes.Do(t.Context())
					metrics.Remove(name)
				}
				errs <- err
			}
		})
		group.Go(func() { // others at a pace that a run cannot keep
			for turn := range 10 * turns {
				name := fmt.Sprint("fake", worker)
				if turn%2 == 1 {
					metrics.Remove(name)
				} else if err := metrics.Add(fake{name: name}); err != nil {
					errs <- err
				}
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
	require.Contains(t, lines, fmt.Sprintf(`throttle_run_duration_seconds_count{key="even",throttle="stays"} %d`, workers*turns/2))
	require.Contains(t, lines, fmt.Sprintf(`throttle_runs_total{cause="call",key="odd",result="success",throttle="stays"} %d`, workers*turns/2))
}

func evenOrOdd(key any) string {
	if n, ok := key.(int); ok && n%2 == 0 {
		return "even"
	}
	return "odd"
}
