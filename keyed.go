package throttle

import (
	"context"
	"iter"
	"time"
)

// A KeyedCoalescer is a [Group] whose calls carry values: one [Coalescer] per key. Keys
// are independent, as in a Group. It holds a key as a Group does, and also as long as a
// value of the key waits. [WithMaxConcurrent] limits how many runs are active at once,
// [WithMaxKeys] how many keys it holds, and [WithMaxPending] how many values wait, for all
// keys together.
//
// [NewKeyedCoalescer] builds a KeyedCoalescer; the zero value is not usable. It must not
// be copied. Its methods may be called concurrently, also from the callback, but not from
// the Merger's functions.
type KeyedCoalescer[K comparable, V, A any] struct {
	group  *Group[K]
	shared *merging[V, A]
	fn     func(context.Context, K, A) error
}

// A keyHolder holds the values of a Group's key.
type keyHolder[K comparable] interface {
	valueHolder
	entryOf() *entry[K]
}

// A keyBatches is the runner of a key whose calls carry values.
type keyBatches[K comparable, V, A any] struct {
	batches[V, A]

	of    *KeyedCoalescer[K, V, A]
	entry *entry[K]
}

// callback implements runner.
func (b *keyBatches[K, V, A]) callback(ctx context.Context) error {
	return b.of.fn(ctx, b.entry.key, b.runningValue())
}

// keyOf implements runner.
func (b *keyBatches[K, V, A]) keyOf() any { return b.entry.key }

// entryOf implements keyHolder.
func (b *keyBatches[K, V, A]) entryOf() *entry[K] { return b.entry }

// NewKeyedCoalescer returns a KeyedCoalescer that gives the batches that m makes for each
// key to fn as p allows. Its error joins a [*PolicyError] for each problem with p, m, fn
// or opts. It rejects MaxInterval: a run that no call asked for would have no value. It
// always counts calls, as with [WithCallCount].
//
// The context that fn gets belongs to one run, as for a [Callback]. The handler and the
// observers are called concurrently if runs of different keys end at the same time. The
// handler gets a [*KeyError], which says which key failed.
func NewKeyedCoalescer[K comparable, V, A any](
	p Policy, m Merger[V, A], fn func(ctx context.Context, key K, all A) error, opts ...Option,
) (*KeyedCoalescer[K, V, A], error) {
	config, problems := newConfig(opts, aKeyedCoalescer)
	shared, more := newMerging(p, m, fn == nil, config)
	if err := joinProblems(config.name, append(more, problems...)); err != nil {
		return nil, err
	}
	c := &KeyedCoalescer[K, V, A]{group: newGroup[K](p, config), shared: shared, fn: fn}
	c.group.holderOf = c.holderOf
	c.group.watch()
	return c, nil
}

// holderOf returns the runner of a new key.
func (c *KeyedCoalescer[K, V, A]) holderOf(e *entry[K]) keyHolder[K] {
	return &keyBatches[K, V, A]{batches: batches[V, A]{merging: c.shared, throttler: &e.Throttler}, of: c, entry: e}
}

// batchesOf returns the values of e.
func (c *KeyedCoalescer[K, V, A]) batchesOf(e *entry[K]) *batches[V, A] {
	return &e.fn.(*keyBatches[K, V, A]).batches //nolint:errcheck,forcetypeassert // holderOf made it
}

// Call hands over v for key and asks for a run that takes it, as [Coalescer.Call] does.
// It waits neither for the run nor for other keys. Besides the errors of Coalescer.Call,
// it returns [ErrTooManyKeys] if key is new and exceeds [WithMaxKeys].
func (c *KeyedCoalescer[K, V, A]) Call(key K, v V) error { return c.CallWithin(key, v, noLimit) }

// CallWithin is a Call whose run neither Quiet nor a trailing edge may postpone
// beyond d from now, as [Throttler.CallWithin] is.
//
// +checklocksignore
func (c *KeyedCoalescer[K, V, A]) CallWithin(key K, v V, d time.Duration) error {
	delivery, at := c.shared.delivery(v, false), c.group.locate(key)
	at.mu.Lock()
	defer at.mu.Unlock()
	e, err := at.findOrAddLocked()
	if err != nil {
		return err
	}
	return c.batchesOf(e).handOverLocked(delivery, d)
}

// Send is a Call that waits for room if there is none, in the order in which Send and Do
// were called for any key, as [Coalescer.Send] does.
func (c *KeyedCoalescer[K, V, A]) Send(ctx context.Context, key K, v V) error {
	_, _, err := c.send(ctx, key, v, false)
	return err
}

// Do is a Send that also waits for the run that takes v, and returns that run's error, as
// [Coalescer.Do] does. A run may wait for another key's run, see [Group.Do].
func (c *KeyedCoalescer[K, V, A]) Do(ctx context.Context, key K, v V) error {
	t, o, err := c.send(ctx, key, v, true)
	if err != nil {
		return err
	}
	return t.wait(ctx, o)
}

// send hands over v for Send or, if it waits for the run, for Do. It returns the
// Throttler and the outcome to wait for.
func (c *KeyedCoalescer[K, V, A]) send(ctx context.Context, key K, v V, waits bool) (t *Throttler, o *outcome, err error) {
	d, own, at := c.shared.delivery(v, true), c.group.ownRun(ctx), c.group.locate(key)
	o, err = c.shared.room.send(ctx, &d.hasRoom, func(ended error) (o *outcome, err error) {
		t, o, err = c.sendAt(ctx, at, d, own, ended, waits)
		return o, err
	})
	return t, o, err
}

// sendAt is a try of send. own is the run that ctx belongs to, ended is ctx.Err().
//
// +checklocksignore
func (c *KeyedCoalescer[K, V, A]) sendAt(
	ctx context.Context, at location[K], d delivery[V], own *run, ended error, waits bool,
) (*Throttler, *outcome, error) {
	at.mu.Lock()
	defer at.mu.Unlock()
	e, err := at.admitLocked(own, ended)
	if err != nil {
		return nil, nil, err
	}
	o, err := c.batchesOf(e).sendLocked(ctx, d, own, ended, waits)
	return &e.Throttler, o, err
}

// Flush makes what is pending for key due now, whatever the policy says, and waits until
// finished runs have taken every value handed over for key before, as [Coalescer.Flush]
// does. If the KeyedCoalescer does not hold key, Flush has nothing to wait for.
func (c *KeyedCoalescer[K, V, A]) Flush(ctx context.Context, key K) error {
	return c.group.Flush(ctx, key)
}

// Cancel drops what is pending for key and returns it, as [Coalescer.Cancel] does.
func (c *KeyedCoalescer[K, V, A]) Cancel(key K) (dropped []A) { return c.drop(key, false) }

// Remove drops what is pending for key and returns it, as Cancel does. It forgets the key
// with its window and everything else, as [Group.Remove] does.
func (c *KeyedCoalescer[K, V, A]) Remove(key K) (dropped []A) { return c.drop(key, true) }

func (c *KeyedCoalescer[K, V, A]) drop(key K, remove bool) (dropped []A) {
	c.group.drop(c.group.locate(key), remove, func(e *entry[K]) { dropped = c.valuesOf(e) })
	return dropped
}

// valuesOf returns what is pending for a key. It needs the key's lock.
//
// +checklocksignore
func (c *KeyedCoalescer[K, V, A]) valuesOf(e *entry[K]) []A { return c.batchesOf(e).valuesLocked() }

// Pause lets no run of any key start, as [Group.Pause] does.
func (c *KeyedCoalescer[K, V, A]) Pause() { c.group.Pause() }

// Resume ends a pause: what is due starts.
func (c *KeyedCoalescer[K, V, A]) Resume() { c.group.Resume() }

// Wait waits for the active runs of all keys to end, as [Group.Wait] does.
func (c *KeyedCoalescer[K, V, A]) Wait(ctx context.Context) error { return c.group.Wait(ctx) }

// Len returns the number of keys that the KeyedCoalescer holds.
func (c *KeyedCoalescer[K, V, A]) Len() int { return c.group.Len() }

// Keys returns the keys that the KeyedCoalescer holds, as [Group.Keys] does.
func (c *KeyedCoalescer[K, V, A]) Keys() iter.Seq[K] { return c.group.Keys() }

// Name returns the name given by [WithName].
func (c *KeyedCoalescer[K, V, A]) Name() string { return c.group.Name() }

// Policy returns the current policy.
func (c *KeyedCoalescer[K, V, A]) Policy() Policy { return c.group.Policy() }

// SetPolicy replaces the policy of every key, as [Group.SetPolicy] does. It rejects
// MaxInterval. A lower MaxCalls leaves the batches that wait as they are.
func (c *KeyedCoalescer[K, V, A]) SetPolicy(p Policy) error {
	if err := joinProblems(c.group.config.name, valueProblems(p)); err != nil {
		return err
	}
	return c.group.SetPolicy(p)
}

// Stats returns the sum over all keys, as [Group.Stats] does.
func (c *KeyedCoalescer[K, V, A]) Stats() Stats { return c.group.Stats() }

// KeyStats returns a snapshot of key, and whether the KeyedCoalescer holds it, as
// [Group.KeyStats] does.
func (c *KeyedCoalescer[K, V, A]) KeyStats(key K) (stats Stats, held bool) {
	return c.group.KeyStats(key)
}

// Close closes the KeyedCoalescer at once, as [Group.Close] does. What is pending is lost,
// and Close reports it before it returns.
func (c *KeyedCoalescer[K, V, A]) Close() error { return c.group.Close() }

// Shutdown closes the KeyedCoalescer gracefully, as [Coalescer.Shutdown] does for every
// key. The errors that it joins are of type [*KeyError].
func (c *KeyedCoalescer[K, V, A]) Shutdown(ctx context.Context) error { return c.group.Shutdown(ctx) }
