//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// pace is the time between two calls of a key in one process.
const pace = 20 * time.Millisecond

// throttlerSteps are the steps of a process of the fleet: it calls all keys again and
// again, and then counts what happens.
func (j job) throttlerSteps(c client) []step {
	counted := &counter{Engine: c.engine()}
	start := func(ctx context.Context) (totals, error) {
		all := make([]*fleet.Throttler, j.Keys)
		for i := range all {
			var err error
			all[i], err = fleet.New(counted, fmt.Sprintf("hot-%d", i), throttle.Every(j.Interval), func(ctx context.Context) error {
				counted.runs.Add(1)
				sleep(ctx, j.Busy)
				return nil
			}, fleet.WithErrorHandler(counted.note))
			if err != nil {
				return totals{}, err
			}
		}
		go func() { // ends with the process
			for ; ; time.Sleep(pace) {
				for _, t := range all {
					t.Call()
				}
				counted.calls.Add(int64(len(all)))
			}
		}()
		sleep(ctx, 2*j.Interval) // until the fleet runs steadily
		return totals{}, nil
	}
	count := func(ctx context.Context) (totals, error) {
		before := counted.totals()
		sleep(ctx, j.Duration)
		return counted.totals().plus(-1, before), nil
	}
	return []step{start, count}
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// A hotFleet is the work of a fleet whose keys are all called all the time.
type hotFleet struct {
	totals

	replicas int
	keys     int
	spacing  time.Duration // least time between two grants of a key
	busy     time.Duration
	took     time.Duration
	cpu      time.Duration // of the store
}

// each returns n per key and replica, in the time of one spacing.
func (f hotFleet) each(n int64) float64 {
	spacings := float64(f.took) / float64(f.spacing)
	return float64(n) / float64(f.keys*f.replicas) / spacings
}

// looks returns how often per second a process looked for keys that are due.
func (f hotFleet) looks() float64 { return float64(f.Looks) / float64(f.replicas) / f.took.Seconds() }

// measureFleet measures a fleet on s.
func measureFleet(ctx context.Context, s *store, e effort) (hotFleet, error) {
	spacing := e.interval + e.interval/10 // with the guard
	f := hotFleet{
		replicas: e.processes,
		keys:     max(1, s.hot*e.hot/100),
		spacing:  spacing,
		busy:     e.interval / 10,
		took:     4 * spacing,
	}
	all, err := s.startWorkers(ctx, job{
		Kind: throttler, Processes: f.replicas, Goroutines: 16, Keys: f.keys, Duration: f.took, Interval: e.interval, Busy: f.busy,
	})
	if err != nil {
		return f, err
	}
	_, err = all.step()
	if err == nil {
		f.cpu, err = s.used(func() (err error) {
			f.totals, err = all.step()
			return err
		})
	}
	if ended := all.end(); err == nil {
		err = ended
	}
	return f, err
}
