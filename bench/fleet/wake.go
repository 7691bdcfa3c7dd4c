//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// A runCost is nanoseconds of the store's CPU time.
type runCost struct {
	grant float64 // and finish, if nobody listens
	wake  float64 // for each listener
}

// measureRuns measures runs on s without listeners, and with some.
func measureRuns(ctx context.Context, s *store, e effort) (runCost, error) {
	c, err := s.client(ctx, 1)
	if err != nil {
		return runCost{}, err
	}
	defer c.close()
	alone, err := s.runs(ctx, c, e)
	if err != nil {
		return runCost{}, err
	}
	stop, err := listeners(ctx, c, e.listeners)
	if err != nil {
		return runCost{}, err
	}
	defer stop()
	heard, err := s.runs(ctx, c, e)
	return runCost{grant: alone, wake: max(0, heard-alone) / float64(e.listeners)}, err
}

// runs grants and finishes runs one after the other, and returns the cost of one.
func (s *store) runs(ctx context.Context, c client, e effort) (cost float64, err error) {
	n := 0
	cpu, err := s.used(func() error {
		for end := time.Now().Add(e.duration / 2); time.Now().Before(end); n++ {
			if err := served(ctx, c.engine(), fmt.Sprintf("run-%d", n%100), 0); err != nil {
				return err
			}
		}
		return nil
	})
	return float64(cpu) / float64(n), err
}

// listeners listens on n connections until stop. It returns when each of them has heard
// of a run.
func listeners(ctx context.Context, c client, n int) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	stop = func() {
		cancel()
		all.Wait()
	}
	var waiting atomic.Int64
	waiting.Store(int64(n))
	for range n {
		all.Go(func() {
			var once sync.Once
			_ = c.engine().Listen(ctx, func(machine.Wake) { // until stop
				once.Do(func() { waiting.Add(-1) })
			})
		})
	}
	for deadline := time.Now().Add(10 * time.Second); waiting.Load() > 0; {
		if time.Now().After(deadline) {
			err = errors.New("a listener hears nothing")
		}
		if err == nil {
			err = served(ctx, c.engine(), "listen", 0)
		}
		if err != nil {
			stop()
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return stop, nil
}
