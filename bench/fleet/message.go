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

// messages is the number of messages that throttlers sent.
type messages struct {
	runs      int64  // of idle keys, and again as many that waited
	atOnce    totals // for the runs of idle keys
	waited    totals // for runs that had to wait for the interval
	calls     int64
	coalesced totals  // for calls in the interval
	call      float64 // nanoseconds of such a call, the median of batches
}

// countMessages counts the messages of throttlers on s.
func countMessages(ctx context.Context, s *store, e effort) (messages, error) {
	c, err := s.client(ctx, 16)
	if err != nil {
		return messages{}, err
	}
	defer c.close()
	counted := &counter{Engine: c.engine()}

	// The throttlers of a process share an estimate of the store's clock. Before there is
	// one, no claim is granted.
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

// countRuns counts the messages that run keys at once, and again after the interval.
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
	before := c.totals()
	for _, t := range all { // one after the other, so that none waits for another
		if err := t.Do(ctx); err != nil {
			return err
		}
	}
	if err := finished(ctx, c, before, m.runs); err != nil {
		return err
	}
	m.atOnce = c.totals().plus(-1, before)

	before = c.totals()
	var failed failure
	var done sync.WaitGroup
	for _, t := range all {
		done.Go(func() { failed.note(t.Do(ctx)) })
	}
	done.Wait()
	if err := errors.Join(failed.error(), finished(ctx, c, before, m.runs)); err != nil {
		return err
	}
	m.waited = c.totals().plus(-1, before)
	return nil
}

// finished waits until n finishes were sent since before.
func finished(ctx context.Context, c *counter, before totals, n int64) error {
	return until(ctx, func() bool { return c.totals().Finishes >= before.Finishes+n })
}

// countCalls counts the messages of calls that join one that the store knows.
func (m *messages) countCalls(ctx context.Context, c *counter) error {
	t, err := newThrottler(c, "calls", time.Minute)
	if err != nil {
		return err
	}
	defer t.Close()
	before := c.totals()
	if err := errors.Join(t.Do(ctx), finished(ctx, c, before, 1)); err != nil {
		return err
	}
	t.Call()
	// Once the store has answered, the throttler knows when to ask for the run.
	if err := until(ctx, func() bool { return time.Until(t.Stats().Next) > time.Minute/2 }); err != nil {
		return err
	}
	before = c.totals()
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
	m.coalesced = c.totals().plus(-1, before)
	return nil
}

// until waits until done returns true; it is an error if that takes too long.
func until(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			return fmt.Errorf("a throttler is still busy: %w", ctx.Err())
		}
		time.Sleep(100 * time.Microsecond)
	}
	return nil
}
