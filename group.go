package throttle

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// A Group is one [Throttler] per key. Keys are independent: each has its own window,
// and one key's run, failure or panic does not affect another. Runs of different
// keys may be active at the same time; [WithMaxConcurrent] limits how many.
//
// A Group holds a key from its first call until its state no longer matters: nothing
// is pending, nothing runs, and the window, the bucket of Burst, the Quiet after its
// last call and a failed run's backoff are over. It then forgets the key. That never
// changes when later calls run. With MaxInterval a key always has a run due: only
// [Group.Remove] or the Group's end forgets it.
//
// [NewGroup] builds a Group; the zero value is not usable. It must not be copied. Its
// methods may be called concurrently, from the callback too. A key with nothing
// pending owns no goroutine and no timer. A Group that holds no key owns none at all;
// if it has no parent context either, you need not close it. Each run is a goroutine,
// so calls for very many keys at once start as many goroutines, unless
// WithMaxConcurrent limits them.
type Group[K comparable] struct {
	fn     func(context.Context, K) error
	config *config
	seed   maphash.Seed
	keys   atomic.Int64 // how many are held

	holderOf func(*entry[K]) keyHolder[K] // makes the runner of a new key; nil if calls carry no values

	shards [shardCount]shard[K]

	mu sync.Mutex // guards the fields below; operations that change all shards take it first

	// +checklocks:mu
	closed bool
	// +checklocks:mu
	unwatch func() bool // stops watching the parent context; nil if it is not watched

	lastMu sync.Mutex // guards last; taken after a shard's lock

	// last is of the last runs of any key. In the shards, the errors of older runs would
	// stay in memory though Stats does not show them any more.
	//
	// +checklocks:lastMu
	last lastRun
}

// NewGroup returns a Group that runs fn for each key as p allows. Its error joins a
// [*PolicyError] for each problem with p, fn or opts.
//
// The context that fn gets belongs to one run, as for a [Callback]. The handler and
// the observers are called concurrently if runs of different keys end at the same
// time. The handler gets a [*KeyError], which says which key failed.
//
// Keys are compared by ==, like those of a map. A key that is not equal to itself,
// such as NaN, is a new key in every call.
func NewGroup[K comparable](p Policy, fn func(ctx context.Context, key K) error, opts ...Option) (*Group[K], error) {
	c, problems := newConfig(opts, aGroup)
	problems = append(p.problems(), problems...)
	if fn == nil {
		problems = append(problems, &PolicyError{Field: "callback", Value: nil, Reason: mustNotBeNil})
	}
	if err := joinProblems(c.name, problems); err != nil {
		return nil, err
	}
	g := newGroup[K](p, c)
	g.fn = fn
	g.watch()
	return g, nil
}

// newGroup returns a Group that lacks a callback and does not watch the parent yet.
func newGroup[K comparable](p Policy, c *config) *Group[K] {
	g := &Group[K]{config: c, seed: maphash.MakeSeed()}
	c.owner = g
	g.last = lastRun{started: beginning, ended: beginning}
	built := readClock(0)
	for i := range g.shards {
		g.shards[i].init(g, built, &p)
	}
	return g
}

// Call asks for a run for key that starts after Call began. It waits neither for the
// run nor for other keys.
//
// Call returns [ErrClosed] once the Group is closed or Shutdown has begun, and
// [ErrTooManyKeys] if key is new and exceeds [WithMaxKeys]. A call that is dropped
// because the policy has no trailing edge is not an error.
func (g *Group[K]) Call(key K) error {
	// This is locate and the lookup without the lock, written out: the compiler inlines
	// neither, and a call that finds a run pending consists of little else. An entry
	// that was found without the lock may just have been forgotten. Then no run is
	// pending, and the call does not coalesce.
	hash := uint32(maphash.Comparable(g.seed, key)) //nolint:gosec // the lower half of it
	e := g.shard(hash).table.first(hash)
	for e != nil && e.key != key {
		e = e.next.Load()
	}
	if e != nil && (e.word.Load() == wordPending || e.coalesce()) {
		return nil
	}
	return g.call(g.locate(key), noLimit)
}

// CallWithin is a Call whose run neither Quiet nor a trailing edge may postpone
// beyond d from now, as [Throttler.CallWithin] is.
func (g *Group[K]) CallWithin(key K, d time.Duration) error { return g.call(g.locate(key), d) }

// +checklocksignore
func (g *Group[K]) call(at location[K], within time.Duration) error {
	at.mu.Lock()
	defer at.mu.Unlock()
	e, err := at.findOrAddLocked()
	if err != nil {
		return err
	}
	now := e.beginLocked()
	defer e.settleLocked(now, false)
	e.callLocked(now, within) // with only the leading edge, this may drop the call
	return nil
}

// Do is a Call that waits for the run that covers it, and returns that run's error.
// It returns the errors of [Throttler.Do], and [ErrTooManyKeys].
//
// A run may wait for another key's run, but not for its own key's: Do then returns
// [ErrReentrant]. With [WithMaxConcurrent], a run that waits keeps its turn; if all
// active runs wait for others, they may wait until their contexts end.
func (g *Group[K]) Do(ctx context.Context, key K) error {
	t, o, err := g.ask(ctx, key)
	if err != nil {
		return err
	}
	return t.wait(ctx, o)
}

// ask makes Do's call and returns the Throttler and the outcome to wait for.
//
// +checklocksignore
func (g *Group[K]) ask(ctx context.Context, key K) (*Throttler, *outcome, error) {
	own, ended, at := g.ownRun(ctx), ctx.Err(), g.locate(key)
	at.mu.Lock()
	defer at.mu.Unlock()
	e, err := at.admitLocked(own, ended)
	if err != nil {
		return nil, nil, err
	}
	now := e.beginLocked()
	defer e.settleLocked(now, false)
	if err := e.admitLocked(open, own, ended); err != nil {
		return nil, nil, err
	}
	if !e.callLocked(now, noLimit) {
		return nil, nil, e.refusalLocked(now)
	}
	return &e.Throttler, e.awaitCallLocked(ctx), nil
}

// Flush makes what is pending for key due now, whatever the policy says, and waits
// until a finished run covers every earlier call for key, as [Throttler.Flush] does.
// If the Group does not hold key, Flush has nothing to wait for.
func (g *Group[K]) Flush(ctx context.Context, key K) error {
	t, o, err := g.flush(ctx, key)
	if o == nil {
		return err
	}
	return t.wait(ctx, o)
}

// flush returns the Throttler and the outcome that Flush waits for; nil if none.
//
// +checklocksignore
func (g *Group[K]) flush(ctx context.Context, key K) (*Throttler, *outcome, error) {
	own, ended, at := g.ownRun(ctx), ctx.Err(), g.locate(key)
	at.mu.Lock()
	defer at.mu.Unlock()
	e := at.find()
	switch {
	case e == nil && at.phase == closed:
		return nil, nil, at.closedLocked()
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

// Cancel drops what is pending for key and reports whether anything was, as
// [Throttler.Cancel] does.
func (g *Group[K]) Cancel(key K) bool {
	_, pending := g.drop(g.locate(key), false, nil)
	return pending
}

// drop drops what is pending for a key, and the key too if remove is true. It first calls
// see, if that is not nil, under the lock. drop reports whether the Group held the key,
// and whether anything was pending.
//
// +checklocksignore
func (g *Group[K]) drop(at location[K], remove bool, see func(*entry[K])) (held, pending bool) {
	at.mu.Lock()
	defer at.mu.Unlock()
	e := at.find()
	if e == nil {
		return false, false
	}
	defer e.settleLocked(e.beginLocked(), false)
	if see != nil {
		see(e)
	}
	pending = e.cancelLocked()
	if remove {
		e.history.removed = true
	}
	return true, pending
}

// Remove drops what is pending for key, as Cancel does, and forgets the key with its
// window and everything else. It reports whether the Group held the key. With
// MaxInterval a key ends only so.
//
// While the key's run is active, the Group holds the key until that run ends. A call
// meanwhile keeps it: the key then starts afresh at the run's end, with a new window.
// A policy without a trailing edge drops that call.
func (g *Group[K]) Remove(key K) bool {
	held, _ := g.drop(g.locate(key), true, nil)
	return held
}

// Pause lets no run of any key start, present or future, as [Throttler.Pause] does.
// Meanwhile the Group forgets idle keys as usual, and holds those with something
// pending.
func (g *Group[K]) Pause() { g.setPaused(true) }

// Resume ends a pause: what is due starts.
func (g *Group[K]) Resume() { g.setPaused(false) }

func (g *Group[K]) setPaused(paused bool) {
	for _, report := range g.pauseShards(paused) {
		report()
	}
}

// pauseShards pauses every key, or ends the pause. The caller must call the reports once
// it holds no lock.
func (g *Group[K]) pauseShards(paused bool) (reports []func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checkClock()
	for i := range g.shards {
		g.shards[i].pause(paused)
	}
	for i := range g.shards {
		reports = append(reports, g.shards[i].pauseKeys(paused)...)
	}
	return reports
}

// Wait waits until the runs of all keys that are active now have ended, with their
// hooks, and joins a [*KeyError] for each that failed. It starts no run, and later
// runs do not concern it. Otherwise it is like [Throttler.Wait].
func (g *Group[K]) Wait(ctx context.Context) error {
	own, ended := g.ownRun(ctx), ctx.Err()
	if own != nil && own.active() {
		return detailed(ErrReentrant, g.config.name, nil)
	}
	var waits []wait
	for i := range g.shards {
		active, err := g.shards[i].awaitActive(ended)
		if err != nil {
			return err
		}
		waits = append(waits, active...)
	}
	var errs []error
	for _, w := range waits {
		failed, ctxErr := w.throttler.await(ctx, w.outcome)
		if failed != nil {
			errs = append(errs, w.throttler.keyed(failed))
		}
		ended = cmp.Or(ended, ctxErr)
	}
	return errors.Join(append(errs, ended)...)
}

// Len returns the number of keys that the Group holds.
func (g *Group[K]) Len() int { return int(g.keys.Load()) }

// Keys returns the keys that the Group holds, in no order. The Group is not locked
// while the loop's body runs, so the body may call any method. A key that is added
// or forgotten during the loop may be missing or not.
func (g *Group[K]) Keys() iter.Seq[K] {
	return func(yield func(K) bool) {
		for i := range g.shards {
			for w := g.shards[i].walk(); w.nextChunk(); {
				w.unlock()
				for _, e := range w.chunk {
					if !yield(e.key) {
						return
					}
				}
			}
		}
	}
}

// Name returns the name given by [WithName].
func (g *Group[K]) Name() string { return g.config.name }

// Policy returns the current policy.
func (g *Group[K]) Policy() Policy {
	s := &g.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.policy
}

// SetPolicy replaces the policy of every key, present and future, as
// [Throttler.SetPolicy] does. It forgets the keys whose state does not matter under
// the new policy. A key that was forgotten before is new under any policy. SetPolicy
// takes time proportional to the number of keys, but no call waits for all of them.
func (g *Group[K]) SetPolicy(p Policy) error {
	if err := joinProblems(g.config.name, p.problems()); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checkClock()
	for i := range g.shards {
		if err := g.shards[i].setPolicy(&p); err != nil {
			return err // from the first shard: only a holder of mu changes the phase
		}
	}
	for i := range g.shards {
		g.shards[i].adopt(&p)
	}
	return nil
}

// Stats returns the sum over all keys, including forgotten ones. LastStart,
// LastDuration and LastError belong to the last run of any key. Pending and Running
// say whether any key is. Next is the earliest of all keys. Stats takes time
// proportional to the number of keys, and is not a snapshot of one instant.
func (g *Group[K]) Stats() Stats {
	clock := g.shards[0].clock()
	var stats Stats
	for i := range g.shards {
		g.shards[i].addTo(&stats, clock)
	}
	g.lastMu.Lock()
	defer g.lastMu.Unlock()
	g.last.addTo(&stats, clock)
	return stats
}

// KeyStats returns a snapshot of key, and whether the Group holds it. Of the key's
// past it has only LastStart. Runs, failures and dropped calls are counted for the
// whole Group; so are calls, except for the pending ones.
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
	stats.LastStart = clock.time(e.history.lastStart())
	stats.Calls = e.pendingCalls
	if h := e.holder(); h != nil {
		stats.Calls = h.pendingCallsLocked()
	}
	e.addLocked(&stats, clock)
	return stats, true
}

// checkClock panics if the clock cannot be used here. Operations on all keys call it
// before they change anything.
func (g *Group[K]) checkClock() { _ = g.shards[0].now() }

// ownRun returns the run of any key that ctx belongs to, active or not; nil if none.
func (g *Group[K]) ownRun(ctx context.Context) *run { return g.shards[0].ownRun(ctx) }
