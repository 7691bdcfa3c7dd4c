//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/throttle-go/throttle/bench/internal/measure"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// The content of claims, as throttlers with an interval of a minute make them.
const (
	interval = time.Minute
	guard    = time.Second
	spacing  = interval + guard
	lease    = 10 * time.Second
	policy   = "interval 1m0s, guard 1s, lease 10s"
)

// newClaim returns a claim for a new call, to be granted if possible.
func newClaim(spacing time.Duration) machine.Claim {
	return machine.Claim{
		ID:      strconv.FormatUint(rand.Uint64()|1<<63, 36) + "-a1", // as long as a throttler's
		New:     true,
		Age:     machine.None,
		By:      machine.MaxNumber,
		Spacing: spacing,
		Lease:   lease,
		Policy:  policy,
	}
}

// claim makes a claim of key. It is an error if the answer is not verdict.
func claim(ctx context.Context, engine fleet.Engine, key string, spacing time.Duration, verdict machine.Verdict) (machine.Reply, error) {
	reply, err := engine.Claim(ctx, key, newClaim(spacing))
	return reply, expect(key, reply, verdict, err)
}

// expect returns err, or an error if the reply to a claim of key has another verdict.
func expect(key string, reply machine.Reply, verdict machine.Verdict, err error) error {
	if err == nil && reply.Verdict != verdict {
		err = fmt.Errorf("claim of %s: verdict is %d, not %d", key, reply.Verdict, verdict)
	}
	return err
}

// deferred makes a claim of key that comes too early after a grant, and is deferred.
func deferred(ctx context.Context, engine fleet.Engine, key string) error {
	_, err := claim(ctx, engine, key, spacing, machine.Deferred)
	return err
}

// served makes a claim of key that is granted, and finishes the run.
func served(ctx context.Context, engine fleet.Engine, key string, spacing time.Duration) error {
	reply, err := claim(ctx, engine, key, spacing, machine.Granted)
	if err != nil {
		return err
	}
	_, err = engine.Finish(ctx, key, machine.Finish{Token: reply.Token, Ran: true})
	return err
}

// granted makes a claim of key that is granted, for so short a lease that the next claim is, too.
func granted(ctx context.Context, engine fleet.Engine, key string) error {
	c := newClaim(0)
	c.Lease = time.Microsecond
	reply, err := engine.Claim(ctx, key, c)
	return expect(key, reply, machine.Granted, err)
}

// An operation is compared with a number of bare ones.
type operation struct {
	name    string
	spacing time.Duration // of the first claim of a key, which is granted
	do      func(ctx context.Context, engine fleet.Engine, key string) error
	bares   int
}

func operations() []operation {
	return []operation{
		{"claim, deferred", spacing, deferred, 1},
		{"claim, granted", 0, granted, 1},
		{"claim, granted; finish", 0, func(ctx context.Context, engine fleet.Engine, key string) error {
			return served(ctx, engine, key, 0)
		}, 2},
	}
}

// A comparison compares claims with bare operations.
type comparison struct {
	operation string
	parallel  int // goroutines
	ratio     measure.Spread
	claim     float64 // nanoseconds, the median
	bare      float64
	turns     int
}

// compareClaims compares all operations on s, in one goroutine and in several.
func compareClaims(ctx context.Context, s *store, e effort) ([]comparison, error) {
	var all []comparison
	for _, parallel := range []int{1, 16} {
		c, err := s.client(ctx, parallel)
		if err != nil {
			return nil, err
		}
		for _, o := range operations() {
			made, failed := compare(ctx, c, e, parallel, o)
			all, err = append(all, made), errors.Join(err, failed)
		}
		c.close()
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// compare runs o in parallel goroutines, each with its own key, in turns with bare
// operations.
func compare(ctx context.Context, c client, e effort, parallel int, o operation) (comparison, error) {
	keys := make([]string, parallel)
	for i := range keys {
		keys[i] = fmt.Sprintf("tenant-%x", rand.Uint32()|1<<31)
	}
	var failed failure
	onKeys(keys, func(key string) { failed.note(fillRecent(ctx, c, key, o)) })(1)
	if err := failed.error(); err != nil {
		return comparison{}, err
	}
	claims := onKeys(keys, func(key string) { failed.note(o.do(ctx, c.engine(), key)) })
	bare := onKeys(keys, func(key string) {
		for range o.bares {
			failed.note(c.bare(ctx, key))
		}
	})
	turn := e.duration / 100
	n, m := measure.Fill(claims, turn), measure.Fill(bare, turn)
	var ours, theirs []float64
	measure.Alternate(e.duration, 2,
		func() { ours = append(ours, float64(claims(n))/float64(n)) },
		func() { theirs = append(theirs, float64(bare(m))/float64(m)) },
	)
	return comparison{
		operation: o.name,
		parallel:  parallel,
		ratio:     *measure.Ratios(ours, theirs, 0),
		claim:     measure.Median(ours),
		bare:      measure.Median(theirs),
		turns:     len(ours),
	}, failed.error()
}

// fillRecent gives key, which is new, as many recent claims as the store keeps.
func fillRecent(ctx context.Context, c client, key string, o operation) error {
	if err := served(ctx, c.engine(), key, o.spacing); err != nil {
		return err
	}
	for range machine.MaxIDs {
		if err := o.do(ctx, c.engine(), key); err != nil {
			return err
		}
	}
	return c.prepare(ctx, key)
}

// onKeys returns a function that does something n times for each key, in a goroutine each,
// and returns the time that took.
func onKeys(keys []string, do func(key string)) func(n int) time.Duration {
	return func(n int) time.Duration {
		start := time.Now()
		var all sync.WaitGroup
		for _, key := range keys {
			all.Go(func() {
				for range n {
					do(key)
				}
			})
		}
		all.Wait()
		return time.Since(start)
	}
}

// A failure keeps the first of the errors that goroutines note.
type failure struct {
	mu sync.Mutex
	// +checklocks:mu
	first error
}

func (f *failure) note(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil {
		f.first = err
	}
}

func (f *failure) error() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first
}
