package throttle

import (
	"context"
	"time"
)

// A Merger says how the values of calls, of type V, become a batch, of type A, which a
// run takes. [Latest], [Batch] and [Merge] return ready-made ones.
//
// The functions are never called concurrently for one Coalescer or key. It is locked
// meanwhile, so they should be quick and must not call it. If First or Add panics, the
// caller of Call gets the panic, the call was not made, and the batch stays as the
// function left it.
type Merger[V, A any] struct {
	// First returns the batch of a single value.
	First func(v V) A

	// Add returns the batch with a further value, handed over later. It may change all.
	Add func(all A, v V) A

	// Join returns the batch of a failed run and the next one, as if the values of both
	// had been added in their order. If Join is nil, a failed batch stays by itself, and
	// those behind it wait until it is delivered or lost.
	Join func(older, newer A) A
}

// Latest returns a Merger that keeps only the newest value, that of the last call. If
// several goroutines hand over states of the same thing, hold your lock across both the
// change of state and the Call; otherwise the last call may not carry the last state.
func Latest[T any]() Merger[T, T] { return Merge(func(_, newer T) T { return newer }) }

// Batch returns a Merger that keeps all values in order. It has no Join: a failed batch
// is repeated as it is, so that a value that always fails does not spoil those that came
// later. But as long as the policy repeats it, it holds them up: set Backoff.MaxAttempts.
//
// The callback owns the slice. A failed run is repeated with what is in it then: a
// callback that sorts it finds it sorted.
func Batch[E any]() Merger[E, []E] {
	return Merger[E, []E]{
		First: func(v E) []E { return []E{v} },
		Add:   func(all []E, v E) []E { return append(all, v) },
	}
}

// Merge returns a Merger for values that are merged two by two. newer was handed over
// later. merge must be associative, because a failed batch is merged with a batch of
// later values.
func Merge[T any](merge func(older, newer T) T) Merger[T, T] {
	return Merger[T, T]{First: func(v T) T { return v }, Add: merge, Join: merge}
}

// A Coalescer is a [Throttler] whose calls carry values. While a run is pending, the
// values of further calls are added to its batch, in the order of the calls. A run takes
// one batch, the oldest. So each value is in exactly one run that delivers it, or Cancel
// returns it, or it is reported as lost.
//
// A batch takes the values of at most Policy.MaxCalls calls, and what [WithMaxWeight]
// allows; the next value begins another batch. A batch behind which another one waits
// is due as soon as the window permits. [WithMaxPending] bounds the values that wait.
//
// If a run fails and the policy repeats it, its batch waits again, as the oldest. If the
// [Merger] has a Join, and the next batch fits in, they become one batch. Attempts are
// counted for each batch, so that no value is lost because an older one has failed. The
// delay, however, grows with each failed run, whatever it carried. A callback that has
// delivered a part of its batch returns [Unfinished].
//
// A batch that is not repeated is lost, and so is one that Close or the end of the parent
// context drops. Everyone who waits for it in Do, Flush or Shutdown gets a [*LostError].
// If nobody waits, the error handler gets it; after Close, from the goroutine that
// closes. A Flush or Shutdown that begins meanwhile waits for the handler, but does not
// return the same loss again.
//
// [NewCoalescer] builds a Coalescer; the zero value is not usable. Its methods may be
// called concurrently, also from the callback, but not from the Merger's functions. An
// idle Coalescer owns no goroutine and no timer.
type Coalescer[V, A any] struct {
	batches[V, A]

	fn func(context.Context, A) error
}

// NewCoalescer returns a Coalescer that gives the batches that m makes to fn as p allows.
// Its error joins a [*PolicyError] for each problem with p, m, fn or opts. It rejects
// MaxInterval: a run that no call asked for would have no value. A Coalescer always
// counts calls, as with [WithCallCount].
//
// The context that fn gets belongs to one run, as for a [Callback].
func NewCoalescer[V, A any](
	p Policy, m Merger[V, A], fn func(ctx context.Context, all A) error, opts ...Option,
) (*Coalescer[V, A], error) {
	config, problems := newConfig(opts, aCoalescer)
	shared, more := newMerging(p, m, fn == nil, config)
	if err := joinProblems(config.name, append(more, problems...)); err != nil {
		return nil, err
	}
	c := &Coalescer[V, A]{batches: batches[V, A]{merging: shared}, fn: fn}
	c.throttler = newThrottler(p, c, config)
	c.throttler.watch()
	return c, nil
}

// newMerging returns what all batches share, and the problems with it and with p.
func newMerging[V, A any](p Policy, m Merger[V, A], noCallback bool, c *config) (*merging[V, A], []*PolicyError) {
	problems := valueProblems(p)
	for name, missing := range map[string]bool{"Merger.First": m.First == nil, "Merger.Add": m.Add == nil, "callback": noCallback} {
		if missing {
			problems = append(problems, &PolicyError{Field: name, Value: nil, Reason: mustNotBeNil})
		}
	}
	shared := &merging[V, A]{merger: m, maxWeight: c.maxWeight}
	if c.weight != nil {
		weigh, ok := c.weight.(func(V) int)
		if !ok {
			problems = append(problems, &PolicyError{Field: "WithMaxWeight", Value: c.maxWeight, Reason: "weighs values of another type"})
		}
		shared.weigh = weigh
	}
	if c.maxPending > 0 {
		shared.room = &room{size: c.maxPending}
	}
	return shared, problems
}

// valueProblems returns the problems with p as a policy of calls that carry values.
func valueProblems(p Policy) []*PolicyError {
	problems := p.problems()
	if p.MaxInterval > 0 {
		problems = append(problems, &PolicyError{
			Field: "MaxInterval", Value: p.MaxInterval, Reason: "does not apply to a Coalescer: the run would have no value",
		})
	}
	return problems
}

// Call hands over v and asks for a run that takes it. It does not wait for the run.
// If Call returns nil, v belongs to the Coalescer: do not change what v refers to.
//
// Call returns [ErrClosed] once the Coalescer is closed or Shutdown has begun, [ErrFull]
// if there is no room, and a [*ThrottledError] if the policy has no trailing edge and the
// call came inside the window. Then v still belongs to you.
func (c *Coalescer[V, A]) Call(v V) error {
	if c.weigh != nil {
		return c.CallWithin(v, noLimit)
	}
	// The usual call, with few calls of functions that the compiler does not inline.
	c.throttler.mu.Lock()
	defer c.throttler.mu.Unlock()
	if c.joinable > 0 {
		c.addWeightlessLocked(v)
		c.joinable--
		return nil
	}
	return c.chooseBatchLocked(delivery[V]{value: v}, noLimit)
}

// CallWithin is a Call whose run neither Quiet nor a trailing edge may postpone
// beyond d from now, as [Throttler.CallWithin] is.
func (c *Coalescer[V, A]) CallWithin(v V, d time.Duration) error {
	delivery := c.delivery(v, false)
	c.throttler.mu.Lock()
	defer c.throttler.mu.Unlock()
	return c.handOverLocked(delivery, d)
}

// Send is a Call that waits for room if there is none, in the order in which Send and Do
// were called. It does not wait for the run. Besides Call's errors, it returns ctx.Err()
// if ctx ends first or had ended before; then v still belongs to you. Without room, it
// returns [ErrReentrant] inside the callback, if ctx is the run's own.
func (c *Coalescer[V, A]) Send(ctx context.Context, v V) error {
	_, err := c.send(ctx, v, false)
	return err
}

// Do is a Send that also waits for the run that takes v, and returns that run's error:
// the callback's own, a [*PanicError] or [ErrGoexit]. If the run is repeated, the
// Coalescer keeps v; if not, a [*LostError] wraps the error.
//
// Without a run, Do returns Send's errors, [ErrCanceled] if Cancel dropped v, a
// [*LostError] if Close did, and [ErrReentrant] inside the callback if ctx is the run's
// own. If ctx ends while Do waits for the run, the call stands.
func (c *Coalescer[V, A]) Do(ctx context.Context, v V) error {
	o, err := c.send(ctx, v, true)
	if err != nil {
		return err
	}
	return c.throttler.wait(ctx, o)
}

// send hands over v for Send or, if it waits for the run, for Do. It returns the outcome
// to wait for.
func (c *Coalescer[V, A]) send(ctx context.Context, v V, waits bool) (*outcome, error) {
	d, own := c.delivery(v, true), c.throttler.ownRun(ctx)
	return c.room.send(ctx, &d.hasRoom, func(ended error) (*outcome, error) {
		t := c.throttler
		t.mu.Lock()
		defer t.mu.Unlock()
		return c.sendLocked(ctx, d, own, ended, waits)
	})
}

// Flush makes what is pending due now, whatever the policy says, and waits until
// finished runs have taken every value handed over before. All batches that wait run one
// after the other. Flush returns the error of the last of these runs as [Coalescer.Do]
// does; those of the others go to the error handler. If a batch fails again, it waits
// for its delay, and those behind it wait too. Otherwise Flush is like [Throttler.Flush].
func (c *Coalescer[V, A]) Flush(ctx context.Context) error { return c.throttler.Flush(ctx) }

// Cancel drops what is pending and returns it: the batches that no run has taken, or
// whose run has failed, the oldest first; nil if there are none. The active run goes on,
// but if it fails it is not repeated. The window, a failed run's backoff and the times of
// past calls stay as they are.
func (c *Coalescer[V, A]) Cancel() (dropped []A) {
	t := c.throttler
	defer t.settle(t.lock())
	dropped = c.valuesLocked()
	t.cancelLocked()
	return dropped
}

// Name returns the name given by [WithName].
func (c *Coalescer[V, A]) Name() string { return c.throttler.Name() }

// Policy returns the current policy.
func (c *Coalescer[V, A]) Policy() Policy { return c.throttler.Policy() }

// SetPolicy replaces the policy, as [Throttler.SetPolicy] does. It rejects MaxInterval. A
// lower MaxCalls leaves the batches that wait as they are.
func (c *Coalescer[V, A]) SetPolicy(p Policy) error {
	if err := joinProblems(c.throttler.config.name, valueProblems(p)); err != nil {
		return err
	}
	return c.throttler.SetPolicy(p)
}

// Pause keeps runs from starting until Resume, as [Throttler.Pause] does.
func (c *Coalescer[V, A]) Pause() { c.throttler.Pause() }

// Resume ends a pause, as [Throttler.Resume] does.
func (c *Coalescer[V, A]) Resume() { c.throttler.Resume() }

// Wait waits for the active run to end, as [Throttler.Wait] does.
func (c *Coalescer[V, A]) Wait(ctx context.Context) error { return c.throttler.Wait(ctx) }

// Stats returns a snapshot of the Coalescer.
func (c *Coalescer[V, A]) Stats() Stats { return c.throttler.Stats() }

// Close closes the Coalescer at once, as [Throttler.Close] does. What is pending is
// lost, and Close reports it before it returns.
func (c *Coalescer[V, A]) Close() error { return c.throttler.Close() }

// Shutdown closes the Coalescer gracefully, as [Throttler.Shutdown] does. From its
// start the Coalescer refuses calls. What is pending runs now, each batch once, including
// one that waits for its retry. A batch whose run fails is lost, because no retry is
// made. To keep trying, call Flush until it returns nil, and then Shutdown.
//
// Shutdown joins the errors of all runs that it waited for, and a [*LostError] for each
// batch that was dropped. If ctx ends first, or had ended before, it also reports the
// batch of the active run, with [ErrUndecided]: that may yet be delivered. If it is not,
// the error handler gets the final LostError.
//
// If another goroutine or the end of the parent context closes the Coalescer,
// Shutdown also waits until the error handler has got the values lost by that.
func (c *Coalescer[V, A]) Shutdown(ctx context.Context) error { return c.throttler.Shutdown(ctx) }

// callback implements runner.
func (c *Coalescer[V, A]) callback(ctx context.Context) error { return c.fn(ctx, c.runningValue()) }

// keyOf implements runner.
func (c *Coalescer[V, A]) keyOf() any { return nil }

// A valueHolder is a runner whose calls hand over values, which wait in batches. Each
// batch has an outcome of its own. Its methods need the Throttler's lock.
type valueHolder interface {
	runner

	// waitingLocked returns how many batches wait, and how many calls handed over their
	// values.
	waitingLocked() (batches, values int)

	// pendingCallsLocked returns how many calls no run has covered.
	pendingCallsLocked() uint64

	// takeLocked moves the oldest batch into the run that starts, with its waiters, its
	// attempts and its calls.
	takeLocked(r *run)

	// settleRunLocked records that the callback of r has returned: r's batch is delivered,
	// waits for a retry, or is lost. It sets r.verdict.kept accordingly, and r.outcomeErr
	// to a *LostError if the batch is lost.
	settleRunLocked(r *run)

	// presentLocked tells the history what is pending.
	presentLocked()

	// openLocked opens the fast path of calls, at the end of each transition.
	openLocked()

	// adoptLocked adapts the batches to a policy that the Throttler has just adopted.
	adoptLocked(now instant, previous *Policy)

	// flushLocked makes all batches that wait due now, one after the other.
	flushLocked(now instant)

	// awaitNewestLocked adds a waiter to the outcome of the newest batch that waits, and
	// returns that. awaitAllLocked does so for each that waits, the oldest first.
	awaitNewestLocked() *outcome
	awaitAllLocked() []*outcome

	// dropAllLocked drops all batches that wait, because of why. If they are lost, their
	// waiters get a *LostError, and it returns those that nobody waits for.
	dropAllLocked(why error, lost bool) (unclaimed []error)

	// dropTakenLocked drops the batch of a run that has started but will not enter the
	// callback, and returns a *LostError; nil if there is no such run.
	dropTakenLocked(why error) error

	// undecidedLocked returns a *LostError about the batch of the active run, with
	// ErrUndecided as the reason; nil if no run is active or it is decided.
	undecidedLocked() error

	// refuse lets nobody wait for room any more.
	refuse()
}

// holder returns the valueHolder of t; nil if its calls carry no values.
func (t *Throttler) holder() valueHolder {
	if !t.config.hasValues {
		return nil
	}
	h, _ := t.fn.(valueHolder)
	return h
}
