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

// keyName returns the name of key i.
func keyName(i int) string { return fmt.Sprintf("tenant-%d", i) }

// fewKeys returns the number of keys to claim so often that the store remembers as many
// claims of each as it ever does.
func fewKeys(keys int) int { return max(1, keys/200) }

// claimerSteps are the steps of a process that claims keys round robin: it connects, makes
// the first claim of its share of the keys, claims all keys as fast as it can, and then
// only a few keys.
func (j job) claimerSteps(c client) []step {
	connect := func(ctx context.Context) (totals, error) {
		_, err := c.engine().Due(ctx, nil)
		return totals{}, err
	}
	first := func(ctx context.Context) (totals, error) {
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
		return func(ctx context.Context) (totals, error) {
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

// claimers makes claims in several goroutines, numbered from 0, until none is left or one
// fails.
func (j job) claimers(ctx context.Context, claim func(ctx context.Context, i int) (more bool, err error)) (totals, error) {
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
	return totals{Claims: made.Load()}, failed.error()
}

// A load is the work of a store under load, and the size of its keys.
type load struct {
	all, few work // on all keys, with few remembered claims each, and on a few keys

	state, key       float64 // bytes of a state, and of a whole key, after its first claim
	hotState, hotKey float64 // the same after the load
	most             float64 // bytes of a state with as many recent claims as the store remembers
}

// work is the throughput of a store and its cost.
type work struct {
	claims float64 // per second
	cpu    float64 // nanoseconds of the store's CPU time per claim
	script float64 // those within the script; 0 if unknown
}

// measureLoad measures s under load.
func measureLoad(ctx context.Context, s *store, e effort) (load, error) {
	c, err := s.client(ctx, 1)
	if err != nil {
		return load{}, err
	}
	defer c.close()
	all, err := s.startWorkers(ctx, job{
		Kind: claimer, Processes: e.processes, Goroutines: e.goroutines, Keys: e.keys, Duration: e.duration,
	})
	if err != nil {
		return load{}, err
	}
	l, err := all.load(ctx, s, c, e)
	if ended := all.end(); err == nil {
		err = ended
	}
	return l, err
}

// load lets the workers do their job.
func (w *workers) load(ctx context.Context, s *store, c client, e effort) (l load, err error) {
	var empty int64
	for _, part := range []func() error{
		func() (err error) { _, err = w.step(); return err },
		func() (err error) { empty, err = c.total(ctx); return err },
		func() (err error) { _, err = w.step(); return err },
		func() (err error) { l.state, l.key, err = keySizes(ctx, c, e, empty); return err },
		func() (err error) { l.all, err = w.claims(ctx, s, c, e); return err },
		func() (err error) { l.hotState, l.hotKey, err = keySizes(ctx, c, e, empty); return err },
		func() (err error) { l.few, err = w.claims(ctx, s, c, e); return err },
		func() error { return fillRecent(ctx, c, "crowded", operations()[0]) },
	} {
		if err := part(); err != nil {
			return l, err
		}
	}
	most, err := c.size(ctx, "crowded")
	l.most = float64(most)
	return l, err
}

// claims lets the workers make claims in their next step, and measures the store.
func (w *workers) claims(ctx context.Context, s *store, c client, e effort) (found work, err error) {
	calls, took, err := c.commands(ctx)
	if err != nil {
		return found, err
	}
	var made totals
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

// used returns the CPU time that the store uses during do.
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

// keySizes returns the bytes of a key's state, the average of a few keys, and the bytes of a
// whole key, out of everything that the store has used since empty.
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
