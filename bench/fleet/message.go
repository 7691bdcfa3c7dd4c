//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/bench/internal/measure"
	"github.com/throttle-go/throttle/fleet"
)

// This file counts the messages that throttlers send.

// messages is how many of them there were.
type messages struct {
	runs      int64 // of each kind
	atOnce    tally // for the runs of idle keys
	waited    tally // for runs that had to wait for the interval
	calls     int64
	coalesced tally   // for calls in the interval
	call      float64 // nanoseconds that one of them took, the median of batches
}

// countMessages counts them on s.
func countMessages(ctx context.Context, s *store, e effort) (messages, error) {
	c, err := s.client(ctx, 16)
	if err != nil {
		return messages{}, err
	}
	defer c.close()
	counted := &counter{Engine: c.engine()}

	// The throttlers of a process share what they know of the store's time. Until it is
	// known, no claim is granted.
	known, err := newThrottler(counted, "known", time.Minute)
	if err != nil {
		return messages{}, err
	}
	defer known.Close()
	if err := known.Do(ctx); err != nil {
		return messages{}, err
	}
	m := messages{runs: 20, calls: int64(e.calls)}
	return m, errors.Join(m.countRuns(ctx, counted, e), m.countCalls(ctx, counted))
}

func newThrottler(c *counter, key string, interval time.Duration) (*fleet.Throttler, error) {
	nothing := func(context.Context) error { return nil }
	return fleet.New(c, key, throttle.Every(interval), nothing, fleet.WithErrorHandler(c.note))
}

// countRuns counts what it takes to run keys at once, and again after the interval.
func (m *messages) countRuns(ctx context.Context, c *counter, e effort) error {
	all := make([]*fleet.Throttler, m.runs)
	for i := range all {
		t, err := newThrottler(c, fmt.Sprintf("waits-%d", i), e.interval)
		if err != nil {
			return err
		}
		defer t.Close()
		all[i] = t
	}
	before := c.tally()
	for _, t := range all { // one after the other: these are not to wait for each other
		if err := t.Do(ctx); err != nil {
			return err
		}
	}
	if err := finished(ctx, c, before, m.runs); err != nil {
		return err
	}
	m.atOnce = c.tally().plus(-1, before)

	before = c.tally()
	var failed failure
	var done sync.WaitGroup
	for _, t := range all {
		done.Go(func() { failed.note(t.Do(ctx)) })
	}
	done.Wait()
	if err := errors.Join(failed.error(), finished(ctx, c, before, m.runs)); err != nil {
		return err
	}
	m.waited = c.tally().plus(-1, before)
	return nil
}

// finished waits until so many finishes were sent since before.
func finished(ctx context.Context, c *counter, before tally, n int64) error {
	return until(ctx, func() bool { return c.tally().Finishes >= before.Finishes+n })
}

// countCalls counts what calls take that join one which the store knows of.
func (m *messages) countCalls(ctx context.Context, c *counter) error {
	t, err := newThrottler(c, "calls", time.Minute)
	if err != nil {
		return err
	}
	defer t.Close()
	before := c.tally()
	if err := errors.Join(t.Do(ctx), finished(ctx, c, before, 1)); err != nil {
		return err
	}
	t.Call()
	// When it will ask for the run is known once the store has answered.
	if err := until(ctx, func() bool { return time.Until(t.Stats().Next) > time.Minute/2 }); err != nil {
		return err
	}
	before = c.tally()
	took := make([]float64, 100)
	batch := m.calls / int64(len(took))
	for i := range took {
		start := time.Now()
		for range batch {
			t.Call()
		}
		took[i] = float64(time.Since(start)) / float64(batch)
	}
	m.call = measure.Median(took)
	m.coalesced = c.tally().plus(-1, before)
	return nil
}

// until returns when done does, or with an error when that takes too long.
func until(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			return fmt.Errorf("a throttler does not come to rest: %w", ctx.Err())
		}
		time.Sleep(100 * time.Microsecond)
	}
	return nil
}
