package throttle

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A Throttler runs a callback as often as its [Policy] allows, however many
// goroutines ask for it, and never loses the last request. It is built by
// [New], and its zero value cannot be used; its methods may be called
// concurrently, from the callback too. It must not be copied.
//
// A Throttler with nothing pending owns no goroutine and no timer, unless
// MaxInterval is set, and needs no Close if it has no parent context.
type Throttler struct {
	*domain
	fn any // the callback: of one of the types in Callback, or a part

	// word is the fast path: what a call has to record, see coalesce. Written
	// with mu held, but for the calls that record themselves in it.
	word atomic.Uint64

	// Guarded by mu, which is the domain's.

	// +checklocks:mu
	policy *Policy // what it points to never changes
	// +checklocks:mu
	history history
	// +checklocks:mu
	run *run // the active run; nil if none
	// +checklocks:mu
	awaited *outcome // of what is pending; nil if nobody waits for it
	// +checklocks:mu
	alarm *alarm // wakes the Throttler when something is due; nil if nothing will be
	// +checklocks:mu
	pendingCalls uint64 // made since the last start or drop, if they are counted
}

// A domain is a lock and what all Throttlers under it have in common. A Throttler
// that was built by New or NewCoalescer is alone in its domain; those of a
// Group's shard share one, so that a key costs little.
type domain struct {
	base   time.Time // instant 0
	extras *extras   // what options set

	mu sync.Mutex // guards the fields below, and the Throttlers' fields that say so

	// +checklocks:mu
	tally tally
}

func newDomain(e *extras, base time.Time) domain {
	return domain{base: base, extras: e, tally: newTally()}
}

// newAlone returns a Throttler in a domain of its own: one piece of memory.
func newAlone(p Policy, fn any, e *extras) *Throttler {
	alone := &struct {
		throttler Throttler
		domain    domain
		policy    Policy
	}{domain: newDomain(e, time.Now()), policy: p}
	t := &alone.throttler
	t.domain, t.fn, t.policy, t.history = &alone.domain, fn, &alone.policy, newHistory(0)
	return t
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
