package throttle

import (
	"context"
	"errors"
	"runtime/debug"
	"time"
)

// A Coalescer is a [Throttler] whose calls carry values. While a run is pending,
// the values of the calls that it will cover are merged, in the order of the
// calls, and the run takes what has come of them: each value is in exactly one
// run that succeeds, or Cancel returns it, or it is reported as lost.
//
// A failed run's value is kept, as the older side of what is merged later, if
// the policy repeats the run. If it does not, the value is lost, as is one that
// is dropped by Close or the parent context's end: a [*LostError] then goes to
// those who wait for the value in Do, Flush or Shutdown, or if nobody does to
// the error handler, after Close from the goroutine that closes.
//
// A Coalescer is built by [NewCoalescer], and its zero value cannot be used. Its
// methods may be called concurrently, and from fn too, but not from merge. An
// idle one owns no goroutine and no timer.
type Coalescer[T any] struct {
	throttler *Throttler
	merge     func(older, newer T) T
	fn        func(context.Context, T) error

	// Guarded by the Throttler's mu, so that a call and its value, a run and
	// what it takes, a drop and what is dropped are one.

	// +checklocks:throttler.mu
	waiting cargo[T] // handed over, and taken by no run
	// +checklocks:throttler.mu
	carried cargo[T] // of the active run
}

// A cargo is a value that may not be there.
type cargo[T any] struct {
	value  T
	loaded bool
}

// take empties the cargo, so that the value can be collected once it is used.
func (c *cargo[T]) take() cargo[T] {
	taken := *c
	*c = cargo[T]{}
	return taken
}

// NewCoalescer returns a Coalescer that hands merged values to fn as p allows.
// Its error joins a [*PolicyError] for everything that is wrong with p, merge,
// fn or opts. MaxInterval is refused: a run that no call asked for would have no
// value. Calls are always counted, as by [WithCallCount].
//
// merge returns what two values amount to, of which newer was handed over later.
// It must be associative, as a failed run's value is merged with what came of
// all later calls. It is never called concurrently, and as the Coalescer is
// locked meanwhile, it should be quick and must not call the Coalescer. If it
// panics, the panic reaches the caller, whose call was then not made, with the
// older value as merge has left it; if it does so with a failed run's value, that
// value is lost. [Latest] and [Append] are two.
//
// fn gets a context of its run's own, as the [Callback] of a Throttler.
func NewCoalescer[T any](
	p Policy, merge func(older, newer T) T, fn func(ctx context.Context, value T) error, opts ...Option,
) (*Coalescer[T], error) {
	e, problems := newExtras(opts, aCoalescer)
	problems = append(carrierProblems(p), problems...)
	if merge == nil {
		problems = append(problems, &PolicyError{Field: "merge", Value: nil, Reason: mustNotBeNil})
	}
	if fn == nil {
		problems = append(problems, &PolicyError{Field: "callback", Value: nil, Reason: mustNotBeNil})
	}
	if err := joinProblems(e.name, problems); err != nil {
		return nil, err
	}
	c := &Coalescer[T]{merge: merge, fn: fn}
	c.throttler = newAlone(p, c, e)
	c.throttler.watch()
	return c, nil
}

// carrierProblems returns what is wrong with p as the policy of a Coalescer.
func carrierProblems(p Policy) []*PolicyError {
	problems := p.problems()
	if p.MaxInterval > 0 {
		problems = append(problems, &PolicyError{
			Field: "MaxInterval", Value: p.MaxInterval, Reason: "does not apply to a Coalescer: the run would have no value",
		})
	}
	return problems
}

// Latest is a merge that keeps the newest value only: the one of the last call. If
// several goroutines hand over states of the same thing, it takes a lock of
// theirs round the change of state and the call for that to be the last state.
func Latest[T any](_, newer T) T { return newer }

// Append is a merge that collects the elements of all calls. It may write to the
// array of older beyond its length: a slice that is handed over should be the
// caller's last use of its array, or be clipped by slices.Clip.
func Append[E any](older, newer []E) []E { return append(older, newer...) }

// Call hands over v and asks for a run that takes it. It does not wait for the
// run. From then on v is the Coalescer's, if Call returned nil: the caller must
// not change what it refers to.
//
// Call returns [ErrClosed] once the Coalescer is closed or Shutdown has begun,
// and a [*ThrottledError] if the policy has no trailing edge and the call came
// inside the window. v is then the caller's still.
func (c *Coalescer[T]) Call(v T) error { return c.CallWithin(v, unhurried) }

// CallWithin is a Call that neither Quiet nor a trailing edge may postpone
// beyond d from now; Interval and a failed run's backoff still may. Negative d
// counts as 0. The calls that wait for the same run gain by it too.
func (c *Coalescer[T]) CallWithin(v T, d time.Duration) error {
	t := c.throttler
	now := t.lock()
	defer t.settleNow()
	return c.handOverLocked(now, v, d)
}

// Do is a Call that waits for the run that takes v, and returns that run's error:
// fn's own, a [*PanicError] or [ErrGoexit], as [*LostError] if the run is not
// repeated. If it is, v stays with the Coalescer.
//
// Without a run it returns Call's errors, [ErrCanceled] if Cancel dropped v, a
// [*LostError] if Close did, [ErrReentrant] inside fn if ctx is the run's own, and
// ctx.Err() if ctx ends first. If ctx had ended before, no call was made;
// otherwise the call stands.
func (c *Coalescer[T]) Do(ctx context.Context, v T) error {
	o, err := c.ask(ctx, v)
	if err != nil {
		return err
	}
	return c.throttler.wait(ctx, o)
}

// ask makes Do's call and returns what it waits for.
func (c *Coalescer[T]) ask(ctx context.Context, v T) (*outcome, error) {
	t := c.throttler
	own, ended := t.ownRun(ctx), ctx.Err()
	now := t.lock()
	defer t.settleNow()
	if err := t.admitLocked(open, own, ended); err != nil {
		return nil, err
	}
	if err := c.handOverLocked(now, v, unhurried); err != nil {
		return nil, err
	}
	return t.awaitCallLocked(ctx), nil
}

// handOverLocked makes a call at now that hands over v. merge comes first: if it
// panics, nothing has happened.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) handOverLocked(now instant, v T, within time.Duration) error {
	t := c.throttler
	if t.history.phase == open && t.history.covers(t.policy, now, t.run != nil) && c.waiting.loaded {
		v = c.merge(c.waiting.value, v)
	}
	if !t.callLocked(now, within) {
		return t.refusalLocked(now)
	}
	c.waiting = cargo[T]{v, true}
	return nil
}

// Flush makes what is pending due now, whatever the policy says, and waits until
// every value handed over before it was taken by a run that is over. It returns
// that run's error as [Coalescer.Do] does, and is otherwise like
// [Throttler.Flush].
func (c *Coalescer[T]) Flush(ctx context.Context) error { return c.throttler.Flush(ctx) }

// Cancel drops what is pending, and returns it: all values that no run has taken,
// merged, and whether there was one. A run that is active goes on, but if it
// fails it is not repeated. The window, a failed run's backoff and the time of
// past calls stay as they are.
func (c *Coalescer[T]) Cancel() (dropped T, ok bool) {
	t := c.throttler
	defer t.settle(t.lock())
	t.cancelLocked()
	taken := c.waiting.take()
	return taken.value, taken.loaded
}

// Name returns what WithName gave.
func (c *Coalescer[T]) Name() string { return c.throttler.Name() }

// Policy returns the policy in force.
func (c *Coalescer[T]) Policy() Policy { return c.throttler.Policy() }

// SetPolicy replaces the policy, as [Throttler.SetPolicy] does; MaxInterval is
// refused.
func (c *Coalescer[T]) SetPolicy(p Policy) error {
	if err := joinProblems(c.throttler.extras.name, carrierProblems(p)); err != nil {
		return err
	}
	return c.throttler.SetPolicy(p)
}

// Stats returns a snapshot of the Coalescer.
func (c *Coalescer[T]) Stats() Stats { return c.throttler.Stats() }

// Close closes the Coalescer at once, as [Throttler.Close] does. What is pending
// is lost, and is reported as such before Close returns.
func (c *Coalescer[T]) Close() error { return c.throttler.Close() }

// Shutdown closes the Coalescer gracefully, as [Throttler.Shutdown] does: from its
// begin calls are refused, and what is pending runs now, a value that a failed run
// has left for its retry too. If that run fails the value is lost, as no retry is
// made: who wants to try longer calls Flush first, until it returns nil.
//
// Shutdown also waits for the error handler, if that is told of a value that was
// lost because another goroutine, or the parent context's end, closed the
// Coalescer.
func (c *Coalescer[T]) Shutdown(ctx context.Context) error { return c.throttler.Shutdown(ctx) }

// callback implements part.
func (c *Coalescer[T]) callback(ctx context.Context) error { return c.fn(ctx, c.loadedValue()) }

// loadedValue returns what the active run carries.
func (c *Coalescer[T]) loadedValue() T {
	c.throttler.mu.Lock()
	defer c.throttler.mu.Unlock()
	return c.carried.value
}

// load implements carrier.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) load() { c.carried = c.waiting.take() }

// unload implements carrier.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) unload(r *run) {
	carried := c.carried.take()
	switch {
	case r.err == nil:
	case !r.verdict.kept:
		r.report = c.lost(carried, r.err)
	case !c.waiting.loaded:
		c.waiting = carried
	default:
		c.returnLocked(r, carried)
	}
}

// returnLocked merges what the failed run r carried with what came after it. If
// merge panics or ends the goroutine, only what r carried is lost.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) returnLocked(r *run, carried cargo[T]) {
	r.verdict.kept = false
	r.report = c.lost(carried, errors.Join(r.err, ErrGoexit))
	defer c.recoverMerge(r, carried)
	c.waiting.value = c.merge(carried.value, c.waiting.value)
	r.verdict.kept, r.report = true, r.err
}

// recoverMerge recovers a panic of merge in returnLocked.
func (c *Coalescer[T]) recoverMerge(r *run, carried cargo[T]) {
	if value := recover(); value != nil {
		panicked := &PanicError{Value: value, Stack: debug.Stack(), name: c.throttler.extras.name}
		r.report = c.lost(carried, errors.Join(r.err, panicked))
	}
}

// strand implements carrier.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) strand(why error) (waiting, carried error) {
	if c.waiting.loaded {
		waiting = c.lost(c.waiting.take(), why)
	}
	if r := c.throttler.run; r != nil && !r.entered {
		carried = c.lost(c.carried.take(), why)
	}
	return waiting, carried
}

// lost returns the error that reports what is lost.
func (c *Coalescer[T]) lost(what cargo[T], why error) error {
	return &LostError{Value: what.value, Err: why, name: c.throttler.extras.name}
}
