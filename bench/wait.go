package main

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/bench/internal/measure"
)

func deferredRuns() subject {
	const peer = "time.AfterFunc"
	return subject{
		name:  "late",
		title: "How late a run starts that is due in a millisecond",
		notes: []string{
			"A run that starts early is an error. Figures cover all waits together; ratios compare turns.",
			"under load: as many goroutines as GOMAXPROCS compute without a pause.",
		},
		experiments: []experiment{
			{"idle", peer, func(e effort) ([]result, error) { return compareLateness(e, 100) }},
			{"under load", peer, func(e effort) ([]result, error) {
				defer keepBusy(runtime.GOMAXPROCS(0))()
				return compareLateness(e, 20)
			}},
		},
	}
}

// keepBusy starts goroutines that compute until stop, which waits for their end.
func keepBusy(goroutines int) (stop func()) {
	var all sync.WaitGroup
	var over atomic.Bool
	for range goroutines {
		all.Go(func() {
			for !over.Load() { //nolint:revive // it keeps a core busy
			}
		})
	}
	return func() {
		over.Store(true)
		all.Wait()
	}
}

// compareLateness has a turn of either side wait so many times.
func compareLateness(e effort, waits int) ([]result, error) {
	const wait = time.Millisecond
	entered := make(chan time.Time, 1)
	callback := func() { entered <- time.Now() }
	t, err := throttle.New(throttle.Debounce(wait, 0), callback)
	if err != nil {
		return nil, err
	}
	defer t.Close()

	var ours, theirs [][]float64 // turns, each with its waits
	late := func(ask func()) []float64 {
		turn := make([]float64, waits)
		for i := range turn {
			start := time.Now()
			ask()
			turn[i] = float64((<-entered).Sub(start) - wait)
		}
		return turn
	}
	e.budget *= 5 // most of it is waiting
	e.alternate(
		func() { ours = append(ours, late(t.Call)) },
		func() { theirs = append(theirs, late(func() { time.AfterFunc(wait, callback) })) },
	)
	return latenesses(ours, theirs)
}

// latenesses returns quantiles of the lateness. It is an error if one of ours is
// negative.
func latenesses(ours, theirs [][]float64) ([]result, error) {
	if earliest := measure.Quantile(slices.Concat(ours...), 0); earliest < 0 {
		return nil, fmt.Errorf("a run started %v early", time.Duration(-earliest))
	}
	var results []result
	for _, of := range []struct {
		metric string
		q      float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}} {
		results = append(results, result{
			Metric: of.metric,
			Unit:   measure.Nanosecond,
			Ratio:  measure.Ratios(quantiles(ours, of.q), quantiles(theirs, of.q), 0),
			Ours:   measure.Quantile(slices.Concat(ours...), of.q),
			Theirs: measure.Quantile(slices.Concat(theirs...), of.q),
			Turns:  len(ours),
		})
	}
	return results, nil
}

// quantiles returns the q-quantile of each turn.
func quantiles(turns [][]float64, q float64) []float64 {
	all := make([]float64, len(turns))
	for i, turn := range turns {
		all[i] = measure.Quantile(turn, q)
	}
	return all
}
