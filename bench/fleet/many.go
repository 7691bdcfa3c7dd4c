//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/bench/internal/measure"
	"github.com/throttle-go/throttle/fleet"
)

// A crowd is many keys of one process, which are called at the same time, once.
type crowd struct {
	keys     int
	interval time.Duration
}

// rounds is how often each crowd is measured, in turns with workers that do as much.
const rounds = 5

// A crowdCost is what it took to serve a crowd, rounds times.
type crowdCost struct {
	crowd
	totals

	failed uint64 // claims and finishes
	late   uint64
	local  uint64
	took   []float64 // nanoseconds of each round
	plain  []float64 // as many claims and finishes, by fleet.DefaultInFlight workers
}

// measureCrowds measures all crowds of s. Their throttlers have RunLocal, which a healthy
// store must never let happen.
func measureCrowds(ctx context.Context, s *store, e effort) (all []crowdCost, err error) {
	c, err := s.client(ctx, fleet.DefaultInFlight+2)
	if err != nil {
		return nil, err
	}
	defer c.close()
	for i, crowd := range s.crowds {
		crowd.keys = max(1, crowd.keys*e.hot/100)
		cost := crowdCost{crowd: crowd}
		for round := range rounds {
			name := fmt.Sprintf("%d-%d", i, round)
			plain, err := crowd.plain(ctx, c, "plain-"+name)
			if err != nil {
				return nil, err
			}
			took, err := cost.measure(ctx, c, "once-"+name)
			if err != nil {
				return nil, err
			}
			cost.plain, cost.took = append(cost.plain, float64(plain)), append(cost.took, float64(took))
		}
		all = append(all, cost)
	}
	return all, nil
}

// plain serves all keys with claims and finishes, and returns how long that took.
func (c crowd) plain(ctx context.Context, from client, name string) (time.Duration, error) {
	var failed failure
	var next atomic.Int64
	var workers sync.WaitGroup
	begun := time.Now()
	for range fleet.DefaultInFlight {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(c.keys); i = next.Add(1) {
				failed.note(served(ctx, from.engine(), fmt.Sprintf("%s-%d", name, i), c.interval+c.interval/10))
			}
		})
	}
	workers.Wait()
	return time.Since(begun), failed.error()
}

// measure makes a throttler for each key, calls them all, waits until all are served, and returns
// how long that took since the calls.
func (c *crowdCost) measure(ctx context.Context, from client, name string) (time.Duration, error) {
	counted := &counter{Engine: from.engine()}
	var left sync.WaitGroup // keys that have not been served
	left.Add(c.keys)
	all := make([]*fleet.Throttler, c.keys)
	for i := range all {
		var once sync.Once
		var err error
		all[i], err = fleet.New(counted, fmt.Sprintf("%s-%d", name, i), throttle.Every(c.interval),
			func(context.Context) error {
				counted.runs.Add(1)
				once.Do(left.Done)
				return nil
			}, fleet.WithErrorHandler(counted.note), fleet.RunLocal())
		if err != nil {
			return 0, err
		}
		defer all[i].Close()
	}
	sleep(ctx, 200*time.Millisecond) // the poller has seen the store's time
	begun := time.Now()
	for _, t := range all {
		t.Call()
	}
	left.Wait()
	for _, t := range all { // until its finish is answered
		if err := t.Shutdown(ctx); err != nil {
			return 0, err
		}
	}
	took := time.Since(begun)
	c.totals = c.plus(1, counted.totals())
	for _, t := range all {
		n := t.Counts()
		c.failed, c.late, c.local = c.failed+n.Failed, c.late+n.Late, c.local+n.LocalRuns
	}
	return took, nil
}

func printCrowds(w io.Writer, found []finding) {
	section(w, "Many keys of one process, called once, at the same time",
		fmt.Sprintf("ratio: until all are served, beside %d workers that make a claim and a finish of as many keys: the median of", fleet.DefaultInFlight),
		fmt.Sprintf("%d turns, with its quartiles. took: the median. claims and runs: per key.", rounds),
		"failed: claims and finishes. late: grants that came too late. local: runs without a grant; the throttlers have RunLocal.")
	rows := [][]string{{"store", "keys", "interval", "ratio", "p25-p75", "took", "claims", "runs", "failed", "late", "local", "errors"}}
	for _, f := range found {
		for _, c := range f.crowds {
			ratio, served := measure.Ratios(c.took, c.plain, 0), float64(c.keys*rounds)
			rows = append(rows, []string{
				f.store, strconv.Itoa(c.keys), c.interval.String(), measure.FormatRatio(ratio.P50),
				measure.FormatRatio(ratio.P25) + "-" + measure.FormatRatio(ratio.P75),
				time.Duration(measure.Median(c.took)).Round(time.Millisecond).String(),
				fixed(float64(c.Claims) / served), fixed(float64(c.Runs) / served),
				strconv.FormatUint(c.failed, 10), strconv.FormatUint(c.late, 10), strconv.FormatUint(c.local, 10),
				strconv.FormatInt(c.Errors, 10),
			})
		}
	}
	align(w, rows, 1)
}
