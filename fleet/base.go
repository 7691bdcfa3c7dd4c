package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// A Base is embedded in every [Engine]. The throttlers of one process on that engine share
// it. It sends their messages, a few at a time. It runs their poller, which looks for due
// keys and listens for the ends of runs. It remembers the store's time, and which parts of
// the store cannot be reached. Its zero value is ready for use. Do not copy it.
type Base struct {
	queue queue
	reach reach

	mu sync.Mutex // guards the fields below

	// By key.
	// +checklocks:mu
	keys map[string]*heldKey
	// The same keys, in any order.
	// +checklocks:mu
	order []string
	// How many keys of order the last looks have asked for.
	// +checklocks:mu
	asked int
	// The Group that owns all keys; nil if there is none.
	// +checklocks:mu
	group *Group
	// Makes the poller look again soon; nil if none is running.
	// +checklocks:mu
	again chan struct{}
	// Stops the poller; nil if none is running.
	// +checklocks:mu
	stop context.CancelFunc
	// Closed once the latest poller has ended; nil if there never was one.
	// +checklocks:mu
	stopped chan struct{}
	// The store's clock in the last reply.
	// +checklocks:mu
	last reading
	// The answer of the last look.
	// +checklocks:mu
	due machine.Due
}

// A heldKey is a key with throttlers in this process.
type heldKey struct {
	throttlers []*Throttler
	index      int // in Base.order
}

func (b *Base) base() *Base { return b }

// LimitInFlight lets at most n messages to the store be in flight, for all throttlers of the
// process together; n must be at least 1. Others wait in the process, which makes no grant
// late. The default is [DefaultInFlight]. The messages of the poller do not count. Engines
// call it as they are built.
func (b *Base) LimitInFlight(n int) { b.queue.setLimit(n) }

// A Health describes what one process sees of an engine.
type Health struct {
	Throttlers int // of the process, that are not closed
	InFlight   int // messages on their way
	Waiting    int // messages that wait for others to be answered

	// Unreachable is why messages do not reach the store, or a part of it; nil if they do.
	Unreachable error

	// DueKeys is how many keys were due, whether or not this process holds them, when it
	// last looked, and OldestDue how long the first of them had been due. While runs are
	// made, keys are due for less than a second or two.
	DueKeys   int
	OldestDue time.Duration
}

// Health returns what this process sees of the engine. It does not ask the store.
func (b *Base) Health() Health {
	h := Health{Unreachable: b.reach.failure()}
	h.Waiting, h.InFlight = b.queue.counts()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.keys {
		h.Throttlers += len(k.throttlers)
	}
	h.DueKeys, h.OldestDue = b.due.Count, b.due.Oldest
	return h
}

// join adds t, which uses engine. It starts the poller if t is the first throttler. It reports
// false if a Group that t is not of owns the keys.
func (b *Base) join(engine Engine, t *Throttler) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.group != t.group && b.group != nil {
		return false
	}
	if b.keys == nil {
		b.keys = map[string]*heldKey{}
	}
	k := b.keys[t.key]
	if k == nil {
		k = &heldKey{index: len(b.order)}
		b.keys[t.key], b.order = k, append(b.order, t.key)
	}
	k.throttlers = append(k.throttlers, t)
	b.startLocked(engine)
	return true
}

// joinGroup makes g the owner of all keys. It reports false if they have an owner.
func (b *Base) joinGroup(g *Group) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.group != nil || len(b.keys) > 0 {
		return false
	}
	b.group = g
	b.startLocked(g.engine)
	return true
}

// leaveGroup ends what joinGroup began.
func (b *Base) leaveGroup(g *Group) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.group == g {
		b.group = nil
	}
	b.stopLocked()
}

// startLocked starts the poller unless it is running.
//
// +checklocks:b.mu
func (b *Base) startLocked(engine Engine) {
	if b.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	before, stopped := b.stopped, make(chan struct{})
	b.stop, b.stopped, b.again = stop, stopped, make(chan struct{}, 1)
	go b.poll(ctx, engine, before, stopped, b.again) // ends with the last throttler and the Group
}

// stopLocked stops the poller if there is nothing to poll for.
//
// +checklocks:b.mu
func (b *Base) stopLocked() {
	if len(b.keys) > 0 || b.group != nil || b.stop == nil {
		return
	}
	b.stop()
	b.stop, b.again, b.due = nil, nil, machine.Due{}
}

// lookAgain makes the poller look at the index soon.
func (b *Base) lookAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.again <- struct{}{}:
	default:
	}
}

// leave removes t. It stops the poller if t was the last throttler and there is no Group.
func (b *Base) leave(t *Throttler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.keys[t.key]
	if k == nil {
		return
	}
	k.throttlers = slices.DeleteFunc(k.throttlers, func(other *Throttler) bool { return other == t })
	if len(k.throttlers) > 0 {
		return
	}
	last := b.order[len(b.order)-1]
	b.order[k.index], b.keys[last].index = last, k.index
	b.order = b.order[:len(b.order)-1]
	delete(b.keys, t.key)
	if len(b.keys) == 0 {
		b.keys, b.order = nil, nil // they keep the memory of what they once held
	}
	b.stopLocked()
}

// pollerEnded returns a channel that is closed once the poller's goroutines have ended. If
// throttlers remain, and so the poller, the channel is closed already.
func (b *Base) pollerEnded() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stop == nil && b.stopped != nil {
		return b.stopped
	}
	none := make(chan struct{})
	close(none)
	return none
}

// throttlersOf returns the throttlers of key.
func (b *Base) throttlersOf(key string) []*Throttler {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.keys[key]; k != nil {
		return slices.Clone(k.throttlers)
	}
	return nil
}

// observe records the store's time from a reply that has just come.
func (b *Base) observe(store machine.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = reading{store, time.Now()}
}

// clock returns the reading in the last reply. It is zero if no reply came yet.
func (b *Base) clock() reading {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// The poller's limits.
const (
	lookEvery   = time.Second            // the longest time between two looks at the index
	lookDelay   = 250 * time.Millisecond // how long after a key is due it looks at most: replicas with calls poll first
	lookAgain   = 10 * time.Millisecond  // how long after a look the next one comes if a Group asks for it
	lookTimeout = 5 * time.Second        // how long a look may take
	lookKeys    = 250                    // how many of the keys held here a look asks for
)

// poll is the poller. It waits until the previous poller has ended, and returns when ctx
// ends.
func (b *Base) poll(ctx context.Context, engine Engine, before <-chan struct{}, stopped chan<- struct{}, again <-chan struct{}) {
	defer close(stopped)
	if before != nil {
		<-before
	}
	var listener sync.WaitGroup
	defer listener.Wait()
	listener.Go(func() { b.listen(ctx, engine) })

	reached := true
	var looks reading
	for ctx.Err() == nil {
		wait, err := b.look(ctx, engine, &looks)
		if err == nil && !reached { // the store can be reached again, or a part of it
			b.reach.retrySoon()
			b.each((*Throttler).retrySoon)
		}
		reached = err == nil
		if isWoken := rest(ctx, wait, again); isWoken {
			sleep(ctx, lookAgain)
		}
	}
}

// A reading is the store's time in a reply that came at at.
type reading struct {
	store machine.Time
	at    time.Time
}

// steppedBack replaces r by a new reading. It reports whether the store's clock has stepped
// back in between, by at least the time between two looks.
func (r *reading) steppedBack(store machine.Time) bool {
	before, now := *r, time.Now()
	*r = reading{store, now}
	return before.store != 0 && store.Sub(before.store) < now.Sub(before.at)-lookEvery
}

// look looks at the index, notifies the throttlers whose keys are due, and offers the Group those
// that have none. It returns how long to wait before the next look. looks is the reading of the
// previous look. Of many due keys it sees a part, and then asks for some of the keys held here:
// all of them in turn.
func (b *Base) look(ctx context.Context, engine Engine, looks *reading) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	due, err := engine.Due(ctx, b.someKeys())
	if err != nil {
		return lookEvery/2 + rand.N(lookEvery), err
	}
	b.saw(due)
	if looks.steppedBack(due.Now) {
		// The index was written by the clock before the step. Without a claim, a key
		// whose replica is gone would be due late by the length of the step.
		b.each((*Throttler).noticeStep)
	}
	var orphans []string
	for _, key := range due.Keys {
		throttlers := b.throttlersOf(key)
		for _, t := range throttlers {
			t.noticeDue(due.Now)
		}
		if len(throttlers) == 0 {
			orphans = append(orphans, key)
		}
	}
	if g := b.owner(); g != nil {
		g.slots.offer(orphans, due.Count > machine.MaxDue)
		g.adoptMore()
	}
	wait = lookEvery
	if due.Next >= 0 {
		wait = min(wait, due.Next)
	}
	return wait + lookDelay/5 + rand.N(lookDelay), nil
}

// owner returns the Group that owns all keys, or nil.
func (b *Base) owner() *Group {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.group
}

// saw records the answer of a look.
func (b *Base) saw(due machine.Due) {
	b.observe(due.Now)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stop != nil {
		b.due = due
		b.due.Keys = nil
	}
}

// someKeys returns the next lookKeys of the keys held here.
func (b *Base) someKeys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(lookKeys, len(b.order))
	some := make([]string, n)
	for i := range some {
		some[i] = b.order[(b.asked+i)%len(b.order)]
	}
	if n > 0 {
		b.asked = (b.asked + n) % len(b.order)
	}
	return some
}

// listen notifies the throttlers of the ends of runs, until ctx ends.
func (b *Base) listen(ctx context.Context, engine Engine) {
	for ctx.Err() == nil {
		err := engine.Listen(ctx, func(w machine.Wake) {
			for _, t := range b.throttlersOf(w.Key) {
				t.noticeWake(w)
			}
		})
		if errors.Is(err, errors.ErrUnsupported) {
			return
		}
		sleep(ctx, lookEvery/2+rand.N(lookEvery))
	}
}

// each calls do for every throttler.
func (b *Base) each(do func(*Throttler)) {
	b.mu.Lock()
	var all []*Throttler
	for _, k := range b.keys {
		all = append(all, k.throttlers...)
	}
	b.mu.Unlock()
	for _, t := range all {
		do(t)
	}
}

// eachIn calls do for every throttler whose key is in the part.
func (b *Base) eachIn(part int, do func(*Throttler)) {
	b.each(func(t *Throttler) {
		if t.part == part {
			do(t)
		}
	})
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) { rest(ctx, d, nil) }

// rest returns after d, when ctx ends, or when wake says so, and then it returns true.
func rest(ctx context.Context, d time.Duration, wake <-chan struct{}) (isWoken bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-wake:
		return true
	}
	return false
}
