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

// A Base is embedded by every [Engine]. It holds what the throttlers of one process on
// that engine share: the poller, which looks for keys that are due, and listens for runs
// that have ended; and the store's time. Its zero value is ready for use; it must not
// be copied.
type Base struct {
	mu sync.Mutex // guards the fields below

	// By key.
	// +checklocks:mu
	throttlers map[string][]*Throttler
	// Ends the poller; nil if none is at work.
	// +checklocks:mu
	stop context.CancelFunc
	// Closed once the last poller has ended; nil if there never was one.
	// +checklocks:mu
	stopped chan struct{}
	// Of the last reply.
	// +checklocks:mu
	last reading
}

func (b *Base) base() *Base { return b }

// join adds t, which is on engine.
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
		go b.work(ctx, engine, before, stopped)
	}
}

// leave removes t. The poller ends with the last one.
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

// gone returns what is closed once no goroutine is left, if there are no throttlers;
// otherwise what is closed already.
func (b *Base) gone() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stop == nil && b.stopped != nil {
		return b.stopped
	}
	none := make(chan struct{})
	close(none)
	return none
}

// of returns the throttlers of key.
func (b *Base) of(key string) []*Throttler {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.throttlers[key])
}

// observe tells the store's time, of a reply that has come now.
func (b *Base) observe(store machine.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = reading{store, time.Now()}
}

// clock returns the reading of the last reply, the zero reading if none came yet.
func (b *Base) clock() reading {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// The poller's times.
const (
	lookEvery = time.Second            // at least as often, if nothing tells that a key is due
	lookLate  = 250 * time.Millisecond // up to that long after a key is due: who calls polls then
	lookTime  = 5 * time.Second        // how long a look may take
)

// work is the poller, once the one before it has ended. It returns when ctx ends.
func (b *Base) work(ctx context.Context, engine Engine, before <-chan struct{}, stopped chan<- struct{}) {
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
			b.each((*Throttler).hurry) // the store can be reached again
		}
		reached = err == nil
		sleep(ctx, wait)
	}
}

// A reading is one of the store's clock, in a reply that came at at.
type reading struct {
	store machine.Time
	at    time.Time
}

// steppedBack takes the next reading, and reports whether the clock has stepped back in
// between: by as much as looks are apart, at least.
func (r *reading) steppedBack(store machine.Time) bool {
	before, now := *r, time.Now()
	*r = reading{store, now}
	return before.store != 0 && store.Sub(before.store) < now.Sub(before.at)-lookEvery
}

// look tells the throttlers whose keys are due, and returns in how long to look again.
// looks is the reading of the look before.
func (b *Base) look(ctx context.Context, engine Engine, looks *reading) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	for skip := 0; ; {
		due, err := engine.Due(ctx, skip)
		if err != nil {
			return lookEvery/2 + rand.N(lookEvery), err
		}
		b.observe(due.Now)
		if looks.steppedBack(due.Now) {
			// The index is of the time before: a key whose replica is gone would be due
			// later by the step. A claim brings it to the time now.
			b.each((*Throttler).due)
		}
		for _, key := range due.Keys {
			for _, t := range b.of(key) {
				t.due()
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
		return wait + lookLate/5 + rand.N(lookLate), nil
	}
}

// listen tells the throttlers that runs have ended, until ctx ends.
func (b *Base) listen(ctx context.Context, engine Engine) {
	for ctx.Err() == nil {
		err := engine.Listen(ctx, func(w machine.Wake) {
			for _, t := range b.of(w.Key) {
				t.woken(w)
			}
		})
		if errors.Is(err, errors.ErrUnsupported) {
			return
		}
		sleep(ctx, lookEvery/2+rand.N(lookEvery))
	}
}

// each does something with all throttlers.
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
