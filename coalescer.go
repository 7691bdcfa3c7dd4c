package throttle

import (
	"context"
	"errors"
	"runtime/debug"
	"time"
)

// A Coalescer is a [Throttler] whose calls carry values. While a run is pending, the
// Coalescer merges the values of the calls that the run will cover, in the order of
// the calls. The run gets the merged value. So each value is in exactly one run that
// succeeds, or Cancel returns it, or it is reported as lost.
//
// If a run fails and the policy repeats it, the Coalescer keeps its value as the
// older side of later merges. If the policy does not repeat it, the value is lost. A
// value that Close or the end of the parent context drops is lost too. Everyone who
// waits for a lost value in Do, Flush or Shutdown gets a [*LostError]. If nobody
// waits, the error handler gets it; after Close, from the goroutine that closes.
// A Flush or Shutdown that begins meanwhile waits for the handler, but does not return
// the same loss again.
//
// [NewCoalescer] builds a Coalescer; the zero value is not usable. Its methods may be
// called concurrently, also from fn, but not from merge. An idle Coalescer owns no
// goroutine and no timer.
type Coalescer[T any] struct {
	throttler *Throttler
	merge     func(older, newer T) T
	fn        func(context.Context, T) error

	// The Throttler's mu guards the fields below. So a call and its value change
	// together, and so do a run and what it takes, a drop and what it drops.

	// +checklocks:throttler.mu
	waiting optional[T] // merged from the calls that no run covers yet
	// +checklocks:throttler.mu
	running optional[T] // of the active run
}

// An optional is a value that may be absent.
type optional[T any] struct {
	value   T
	present bool
}

// take empties o and returns its content. So nothing keeps the value from being
// garbage collected once it is used.
func (o *optional[T]) take() optional[T] {
	taken := *o
	*o = optional[T]{}
	return taken
}

// NewCoalescer returns a Coalescer that gives merged values to fn as p allows. Its
// error joins a [*PolicyError] for each problem with p, merge, fn or opts. It rejects
// MaxInterval: a run that no call asked for would have no value. A Coalescer always
// counts calls, as with [WithCallCount].
//
// merge returns the merger of two values; newer was handed over later. It must be
// associative, because the value of a failed run is merged with the result of all
// later calls. merge is never called concurrently. The Coalescer is locked meanwhile,
// so merge should be quick and must not call the Coalescer. If merge panics, the
// caller gets the panic, its call was not made, and the older value stays as merge
// left it. If merge panics on the value of a failed run, that value is lost. [Latest]
// and [Append] are ready-made merges.
//
// The context that fn gets belongs to one run, as for a [Callback].
func NewCoalescer[T any](
	p Policy, merge func(older, newer T) T, fn func(ctx context.Context, value T) error, opts ...Option,
) (*Coalescer[T], error) {
	config, problems := newConfig(opts, aCoalescer)
	problems = append(coalescerProblems(p), problems...)
	if merge == nil {
		problems = append(problems, &PolicyError{Field: "merge", Value: nil, Reason: mustNotBeNil})
	}
	if fn == nil {
		problems = append(problems, &PolicyError{Field: "callback", Value: nil, Reason: mustNotBeNil})
	}
	if err := joinProblems(config.name, problems); err != nil {
		return nil, err
	}
	c := &Coalescer[T]{merge: merge, fn: fn}
	c.throttler = newThrottler(p, c, config)
	c.throttler.watch()
	return c, nil
}

// coalescerProblems returns the problems with p as the policy of a Coalescer.
func coalescerProblems(p Policy) []*PolicyError {
	problems := p.problems()
	if p.MaxInterval > 0 {
		problems = append(problems, &PolicyError{
			Field: "MaxInterval", Value: p.MaxInterval, Reason: "does not apply to a Coalescer: the run would have no value",
		})
	}
	return problems
}

// Latest is a merge that keeps only the newest value, that of the last call. If several
// goroutines hand over states of the same thing, hold your lock across both the
// change of state and the Call; otherwise the last call may not carry the last state.
func Latest[T any](_, newer T) T { return newer }

// Append is a merge that collects the elements of all calls. It may write to the array
// of older beyond its length. So either do not use the array of a slice again after
// you hand it over, or clip the slice with slices.Clip.
func Append[E any](older, newer []E) []E { return append(older, newer...) }

// Call hands over v and asks for a run that takes it. It does not wait for the run.
// If Call returns nil, v belongs to the Coalescer: do not change what v refers to.
//
// Call returns [ErrClosed] once the Coalescer is closed or Shutdown has begun, and a
// [*ThrottledError] if the policy has no trailing edge and the call came inside the
// window. Then v still belongs to you.
func (c *Coalescer[T]) Call(v T) error { return c.CallWithin(v, noLimit) }

// CallWithin is a Call whose run neither Quiet nor a trailing edge may postpone
// beyond d from now, as [Throttler.CallWithin] is.
func (c *Coalescer[T]) CallWithin(v T, d time.Duration) error {
	t := c.throttler
	now := t.lock()
	defer t.settleNow()
	return c.handOverLocked(now, v, d)
}

// Do is a Call that waits for the run that takes v, and returns that run's error: fn's
// own, a [*PanicError] or [ErrGoexit]. If the run is repeated, the Coalescer keeps v;
// if not, a [*LostError] wraps the error.
//
// Without a run, Do returns Call's errors, [ErrCanceled] if Cancel dropped v, a
// [*LostError] if Close did, [ErrReentrant] inside fn if ctx is the run's own, and
// ctx.Err() if ctx ends first. If ctx had ended before Do, Do makes no call;
// otherwise the call stands.
func (c *Coalescer[T]) Do(ctx context.Context, v T) error {
	o, err := c.ask(ctx, v)
	if err != nil {
		return err
	}
	return c.throttler.wait(ctx, o)
}

// ask makes Do's call and returns the outcome to wait for.
func (c *Coalescer[T]) ask(ctx context.Context, v T) (*outcome, error) {
	t := c.throttler
	own, ended := t.ownRun(ctx), ctx.Err()
	now := t.lock()
	defer t.settleNow()
	if err := t.admitLocked(open, own, ended); err != nil {
		return nil, err
	}
	if err := c.handOverLocked(now, v, noLimit); err != nil {
		return nil, err
	}
	return t.awaitCallLocked(ctx), nil
}

// handOverLocked makes a call at now that hands over v. It calls merge first, so that
// nothing has changed if merge panics.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) handOverLocked(now instant, v T, within time.Duration) error {
	t := c.throttler
	if t.history.phase == open && t.history.covers(t.policy, now, t.run != nil) && c.waiting.present {
		v = c.merge(c.waiting.value, v)
	}
	if !t.callLocked(now, within) {
		return t.refusalLocked(now)
	}
	c.waiting = optional[T]{v, true}
	return nil
}

// Flush makes what is pending due now, whatever the policy says, and waits until a
// finished run has taken every value handed over before. It returns that run's error
// as [Coalescer.Do] does, and is otherwise like [Throttler.Flush].
func (c *Coalescer[T]) Flush(ctx context.Context) error { return c.throttler.Flush(ctx) }

// Cancel drops what is pending and returns it: all values that no run has taken,
// merged, and whether there were any. The active run goes on, but if it fails it is
// not repeated. The window, a failed run's backoff and the times of past calls stay
// as they are.
func (c *Coalescer[T]) Cancel() (dropped T, ok bool) {
	t := c.throttler
	defer t.settle(t.lock())
	t.cancelLocked()
	taken := c.waiting.take()
	return taken.value, taken.present
}

// Name returns the name given by [WithName].
func (c *Coalescer[T]) Name() string { return c.throttler.Name() }

// Policy returns the current policy.
func (c *Coalescer[T]) Policy() Policy { return c.throttler.Policy() }

// SetPolicy replaces the policy, as [Throttler.SetPolicy] does. It rejects
// MaxInterval.
func (c *Coalescer[T]) SetPolicy(p Policy) error {
	if err := joinProblems(c.throttler.config.name, coalescerProblems(p)); err != nil {
		return err
	}
	return c.throttler.SetPolicy(p)
}

// Pause keeps runs from starting until Resume, as [Throttler.Pause] does.
func (c *Coalescer[T]) Pause() { c.throttler.Pause() }

// Resume ends a pause, as [Throttler.Resume] does.
func (c *Coalescer[T]) Resume() { c.throttler.Resume() }

// Wait waits for the active run to end, as [Throttler.Wait] does.
func (c *Coalescer[T]) Wait(ctx context.Context) error { return c.throttler.Wait(ctx) }

// Stats returns a snapshot of the Coalescer.
func (c *Coalescer[T]) Stats() Stats { return c.throttler.Stats() }

// Close closes the Coalescer at once, as [Throttler.Close] does. What is pending is
// lost, and Close reports it before it returns.
func (c *Coalescer[T]) Close() error { return c.throttler.Close() }

// Shutdown closes the Coalescer gracefully, as [Throttler.Shutdown] does. From its
// start the Coalescer refuses calls. What is pending runs now, including the value of
// a failed run that waits for its retry. If that run fails, the value is lost,
// because no retry is made. To keep trying, call Flush until it returns nil, and then
// Shutdown.
//
// If another goroutine or the end of the parent context closes the Coalescer,
// Shutdown also waits until the error handler has got the values lost by that.
func (c *Coalescer[T]) Shutdown(ctx context.Context) error { return c.throttler.Shutdown(ctx) }

// callback implements runner.
func (c *Coalescer[T]) callback(ctx context.Context) error { return c.fn(ctx, c.runningValue()) }

// keyOf implements runner.
func (c *Coalescer[T]) keyOf() any { return nil }

// runningValue returns the value of the active run.
func (c *Coalescer[T]) runningValue() T {
	c.throttler.mu.Lock()
	defer c.throttler.mu.Unlock()
	return c.running.value
}

// takeValueLocked implements valueHolder.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) takeValueLocked() { c.running = c.waiting.take() }

// settleValueLocked implements valueHolder.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) settleValueLocked(r *run) {
	value := c.running.take()
	switch {
	case r.err == nil:
	case !r.verdict.kept:
		r.outcomeErr = c.lost(value, r.outcomeErr)
	case !c.waiting.present:
		c.waiting = value
	default:
		c.returnLocked(r, value)
	}
}

// returnLocked merges value, that of the failed run r, with the values that came after
// it. If merge panics or ends the goroutine, only value is lost.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) returnLocked(r *run, value optional[T]) {
	failed := r.outcomeErr
	r.verdict.kept = false
	r.outcomeErr = c.lost(value, errors.Join(failed, ErrGoexit))
	defer c.recoverMerge(r, value, failed)
	c.waiting.value = c.merge(value.value, c.waiting.value)
	r.verdict.kept, r.outcomeErr = true, failed
}

// recoverMerge recovers a panic of merge in returnLocked, after r has failed.
func (c *Coalescer[T]) recoverMerge(r *run, value optional[T], failed error) {
	if cause := recover(); cause != nil {
		panicked := &PanicError{Value: cause, Stack: debug.Stack(), name: c.throttler.config.name}
		r.outcomeErr = c.lost(value, errors.Join(failed, panicked))
	}
}

// dropWaitingLocked implements valueHolder.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) dropWaitingLocked(why error) error {
	if !c.waiting.present {
		return nil
	}
	return c.lost(c.waiting.take(), why)
}

// dropTakenLocked implements valueHolder.
//
// +checklocks:c.throttler.mu
func (c *Coalescer[T]) dropTakenLocked(why error) error {
	if r := c.throttler.run; r == nil || r.entered {
		return nil
	}
	return c.lost(c.running.take(), why)
}

// lost returns the error that reports value as lost.
func (c *Coalescer[T]) lost(value optional[T], why error) error {
	return &LostError{Value: value.value, Err: why, name: c.throttler.config.name}
}
