package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// A Group is one throttle per key, each shared by a fleet: every process has a Group on the same
// engine, and whichever of them calls, a key's callback runs at most once per interval in all of
// them together. Keys are independent. Make a Group with [NewGroup]. Its methods may be called
// concurrently, from the callback too.
//
// Keys need not be known beforehand. A Group holds a key in memory only while it is of use in this
// process: while a call is pending here, or a run active. A key that is due and that no living
// process holds is taken over by any process of the fleet that has room for one more run. So a
// call that the store has received is not lost with its process.
//
// A Group owns the engine: every key in the namespace is a key of the Group, and must have been
// called by a Group with the same callback. An engine takes no second Group, and no [Throttler]
// of [New] beside it.
//
// Close a Group to release it. Until then the engine's [Base] refers to it, and looks for due keys
// even if the Group holds none.
type Group struct {
	engine Engine
	fn     func(ctx context.Context, key string) error
	config *config
	slots  *slots
	seen   atomic.Int64 // the highest token of all keys, for throttlers that are made later

	mu sync.Mutex // guards the fields below; taken before a Throttler's and the Base's

	// +checklocks:mu
	members map[string]*Throttler
	// +checklocks:mu
	phase phase
	// The policy in force, and what follows from it.
	// +checklocks:mu
	policy throttle.Policy
	// +checklocks:mu
	rules replica.Rules
	// What Stats and Counts show of the throttlers that are gone.
	// +checklocks:mu
	past throttle.Stats
	// +checklocks:mu
	counts Counts
	// Stops watching the parent context.
	// +checklocks:mu
	unwatch func() bool
}

// NewGroup returns a Group that runs fn for each key as p allows, in all processes with a Group on
// the same engine together. It does not wait for the store. The Group looks for due keys at once,
// so it may run fn for calls of other processes.
//
// NewGroup accepts the policies that [New] accepts, and returns the same errors. The error handler
// gets a [*throttle.KeyError], which names the key.
func NewGroup(
	engine Engine, p throttle.Policy, fn func(ctx context.Context, key string) error, opts ...Option,
) (*Group, error) {
	c, problems := newConfig(opts, "")
	problems = append(problems, c.check(engine, fn == nil, p)...)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	g := &Group{
		engine:  engine,
		fn:      fn,
		config:  c,
		slots:   newSlots(c.maxConcurrent),
		members: map[string]*Throttler{},
		policy:  p,
		rules:   c.rules(p),
	}
	if !engine.base().joinGroup(g) {
		return nil, &throttle.PolicyError{Field: "engine", Value: fmt.Sprintf("%T", engine), Reason: "has a Group or Throttlers already"}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unwatch = context.AfterFunc(c.parent, func() { g.close(context.Cause(c.parent)) })
	return g, nil
}

// Name returns the name that WithName set, or "".
func (g *Group) Name() string { return g.config.name }

// Call asks for a run for key, in any process, that starts after Call began. It never blocks.
//
// It returns [throttle.ErrClosed] once the Group is closed or Shutdown has begun,
// [throttle.ErrTooManyKeys] if the Group does not hold key and WithMaxKeys allows no more, and a
// [*throttle.PolicyError] if key is not 1 to 512 bytes of UTF-8 without NUL.
//
// Until the store has received the call, only this process knows of it.
func (g *Group) Call(key string) error {
	for {
		t, err := g.member(key)
		if err != nil {
			return err
		}
		if t.call() {
			return nil
		}
		g.remove(t) // it became idle in between
	}
}

// Do is a Call that waits for a run that covers it, in any process, and returns the outcome of
// that run. It returns the errors of Call and of [Throttler.Do].
//
// A callback may wait for another key's run, but not for its own key's. With WithMaxConcurrent, a
// run that waits keeps its place.
func (g *Group) Do(ctx context.Context, key string) error {
	for {
		t, err := g.member(key)
		if err != nil {
			return err
		}
		switch w, err := t.ask(ctx); {
		case err == nil:
			return t.await(ctx, w)
		case !errors.Is(err, throttle.ErrClosed):
			return err
		}
		g.remove(t) // it became idle in between, or the Group is closed
	}
}

// Cancel drops this process's calls for key, and reports whether any was pending, as
// [Throttler.Cancel] does.
func (g *Group) Cancel(key string) bool {
	t := g.held(key)
	return t != nil && t.Cancel()
}

// Forget drops this process's calls for key as Cancel does, and deletes the key's state from the
// store, as [Engine.Forget] does: its window, the calls of all processes, and the outcome of its
// last run.
func (g *Group) Forget(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	g.Cancel(key)
	return g.engine.Forget(ctx, key)
}

// Len returns how many keys the Group holds in this process.
func (g *Group) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)
}

// Keys returns the keys that the Group holds in this process, in no order. The loop's body may
// call any method.
func (g *Group) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		g.mu.Lock()
		keys := slices.Collect(maps.Keys(g.members))
		g.mu.Unlock()
		for _, key := range keys {
			if !yield(key) {
				return
			}
		}
	}
}

// KeyStats returns a snapshot of key in this process, as [Throttler.Stats] does, and whether the
// Group holds it. The snapshot begins with the call since which it is held.
func (g *Group) KeyStats(key string) (stats throttle.Stats, held bool) {
	t := g.held(key)
	if t == nil {
		return throttle.Stats{}, false
	}
	return t.Stats(), true
}

// Policy returns the policy in force.
func (g *Group) Policy() throttle.Policy {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policy
}

// SetPolicy replaces this process's policy of every key, as [Throttler.SetPolicy] does for one.
func (g *Group) SetPolicy(p throttle.Policy) error {
	if err := errors.Join(g.config.checkPolicy(p)...); err != nil {
		return err
	}
	rules := g.config.rules(p)
	g.mu.Lock()
	if g.phase != open {
		g.mu.Unlock()
		return g.config.named(throttle.ErrClosed)
	}
	g.policy, g.rules = p, rules
	members := g.membersLocked()
	g.mu.Unlock()
	for _, t := range members {
		t.setPolicy(p, rules)
	}
	return nil
}

// Stats returns the sum over all keys of this process, including those that it does not hold any
// more. LastStart, LastDuration and LastError belong to the last run of any key. Pending and
// Running say whether any key is. Next is the earliest of all keys. Stats takes time proportional
// to the number of keys, and is not a snapshot of one instant.
func (g *Group) Stats() throttle.Stats {
	g.mu.Lock()
	sum, isClosed := g.past, g.phase != open
	members := g.membersLocked()
	g.mu.Unlock()
	for _, t := range members {
		addStats(&sum, t.Stats())
	}
	sum.Closed = isClosed
	return sum
}

// Counts returns how often something has happened in this process, for all keys together.
func (g *Group) Counts() Counts {
	g.mu.Lock()
	sum := g.counts
	members := g.membersLocked()
	g.mu.Unlock()
	for _, t := range members {
		sum.add(t.Counts())
	}
	return sum
}

// addStats adds a key's snapshot to the sum.
func addStats(sum *throttle.Stats, s throttle.Stats) {
	sum.Runs += s.Runs
	sum.Failures += s.Failures
	sum.Panics += s.Panics
	sum.Calls += s.Calls
	sum.Pending = sum.Pending || s.Pending
	sum.Running = sum.Running || s.Running
	if s.LastStart.After(sum.LastStart) {
		sum.LastStart, sum.LastDuration, sum.LastError = s.LastStart, s.LastDuration, s.LastError
	}
	if !s.Next.IsZero() && (sum.Next.IsZero() || s.Next.Before(sum.Next)) {
		sum.Next = s.Next
	}
}

// Close closes the Group at once, as [Throttler.Close] does for every key. It always returns nil.
func (g *Group) Close() error {
	g.close(nil)
	return nil
}

// Shutdown closes the Group gracefully, as [Throttler.Shutdown] does for every key: it waits until
// the store has received the calls that it did not know of, and until the active runs are done.
// It joins a [*throttle.KeyError] for each run that failed meanwhile. Inside the callback, with
// the run's own context, it returns [throttle.ErrReentrant] and has no effect.
//
// If ctx ends first, or ended before, Shutdown closes the Group as Close does, and returns
// ctx.Err(), joined with an [*EngineError] if the store cannot be used.
func (g *Group) Shutdown(ctx context.Context) error {
	if own, _ := ctx.Value(runKey{}).(*run); own != nil && own.throttler.group == g && own.throttler.isOwn(ctx) {
		return g.config.named(throttle.ErrReentrant)
	}
	ended := ctx.Err()
	members := g.refuse(draining)
	waits := make([]<-chan struct{}, len(members))
	for i, t := range members {
		waits[i] = t.drain()
	}
	var failed []error
	for i, t := range members {
		if ended == nil {
			select {
			case <-waits[i]:
			case <-ctx.Done():
				ended = ctx.Err()
			}
		}
		if err := t.drainedError(); err != nil {
			failed = append(failed, &throttle.KeyError{Key: t.key, Err: err})
		}
	}
	if ended != nil {
		failed = append(failed, g.interrupted(ctx, members))
	}
	g.close(nil)
	select {
	case <-g.engine.base().pollerEnded():
	case <-ctx.Done():
		if ended == nil {
			failed = append(failed, ctx.Err())
		}
	}
	return errors.Join(failed...)
}

// interrupted returns the error of a Shutdown whose ctx has ended.
func (g *Group) interrupted(ctx context.Context, members []*Throttler) error {
	for _, t := range members {
		if err := t.interrupted(ctx); errors.As(err, new(*EngineError)) {
			return err
		}
	}
	return ctx.Err()
}

// close closes the Group. If cause is not nil, the parent context has ended with it.
func (g *Group) close(cause error) {
	for _, t := range g.refuse(closed) {
		t.close(cause)
	}
	g.mu.Lock()
	unwatch := g.unwatch
	g.mu.Unlock()
	unwatch()
	g.engine.base().leaveGroup(g)
}

// refuse refuses calls from now on, and returns the throttlers of all keys.
func (g *Group) refuse(next phase) []*Throttler {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.phase = max(g.phase, next)
	return g.membersLocked()
}

func (g *Group) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.phase == closed
}

// membersLocked returns the throttlers of all keys.
//
// +checklocks:g.mu
func (g *Group) membersLocked() []*Throttler { return slices.Collect(maps.Values(g.members)) }

// member returns the throttler of key, and makes one if there is none.
func (g *Group) member(key string) (*Throttler, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch t := g.members[key]; {
	case g.phase != open:
		return nil, g.config.named(throttle.ErrClosed)
	case t != nil:
		return t, nil
	case !g.hasRoomLocked():
		return nil, g.config.named(fmt.Errorf("%w: %q", throttle.ErrTooManyKeys, key))
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return g.makeLocked(key, noSlot), nil
}

// hasRoomLocked reports whether WithMaxKeys allows one more key.
//
// +checklocks:g.mu
func (g *Group) hasRoomLocked() bool {
	return g.config.maxKeys == 0 || len(g.members) < g.config.maxKeys
}

// makeLocked makes the throttler of key.
//
// +checklocks:g.mu
func (g *Group) makeLocked(key string, slot slotState) *Throttler {
	t := newThrottler(g.engine, key, g.config, g.policy, g.rules, func(ctx context.Context) error { return g.fn(ctx, key) })
	t.group = g
	t.mu.Lock()
	t.slot, t.adopted = slot, slot == hasSlot
	t.replica.See(g.seen.Load())
	t.mu.Unlock()
	g.members[key] = t
	g.engine.base().join(g.engine, t)
	return t
}

// held returns the throttler of key, or nil.
func (g *Group) held(key string) *Throttler {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members[key]
}

// saw records the highest token that a key's throttler has seen.
func (g *Group) saw(token int64) {
	for seen := g.seen.Load(); token > seen && !g.seen.CompareAndSwap(seen, token); {
		seen = g.seen.Load()
	}
}

// remove removes a throttler that is closed.
func (g *Group) remove(t *Throttler) {
	g.mu.Lock()
	if g.members[t.key] == t {
		delete(g.members, t.key)
		if len(g.members) == 0 {
			g.members = map[string]*Throttler{} // a map keeps the memory of what it once held
		}
		addStats(&g.past, t.Stats())
		g.past.Pending, g.past.Running, g.past.Next = false, false, time.Time{}
		g.counts.add(t.Counts())
	}
	g.mu.Unlock()
	g.engine.base().leave(t)
}

// proceed passes on a slot that a throttler does not need any more, if freed is set, and takes
// over as many due keys as it can. adopted is set if the claim for such a key was answered.
func (g *Group) proceed(freed, adopted bool) {
	if adopted {
		g.slots.adopted()
	}
	if freed {
		g.passSlot()
	}
	g.adoptMore()
}

// passSlot gives a slot to the first throttler that waits for one and can use it. While the Group
// closes, nobody can: those that wait will be closed next.
func (g *Group) passSlot() {
	if g.isClosed() {
		return
	}
	for t := g.slots.next(); t != nil && !t.useSlot(); {
		t = g.slots.next()
	}
}

// adoptMore takes over due keys that nobody here holds, as long as there are slots for them.
func (g *Group) adoptMore() {
	for {
		key, again, ok := g.slots.adopt()
		if again {
			g.engine.base().lookAgain()
		}
		if !ok {
			return
		}
		if !g.adopt(key) {
			g.slots.adopted()
			g.passSlot()
		}
	}
}

// adopt makes a throttler that claims key, and has a slot for that. It reports false if the Group
// holds the key already, or can hold no more.
func (g *Group) adopt(key string) bool {
	g.mu.Lock()
	if g.phase != open || g.members[key] != nil || !g.hasRoomLocked() {
		g.mu.Unlock()
		return false
	}
	t := g.makeLocked(key, hasSlot)
	g.mu.Unlock()
	now := t.lock()
	defer t.settle(now)
	t.replica.SchedulePoll(now)
	return true
}
