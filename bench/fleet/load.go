//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// This file measures a store under as many claims as several processes can make.

// keyName returns the name of key i.
func keyName(i int) string { return fmt.Sprintf("tenant-%d", i) }

// fewKeys returns how many of so many keys are claimed so often that the store remembers as
// many claims of each as it ever does.
func fewKeys(keys int) int { return max(1, keys/200) }

// claimerSteps are those of a process that claims keys round robin: it connects, makes the
// first claim of its share of the keys, claims them all as fast as it can, and then a few.
func (j job) claimerSteps(c client) []step {
	connect := func(ctx context.Context) (tally, error) {
		_, err := c.engine().Due(ctx, 0)
		return tally{}, err
	}
	first := func(ctx context.Context) (tally, error) {
		share := (j.Keys - j.Number + j.Processes - 1) / j.Processes
		return j.claimers(ctx, func(ctx context.Context, i int) (more bool, err error) {
			if i >= share {
				return false, nil
			}
			_, err = claim(ctx, c.engine(), keyName(i*j.Processes+j.Number), spacing, machine.Granted)
			return true, err
		})
	}
	round := func(keys int) step {
		return func(ctx context.Context) (tally, error) {
			end := time.Now().Add(j.Duration)
			offset := keys * j.Number / j.Processes
			return j.claimers(ctx, func(ctx context.Context, i int) (more bool, err error) {
				if time.Now().After(end) {
					return false, nil
				}
				return true, deferred(ctx, c.engine(), keyName((i+offset)%keys))
			})
		}
	}
	return []step{connect, first, round(j.Keys), round(fewKeys(j.Keys))}
}

// claimers has several goroutines make claims, numbered from 0, until there are no more or
// one fails.
func (j job) claimers(ctx context.Context, claim func(ctx context.Context, i int) (more bool, err error)) (tally, error) {
	var made atomic.Int64
	var next atomic.Int64
	var failed failure
	var all sync.WaitGroup
	for range j.Goroutines {
		all.Go(func() {
			for {
				more, err := claim(ctx, int(next.Add(1)-1))
				if !more || err != nil {
					failed.note(err)
					return
				}
				made.Add(1)
			}
		})
	}
	all.Wait()
	return tally{Claims: made.Load()}, failed.error()
}

// A load is what a store does under load, and what its keys take there.
type load struct {
	all, few work // of all keys, of which few claims are remembered, and of a few keys

	state, key       float64 // bytes of a state, and of all that a key takes, after its first claim
	hotState, hotKey float64 // and after those that were made as fast as possible
	most             float64 // bytes of a state with as many recent claims as are remembered
}

// work is what a store does.
type work struct {
	claims float64 // per second
	cpu    float64 // nanoseconds of the store's for a claim
	script float64 // of these within the script, 0 if not known
}

// measureLoad measures s under load.
func measureLoad(ctx context.Context, s *store, e effort) (load, error) {
	c, err := s.client(ctx, 1)
	if err != nil {
		return load{}, err
	}
	defer c.close()
	crew, err := s.crew(ctx, job{
		Kind: claimer, Processes: e.processes, Goroutines: e.goroutines, Keys: e.keys, Duration: e.duration,
	})
	if err != nil {
		return load{}, err
	}
	l, err := crew.load(ctx, s, c, e)
	if ended := crew.end(); err == nil {
		err = ended
	}
	return l, err
}

// load has the crew do its job.
func (w *crew) load(ctx context.Context, s *store, c client, e effort) (l load, err error) {
	var empty int64
	for _, part := range []func() error{
		func() (err error) { _, err = w.step(); return err },
		func() (err error) { empty, err = c.total(ctx); return err },
		func() (err error) { _, err = w.step(); return err },
		func() (err error) { l.state, l.key, err = keySizes(ctx, c, e, empty); return err },
		func() (err error) { l.all, err = w.claims(ctx, s, c, e); return err },
		func() (err error) { l.hotState, l.hotKey, err = keySizes(ctx, c, e, empty); return err },
		func() (err error) { l.few, err = w.claims(ctx, s, c, e); return err },
		func() error { return crowd(ctx, c, "crowded", operations()[0]) },
	} {
		if err := part(); err != nil {
			return l, err
		}
	}
	most, err := c.size(ctx, "crowded")
	l.most = float64(most)
	return l, err
}

// claims has the crew make claims in its next step, and returns what the store does.
func (w *crew) claims(ctx context.Context, s *store, c client, e effort) (found work, err error) {
	calls, took, err := c.commands(ctx)
	if err != nil {
		return found, err
	}
	var made tally
	cpu, err := s.used(func() (err error) {
		made, err = w.step()
		return err
	})
	if err != nil {
		return found, err
	}
	callsThen, tookThen, err := c.commands(ctx)
	if callsThen > calls {
		found.script = 1000 * (tookThen - took) / (callsThen - calls)
	}
	claims := float64(made.Claims)
	found.claims, found.cpu = claims/e.duration.Seconds(), float64(cpu)/claims
	return found, err
}

// used returns how much CPU time the store uses while do is at work.
func (s *store) used(do func() error) (time.Duration, error) {
	before, err := s.cpuTime()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := s.cpuTime()
	return after - before, err
}

// keySizes returns how many bytes the state of a key takes, on average of a few, and what a
// key takes of all that the store has used since empty.
func keySizes(ctx context.Context, c client, e effort, empty int64) (state, key float64, err error) {
	total, err := c.total(ctx)
	if err != nil {
		return 0, 0, err
	}
	const sample = 20
	var sum int64
	for i := range sample {
		size, err := c.size(ctx, keyName(i*e.keys/sample))
		if err != nil {
			return 0, 0, err
		}
		sum += size
	}
	return float64(sum) / sample, float64(total-empty) / float64(e.keys), nil
}
