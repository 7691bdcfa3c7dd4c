package throttle

import (
	"context"
	"errors"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
	"time"
)

// This file holds the public methods, each a line or two over a transition of
// lock.go, and the goroutine of a run.

// A Callback is what a [Throttler] runs. The context of the third form belongs
// to the one run: it is a child of the parent given by [WithContext], and ends
// with the run or when the Throttler is closed, with [ErrClosed] as its cause.
type Callback interface {
	func() | func() error | func(context.Context) error
}

// New returns a Throttler that runs fn as p allows. Its error joins a
// [*PolicyError] for everything that is wrong with p, fn or opts.
//
// It starts nothing unless p.MaxInterval is set.
func New[F Callback](p Policy, fn F, opts ...Option) (*Throttler, error) {
	e, problems := newExtras(opts, aThrottler)
	problems = append(p.problems(), problems...)
	if isNil(fn) {
		problems = append(problems, &PolicyError{Field: "callback", Value: nil, Reason: mustNotBeNil})
	}
	if err := joinProblems(e.name, problems); err != nil {
		return nil, err
	}
	t := newAlone(p, fn, e)
	t.settle(t.lock())
	t.watch()
	return t, nil
}

func isNil(fn any) bool {
	switch fn := fn.(type) {
	case func():
		return fn == nil
	case func() error:
		return fn == nil
	default:
		withContext, _ := fn.(func(context.Context) error)
		return withContext == nil
	}
}

// Must returns v if err is nil, and panics with err otherwise. It is for
// policies that are constants:
//
//	var reload = throttle.Must(throttle.New(throttle.Every(time.Second), load))
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err) //nolint:forbidigo // its documented purpose
	}
	return v
}

// Call asks for a run that starts after Call began. It never blocks, and on a
// closed Throttler it does nothing.
//
// A Call that makes a run pending is synchronized before that run. One that
// finds a run pending already is not, and need not be: see the package comment
// on the memory model.
func (t *Throttler) Call() {
	// No more than this is inlined: it is the whole cost of a call that
	// coalesces.
	if t.word.Load() != wordPending {
		t.call()
	}
}

func (t *Throttler) call() {
	if !t.coalesce() {
		t.CallWithin(unhurried)
	}
}

// unhurried is the bound of a call that is in no hurry.
const unhurried time.Duration = 1<<63 - 1

// CallWithin is a Call that neither Quiet nor a trailing edge may postpone
// beyond d from now; Interval and a failed run's backoff still may. Negative d
// counts as 0. The calls that wait for the same run gain by it too.
func (t *Throttler) CallWithin(d time.Duration) {
	now := t.lock()
	defer t.settle(now)
	t.callLocked(now, d)
}

// Do is a Call that waits for the run that covers it, which starts after Do
// began, and returns that run's error: the callback's own, a [*PanicError] or
// [ErrGoexit]. A failed run's retry is not waited for; it stays due.
//
// Without a run it returns a [*ThrottledError] if the policy has no trailing
// edge and the call was dropped, [ErrCanceled] or [ErrClosed] if Cancel or Close
// dropped it or the Throttler is closed, [ErrReentrant] inside the callback if
// ctx is the run's own, and ctx.Err() if ctx ends before the callback has
// returned; if it ends while the run's hooks are at work, Do returns the run's
// error without waiting for them. If ctx had ended before Do, no call was made;
// otherwise the call stands.
func (t *Throttler) Do(ctx context.Context) error {
	o, err := t.ask(ctx)
	if err != nil {
		return err
	}
	return t.wait(ctx, o)
}

// ask makes Do's call and returns what it waits for.
func (t *Throttler) ask(ctx context.Context) (*outcome, error) {
	own, ended := t.ownRun(ctx), ctx.Err()
	now := t.lock()
	defer t.settle(now)
	if err := t.admitLocked(open, own, ended); err != nil {
		return nil, err
	}
	if !t.callLocked(now, unhurried) {
		return nil, t.refusalLocked(now)
	}
	return t.awaitCallLocked(ctx), nil
}

// Flush makes what is pending due now, whatever the policy says, and waits until
// every call made before it is covered by a finished run: for the run that it
// made due, else for the active run, else for nothing. It returns that run's
// error, or one of Do's errors for a wait without a run. After Shutdown has
// begun it still waits; once the Throttler is closed it returns [ErrClosed].
//
// The run it starts takes a token from the bucket of Policy.Burst if one is
// left, and otherwise begins a new window.
func (t *Throttler) Flush(ctx context.Context) error {
	o, err := t.flush(ctx)
	if o == nil {
		return err
	}
	return t.wait(ctx, o)
}

// flush returns what Flush waits for, nil if for nothing.
func (t *Throttler) flush(ctx context.Context) (*outcome, error) {
	own, ended := t.ownRun(ctx), ctx.Err()
	now := t.lock()
	defer t.settle(now)
	if err := t.admitLocked(draining, own, ended); err != nil {
		return nil, err
	}
	return t.flushLocked(now), nil
}

// Cancel drops what is pending, and reports whether anything was: no run starts
// for a call made before it, and a run that is active goes on but is not
// retried. The window, a failed run's backoff and the time of past calls stay as
// they are.
func (t *Throttler) Cancel() bool {
	defer t.settle(t.lock())
	return t.cancelLocked()
}

// Name returns what WithName gave.
func (t *Throttler) Name() string { return t.extras.name }

// Policy returns the policy in force.
func (t *Throttler) Policy() Policy {
	t.mu.Lock()
	defer t.mu.Unlock()
	return *t.policy
}

// SetPolicy replaces the policy, and recomputes at once when what is pending is
// due; nothing pending is dropped by it. It returns the problems that
// [Policy.Validate] reports, or [ErrClosed] once Close was called or Shutdown
// has begun, and then has changed nothing.
func (t *Throttler) SetPolicy(p Policy) error {
	if err := joinProblems(t.extras.name, p.problems()); err != nil {
		return err
	}
	now := t.lock()
	defer t.settle(now)
	if t.history.phase != open {
		return t.closedLocked()
	}
	t.adoptLocked(now, &p)
	return nil
}

// Stats returns a snapshot of the Throttler.
func (t *Throttler) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.absorbLocked(t.word.Load())
	return t.statsLocked()
}

// Close closes the Throttler at once: it drops what is pending and cancels the
// active run's context, but does not wait for that run. No run starts after it;
// one that has just started may still be entering the callback. Calls are
// ignored from then on. Close may be called several times, and always returns
// nil.
func (t *Throttler) Close() error {
	t.close(nil)
	return nil
}

// close closes the Throttler, with all that it is part of, because its parent
// context ended if cause is not nil.
func (t *Throttler) close(cause error) {
	if t.extras.keeper != nil {
		t.extras.keeper.close(cause)
		return
	}
	now := t.lock()
	release := t.closeLocked(cause)
	t.settle(now)
	if release != nil {
		release()
	}
}

// watch makes the end of the parent context close the Throttler.
func (t *Throttler) watch() {
	if unwatch := t.extras.watch(t.close); unwatch != nil {
		t.mu.Lock()
		t.extras.unwatch = unwatch
		t.mu.Unlock()
	}
}

// Shutdown closes the Throttler gracefully: from its begin calls are refused,
// what is pending runs now, whatever the policy says, and when the last run is
// over the Throttler is closed. It returns the error of the run it waited for
// last; no retry and no periodic run is made. If Cancel or Close dropped what
// it waited for, it returns [ErrCanceled] or [ErrClosed], once no run is active.
//
// If ctx ends first, or had ended before, Shutdown closes the Throttler as Close
// does and returns ctx.Err(), joined with the run's error if only its hooks
// were still at work. On a closed Throttler it waits for the active run
// and returns nil, so that Close and then Shutdown drop what is pending but let
// the active run end. Inside the callback, with the run's own context, it returns
// [ErrReentrant] and has no effect.
func (t *Throttler) Shutdown(ctx context.Context) error {
	own, ended := t.ownRun(ctx), ctx.Err()
	o, err := t.drain(own, ended)
	if err != nil {
		return err
	}
	if err = ended; err == nil {
		err = t.drained(ctx, o)
	}
	t.close(nil)
	return t.reported(ctx, err)
}

// drained waits, after drain, until nothing runs any more, and returns what
// Shutdown returns.
func (t *Throttler) drained(ctx context.Context, o *outcome) (err error) {
	if o != nil {
		err = t.wait(ctx, o)
	}
	// A run may still be active if what was waited for was dropped, or the
	// Throttler was closed before: its error is for others to take. Or a
	// Coalescer's run was repeated: its hooks were at work when Shutdown began.
	if rest := t.activeOutcome(); rest != nil {
		select {
		case <-rest.done:
			if o != nil && !o.dropped {
				err = rest.err
			}
		case <-ctx.Done():
			switch ended := ctx.Err(); {
			case err == nil, rest != o && !isLost(err):
				return ended
			case errors.Is(err, ended):
				return err
			default:
				// Of err nobody else hears: only the run's hooks are left, or a
				// value is lost.
				return errors.Join(ended, err)
			}
		}
	}
	return err
}

// reported waits until the error handler knows what the Throttler has lost by
// being closed, maybe in another goroutine, and returns err, or ctx.Err() if ctx
// ends first and err is nil.
func (t *Throttler) reported(ctx context.Context, err error) error {
	t.mu.Lock()
	reported := t.extras.reported
	t.mu.Unlock()
	if reported == nil {
		return err
	}
	select {
	case <-reported:
	case <-ctx.Done():
		if err == nil {
			err = ctx.Err()
		}
	}
	return err
}

// isLost reports whether err is the Coalescer's own report of a lost value.
func isLost(err error) bool {
	_, lost := err.(*LostError) //nolint:errorlint // one that a callback's error wraps is not
	return lost
}

// drain refuses calls from now on, makes what is pending due, and returns what
// is to be waited for, nil if nothing; unless the Throttler is closed, or ended
// is not nil: then it does nothing. Its error is ErrReentrant, if the active run
// is own.
func (t *Throttler) drain(own *run, ended error) (*outcome, error) {
	now := t.lock()
	defer t.settle(now)
	if t.isActiveLocked(own) {
		return nil, sentinel(ErrReentrant, t.extras.name, nil)
	}
	if ended != nil {
		return nil, nil
	}
	return t.drainLocked(now), nil
}

// activeOutcome returns the outcome of the active run, nil if there is none.
func (t *Throttler) activeOutcome() *outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.run == nil {
		return nil
	}
	return t.run.outcome()
}

// A runKey is the key under which a run's context holds the *run: of is the
// Throttler, or the Group that it is part of.
type runKey struct{ of any }

func (t *Throttler) runKey() runKey {
	if t.extras.keeper != nil {
		return runKey{t.extras.keeper}
	}
	return runKey{t}
}

// ownRun returns the run of t that ctx belongs to, active or not; nil if it
// belongs to none. In a Group it may be another key's.
func (t *Throttler) ownRun(ctx context.Context) *run { return t.runKey().own(ctx) }

func (k runKey) own(ctx context.Context) *run {
	own, _ := ctx.Value(k).(*run)
	return own
}

// wait waits for o as one who takes its error, and returns that, or ctx.Err() if
// ctx ends first.
func (t *Throttler) wait(ctx context.Context, o *outcome) error {
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
	}
	if t.leave(o) {
		return ctx.Err()
	}
	return o.err // it was counted on to be taken here: nobody else hears of it
}

// leave takes one waiter from o, unless it is decided, and reports whether it did.
func (t *Throttler) leave(o *outcome) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.decided {
		return false
	}
	o.waiters--
	return true
}

// execute is the goroutine of a run.
func (t *Throttler) execute(r *run) {
	parent := t.extras.parent
	if parent.Err() != nil {
		// What is to close the Throttler may not have come to it yet. The error
		// handler, told of what that loses, may end the goroutine.
		defer t.enter(r, nil)
		t.close(context.Cause(parent))
		return
	}
	// A goroutine inherits the labels of the one that started it, here some
	// caller's or, from a timer, anybody's.
	pprof.SetGoroutineLabels(parent)

	var ctx context.Context
	var cancel context.CancelCauseFunc
	tracing := trace.IsEnabled()
	if t.needsContext(tracing) {
		ctx, cancel = context.WithCancelCause(context.WithValue(parent, t.runKey(), r))
	}
	if !t.enter(r, cancel) {
		if cancel != nil {
			cancel(nil)
		}
		return
	}
	var ends []func(Run)
	defer func() { t.conclude(r, cancel, ends) }()
	// This stands if the callback ends the goroutine.
	r.verdict, r.err = verdict{failed: true}, sentinel(ErrGoexit, t.extras.name, nil)
	ctx = t.startTraces(ctx, r, &ends)
	if tracing {
		var end func()
		ctx, end = t.startTask(ctx, r)
		defer end()
	}
	r.verdict, r.err = t.invoke(ctx)
}

// needsContext returns whether a run needs a context of its own: for the callback,
// for tracers, or for the execution tracer if that is on.
func (t *Throttler) needsContext(tracing bool) bool {
	switch t.fn.(type) {
	case func(context.Context) error, part:
		return true
	default:
		return tracing || len(t.extras.tracers) > 0
	}
}

// enter reports whether r may go on to its callback; if not, as the Throttler is
// closed, r is over.
func (t *Throttler) enter(r *run, cancel context.CancelCauseFunc) bool {
	now := t.lock()
	entered := t.enterLocked(r, cancel)
	t.settle(now)
	if !entered {
		t.extras.turns.pass()
	}
	return entered
}

// invoke runs the callback.
func (t *Throttler) invoke(ctx context.Context) (v verdict, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		// Goexit comes here too, but then nobody sees what is returned. That
		// recover returns nil does not tell the two apart: a panic(nil) may.
		v = verdict{failed: true, panicked: true}
		err = &PanicError{Value: recover(), Stack: debug.Stack(), name: t.extras.name}
	}()
	switch fn := t.fn.(type) {
	case func():
		fn()
	case func() error:
		err = fn()
	case func(context.Context) error:
		err = fn(ctx)
	case part:
		err = fn.callback(ctx)
	}
	// An error's own Unwrap or As may panic: still the callback's fault.
	if retry, ok := errors.AsType[*RetryError](err); ok {
		v.again, v.retryIn = true, retry.In
	} else {
		v.failed = err != nil
	}
	v.canceled = errors.Is(err, context.Canceled)
	returned = true
	return v, err
}

// conclude ends r once its callback has returned or ended the goroutine. All is
// deferred, so that it happens even if a hook panics or ends the goroutine.
func (t *Throttler) conclude(r *run, cancel context.CancelCauseFunc, ends []func(Run)) {
	defer t.end(r)
	defer t.tell(r, ends)
	if cancel != nil {
		defer cancel(nil)
	}
	t.decide(r)
}

// decide records the outcome of r's callback.
func (t *Throttler) decide(r *run) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.decideLocked(r)
}

// end records that r is over.
func (t *Throttler) end(r *run) {
	defer t.extras.turns.pass()
	now := t.lock()
	defer t.settle(now)
	t.endLocked(r)
}
