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
// it. It runs their poller, which looks for due keys and listens for the ends of runs, and
// it remembers the store's time. Its zero value is ready for use. Do not copy it.
type Base struct {
	mu sync.Mutex // guards the fields below

	// By key.
	// +checklocks:mu
	throttlers map[string][]*Throttler
	// Stops the poller; nil if none is running.
	// +checklocks:mu
	stop context.CancelFunc
	// Closed once the latest poller has ended; nil if there never was one.
	// +checklocks:mu
	stopped chan struct{}
	// The store's clock in the last reply.
	// +checklocks:mu
	last reading
}

func (b *Base) base() *Base { return b }

// join adds t, which uses engine. It starts the poller if t is the first throttler.
func (b *Base) join(engine Engine, t *Throttler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.throttlers == nil {
		b.throttlers = map[string][]*Throttler{}
	}
	b.throttlers[t.key] = append(b.throttlers[t.key], t)
	if b.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		before, stopped := b.stopped, make(chan struct{})
		b.stop, b.stopped = stop, stopped
		go b.poll(ctx, engine, before, stopped) // ends with the last throttler, see leave
	}
}

// leave removes t. It stops the poller if t was the last throttler.
func (b *Base) leave(t *Throttler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rest := slices.DeleteFunc(b.throttlers[t.key], func(other *Throttler) bool { return other == t })
	if len(rest) > 0 {
		b.throttlers[t.key] = rest
		return
	}
	delete(b.throttlers, t.key)
	if len(b.throttlers) == 0 && b.stop != nil {
		b.stop()
		b.stop = nil
	}
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
	return slices.Clone(b.throttlers[key])
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

// The times of the poller.
const (
	lookEvery   = time.Second            // the longest time between two looks at the index
	lookDelay   = 250 * time.Millisecond // how long after a key is due it looks at most: replicas with calls poll first
	lookTimeout = 5 * time.Second        // how long a look may take
)

// poll is the poller. It waits until the previous poller has ended, and returns when ctx
// ends.
func (b *Base) poll(ctx context.Context, engine Engine, before <-chan struct{}, stopped chan<- struct{}) {
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
		if err == nil && !reached {
			b.each((*Throttler).retrySoon) // the store can be reached again
		}
		reached = err == nil
		sleep(ctx, wait)
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

// look looks at the index, notifies the throttlers whose keys are due, and returns how long
// to wait before the next look. looks is the reading of the previous look.
func (b *Base) look(ctx context.Context, engine Engine, looks *reading) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for skip := 0; ; {
		due, err := engine.Due(ctx, skip)
		if err != nil {
			return lookEvery/2 + rand.N(lookEvery), err
		}
		b.observe(due.Now)
		if looks.steppedBack(due.Now) {
			// The index was written by the clock before the step. Without a claim, a key
			// whose replica is gone would be due late by the length of the step.
			b.each((*Throttler).noticeDue)
		}
		for _, key := range due.Keys {
			for _, t := range b.throttlersOf(key) {
				t.noticeDue()
			}
		}
		if due.More && len(due.Keys) > 0 {
			skip += len(due.Keys)
			continue
		}
		wait = lookEvery
		if due.Next >= 0 {
			wait = min(wait, due.Next)
		}
		return wait + lookDelay/5 + rand.N(lookDelay), nil
	}
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
	for _, some := range b.throttlers {
		all = append(all, some...)
	}
	b.mu.Unlock()
	for _, t := range all {
		do(t)
	}
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
