package throttle

import (
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// This file holds the Group: one Throttler per key. How its keys are held and
// forgotten is in shard.go.

// A Group is one [Throttler] per key. Keys are independent: the window, run,
// failure or panic of one touches no other, and runs of different keys are
// active at the same time, unless [WithMaxConcurrent] says how many.
//
// A key is held from its first call on, and forgotten as soon as its state
// decides nothing any more: nothing is pending, nothing runs, and the window, the
// bucket of Burst, the Quiet after its last call and a failed run's backoff are
// over. So forgetting changes nothing of when later calls run. With MaxInterval
// a key is due for ever, and never forgotten.
//
// A Group is built by [NewGroup], and its zero value cannot be used. It must not
// be copied. Its methods may be called concurrently, and from the callback too.
// No key owns a goroutine or a timer while nothing of it is pending; a Group that
// holds no key owns none at all, and needs no Close if it has no parent context.
// But each run is a goroutine, and calls for very many keys at a time start as
// many, unless WithMaxConcurrent bounds them.
type Group[K comparable] struct {
	fn     func(context.Context, K) error
	extras *extras
	base   time.Time // instant 0
	seed   maphash.Seed
	keys   atomic.Int64 // how many are held
	shards [shardCount]shard[K]

	mu sync.Mutex // guards the fields below, and extras.ended; taken before the shards', by what changes all of them

	// +checklocks:mu
	closed bool
	// +checklocks:mu
	unwatch func() bool // stops watching the parent context; nil if it is not watched
}

// NewGroup returns a Group that runs fn for each key as p allows. Its error joins
// a [*PolicyError] for everything that is wrong with p, fn or opts.
//
// fn's context belongs to the one run, as that of a [Callback]. Handler and
// observers are called concurrently if runs of different keys end at the same
// time; so that they can tell whose an error is, fn should say so in it.
//
// Keys are compared by ==, as those of a map. One that is not equal to itself,
// such as NaN, is a new key in every call.
func NewGroup[K comparable](p Policy, fn func(ctx context.Context, key K) error, opts ...Option) (*Group[K], error) {
	e, problems := newExtras(opts, aGroup)
	problems = append(p.problems(), problems...)
	if fn == nil {
		problems = append(problems, &PolicyError{Field: "callback", Value: nil, Reason: mustNotBeNil})
	}
	if err := joinProblems(e.name, problems); err != nil {
		return nil, err
	}
	g := &Group[K]{fn: fn, extras: e, base: time.Now(), seed: maphash.MakeSeed()}
	e.keeper = g
	for i := range g.shards {
		g.shards[i].init(g, &p)
	}
	g.watch()
	return g, nil
}

// Call asks for a run for key that starts after Call began. It does not wait for
// the run, nor for other keys.
//
// It returns [ErrClosed] once the Group is closed or Shutdown has begun, and
// [ErrTooManyKeys] if key is new and one too many. A call dropped because the
// policy has no trailing edge is no error, as it is none of [Throttler.Call].
func (g *Group[K]) Call(key K) error {
	// This is locate and find, written out, as the compiler inlines neither: a
	// call that finds a run pending consists of little else. What is found
	// without the lock may just be forgotten, but then no run is pending, and the
	// call does not coalesce.
	hash := uint32(maphash.Comparable(g.seed, key)) //nolint:gosec // the lower half of it
	e := g.shard(hash).first(hash)
	for e != nil && e.key != key {
		e = e.next.Load()
	}
	if e != nil && (e.word.Load() == wordPending || e.coalesce()) {
		return nil
	}
	return g.call(g.locate(key), unhurried)
}

// CallWithin is a Call that neither Quiet nor a trailing edge may postpone
// beyond d from now; Interval and a failed run's backoff still may. Negative d
// counts as 0. The calls that wait for the same run gain by it too.
func (g *Group[K]) CallWithin(key K, d time.Duration) error { return g.call(g.locate(key), d) }

// +checklocksignore
func (g *Group[K]) call(at location[K], within time.Duration) error {
	at.mu.Lock()
	defer at.mu.Unlock()
	e, err := at.holdLocked()
	if err != nil {
		return err
	}
	now := e.beginLocked()
	defer e.settleLocked(now, false)
	e.callLocked(now, within) // or dropped, if the edge is leading alone
	return nil
}

// Do is a Call that waits for the run that covers it, and returns that run's
// error. It returns the errors of [Throttler.Do], and [ErrTooManyKeys].
// [ErrReentrant] is for the context of the same key's run only: a run may wait
// for another key's. With [WithMaxConcurrent] it holds its turn meanwhile, and
// runs that all wait for others may wait until their contexts end.
func (g *Group[K]) Do(ctx context.Context, key K) error {
	t, o, err := g.ask(ctx, key)
	if err != nil {
		return err
	}
	return t.wait(ctx, o)
}

// ask makes Do's call and returns what it waits for.
//
// +checklocksignore
func (g *Group[K]) ask(ctx context.Context, key K) (*Throttler, *outcome, error) {
	own, ended, at := g.runKey().own(ctx), ctx.Err(), g.locate(key)
	at.mu.Lock()
	defer at.mu.Unlock()
	e := at.find()
	if e == nil {
		if at.phase == open && ended != nil {
			return nil, nil, ended
		}
		held, err := at.holdLocked()
		if err != nil {
			return nil, nil, err
		}
		e = held
	}
	now := e.beginLocked()
	defer e.settleLocked(now, false)
	if err := e.admitLocked(open, own, ended); err != nil {
		return nil, nil, err
	}
	if !e.callLocked(now, unhurried) {
		return nil, nil, e.refusalLocked(now)
	}
	return &e.Throttler, e.awaitCallLocked(ctx), nil
}

// Flush makes what is pending for key due now, whatever the policy says, and waits
// until every call for key made before it is covered by a finished run, as
// [Throttler.Flush] does. For a key that is not held there is nothing to wait for.
func (g *Group[K]) Flush(ctx context.Context, key K) error {
	t, o, err := g.flush(ctx, key)
	if o == nil {
		return err
	}
	return t.wait(ctx, o)
}

// flush returns what Flush waits for, nil if for nothing.
//
// +checklocksignore
func (g *Group[K]) flush(ctx context.Context, key K) (*Throttler, *outcome, error) {
	own, ended, at := g.runKey().own(ctx), ctx.Err(), g.locate(key)
	at.mu.Lock()
	defer at.mu.Unlock()
	e := at.find()
	switch {
	case e == nil && at.phase == closed:
		return nil, nil, at.closedError(closed)
	case e == nil:
		return nil, nil, ended
	}
	now := e.beginLocked()
	defer e.settleLocked(now, false)
	if err := e.admitLocked(draining, own, ended); err != nil {
		return nil, nil, err
	}
	return &e.Throttler, e.flushLocked(now), nil
}

// Cancel drops what is pending for key, and reports whether anything was, as
// [Throttler.Cancel] does.
func (g *Group[K]) Cancel(key K) bool { return g.cancel(g.locate(key)) }

// +checklocksignore
func (g *Group[K]) cancel(at location[K]) bool {
	at.mu.Lock()
	defer at.mu.Unlock()
	e := at.find()
	if e == nil {
		return false
	}
	defer e.settleLocked(e.beginLocked(), false)
	return e.cancelLocked()
}

// Len returns how many keys are held.
func (g *Group[K]) Len() int { return int(g.keys.Load()) }

// Keys returns the keys that are held, in no order. The Group is not locked while
// the loop's body runs: a key that is called or forgotten meanwhile may be there
// or not.
func (g *Group[K]) Keys() iter.Seq[K] {
	return func(yield func(K) bool) {
		for i := range g.shards {
			for _, e := range g.shards[i].held() {
				if !yield(e.key) {
					return
				}
			}
		}
	}
}

// Name returns what WithName gave.
func (g *Group[K]) Name() string { return g.extras.name }

// Policy returns the policy in force.
func (g *Group[K]) Policy() Policy {
	s := &g.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.policy
}

// SetPolicy replaces the policy of every key, present and future, as
// [Throttler.SetPolicy] does, and forgets those whose state decides nothing under
// the new one. A key that was forgotten before is a new one under any policy. It
// takes time in proportion to the keys held.
func (g *Group[K]) SetPolicy(p Policy) error {
	if err := joinProblems(g.extras.name, p.problems()); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.shards {
		if err := g.shards[i].setPolicy(&p); err != nil {
			return err // the first, as only the holder of mu changes the phase
		}
	}
	return nil
}

// Stats returns the sum over all keys, forgotten ones included. Its LastStart,
// LastDuration and LastError are those of the last run of any key, Pending and
// Running tell whether any key is, and Next is the earliest. It takes time in
// proportion to the keys held, and is not a snapshot of one instant.
func (g *Group[K]) Stats() Stats {
	clock := g.shards[0].clock()
	past, stats := newTally(), Stats{}
	for i := range g.shards {
		g.shards[i].addTo(&past, &stats, clock)
	}
	past.addTo(&stats, clock)
	return stats
}

// KeyStats returns a snapshot of key, and whether it is held. Of the past it tells
// LastStart only: runs, failures and dropped calls are counted for the Group as a
// whole, and so are calls, but for those that are pending.
func (g *Group[K]) KeyStats(key K) (stats Stats, held bool) { return g.keyStats(g.locate(key)) }

// +checklocksignore
func (g *Group[K]) keyStats(at location[K]) (stats Stats, held bool) {
	at.mu.Lock()
	defer at.mu.Unlock()
	clock := at.clock()
	stats.Closed = at.phase != open
	e := at.find()
	if e == nil {
		return stats, false
	}
	e.absorbLocked(e.word.Load())
	stats.LastStart = clock.time(e.history.started)
	e.addLocked(&stats, clock)
	return stats, true
}

// Close closes the Group at once, as [Throttler.Close] does for every key: it
// drops what is pending and cancels the contexts of the active runs, but does not
// wait for those. It may be called several times, and always returns nil.
func (g *Group[K]) Close() error {
	g.close(nil)
	return nil
}

// close implements keeper.
func (g *Group[K]) close(cause error) {
	for _, release := range g.closeShards(cause) {
		release()
	}
}

// closeShards closes every key, and returns what is to be called once no lock is
// held.
func (g *Group[K]) closeShards(cause error) (releases []func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		g.extras.ended = cause
		if stop := g.unwatch; stop != nil {
			releases = append(releases, func() { stop() })
		}
	}
	for i := range g.shards {
		releases = append(releases, g.shards[i].close()...)
	}
	return releases
}

// watch makes the end of the parent context close the Group.
func (g *Group[K]) watch() {
	if unwatch := g.extras.watch(g.close); unwatch != nil {
		g.mu.Lock()
		g.unwatch = unwatch
		g.mu.Unlock()
	}
}

// Shutdown closes the Group gracefully: from its begin calls are refused, what is
// pending for any key runs now, whatever the policy says, as far as
// [WithMaxConcurrent] lets it, and when the last run is over the Group is closed.
// It returns what [Throttler.Shutdown] returns for each key, joined.
//
// If ctx ends first, or had ended before, Shutdown closes the Group as Close does
// and returns ctx.Err(), joined with the errors of the runs that are over. Inside
// the callback, with the run's own context, it returns [ErrReentrant] and has no
// effect.
func (g *Group[K]) Shutdown(ctx context.Context) error {
	own, ended := g.runKey().own(ctx), ctx.Err()
	if own != nil && own.active() {
		return sentinel(ErrReentrant, g.extras.name, nil)
	}
	defer g.close(nil)
	if ended != nil {
		return ended
	}
	var errs []error
	for _, w := range g.drain() {
		err := w.throttler.drained(ctx, w.outcome)
		if ended == nil {
			ended = ctx.Err()
		}
		// Once ctx has ended, all waits do, most of them with the same error.
		if err != nil && (err != ended || !slices.Contains(errs, err)) { //nolint:errorlint // the very same
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// drain refuses calls from now on, makes what is pending due, and returns what is
// to be waited for.
func (g *Group[K]) drain() (waits []wait) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.shards {
		waits = append(waits, g.shards[i].drain()...)
	}
	return waits
}

func (g *Group[K]) runKey() runKey { return runKey{g} }
