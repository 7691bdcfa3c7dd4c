package throttle

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// A Throttler runs a callback as often as its [Policy] allows, however many
// goroutines ask for it, and never loses the last request. [New] builds one; the
// zero value is not usable. Its methods may be called concurrently, from the
// callback too. It must not be copied.
//
// A Throttler with nothing pending owns no goroutine and no timer, unless
// MaxInterval is set. If it has no parent context either, you need not close it.
type Throttler struct {
	*domain
	fn any // the callback: one of the types in Callback, or a part

	// word is the fast path: it says what a call has to record, see coalesce.
	// Transitions write it with mu held; calls that record themselves in it do
	// not hold mu.
	word atomic.Uint64

	// The domain's mu guards the fields below.

	// +checklocks:mu
	policy *Policy // never written through
	// +checklocks:mu
	history history
	// +checklocks:mu
	run *run // the active run; nil if none
	// +checklocks:mu
	awaited *outcome // of what is pending; nil if nobody waits for it
	// +checklocks:mu
	alarm *alarm // wakes the Throttler when something is due; nil if nothing will be
	// +checklocks:mu
	pendingCalls uint64 // calls since the last start or drop, if they are counted
}

// A domain is a lock and the state shared by all Throttlers under it. [New] and
// [NewCoalescer] build a domain for a single Throttler; all keys of a Group's
// shard share one, so that a key costs little.
type domain struct {
	config *config
	base   time.Duration // since epoch, at instant 0

	dropped atomic.Uint64 // calls, because the policy has no trailing edge

	mu     sync.Mutex // guards the fields below, and those fields of the Throttlers that say so
	inTest bool       // built in a testing/synctest bubble; never changes, and stands here to save memory

	// +checklocks:mu
	paused bool
	// +checklocks:mu
	runs uint64 // whose callback was entered
	// +checklocks:mu
	rare *rare // see rareLocked; nil if not needed yet
}

// A rare is the state that many Throttlers never need.
type rare struct {
	failures  uint64 // runs that failed
	panics    uint64 // of these, runs that panicked
	lastError error  // of the last finished run; not used in a Group, see Group.last

	calls   uint64 // all but the dropped ones, if calls are counted
	refused uint64 // calls with a value for which there was no room

	unwatch  func() bool     // stops watching the parent context; nil if it is not watched
	cause    error           // why the parent context ended, if that closed the Throttler
	reported []chan struct{} // each is closed once the handler has got the values that Close lost
}

// rareLocked returns the rare state, to change it.
//
// +checklocks:d.mu
func (d *domain) rareLocked() *rare {
	if d.rare == nil {
		d.rare = new(rare)
	}
	return d.rare
}

func newDomain(c *config, built clock) domain {
	return domain{config: c, base: built.sinceEpoch, inTest: built.inTest(), paused: c.paused}
}

// newThrottler returns a Throttler in a domain of its own, in one allocation.
func newThrottler(p Policy, fn any, c *config) *Throttler {
	memory := &struct {
		throttler Throttler
		domain    domain
		policy    Policy
	}{domain: newDomain(c, readClock(0)), policy: p}
	t := &memory.throttler
	t.domain, t.fn, t.policy, t.history = &memory.domain, fn, &memory.policy, newHistory(0, rand.Float32())
	return t
}

// New returns a Throttler that runs fn as p allows. Its error joins a
// [*PolicyError] for each problem with p, fn or opts.
//
// New starts nothing unless p.MaxInterval is set.
func New[F Callback](p Policy, fn F, opts ...Option) (*Throttler, error) {
	c, problems := newConfig(opts, aThrottler)
	problems = append(p.problems(), problems...)
	callback := plainFunc(fn)
	if callback == nil {
		problems = append(problems, &PolicyError{Field: "callback", Value: nil, Reason: mustNotBeNil})
	}
	if err := joinProblems(c.name, problems); err != nil {
		return nil, err
	}
	t := newThrottler(p, callback, c)
	t.settle(t.lock())
	t.watch()
	return t, nil
}

// Must returns v if err is nil, and panics with err otherwise. Use it for policies
// that are constants:
//
//	var reload = throttle.Must(throttle.New(throttle.Every(time.Second), load))
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err) //nolint:forbidigo // its documented purpose
	}
	return v
}

// Call asks for a run that starts after Call began. It never blocks. On a closed
// Throttler it does nothing.
//
// A Call that makes a run pending is synchronized before that run. A Call that
// finds a run pending is not, and need not be: see the memory model in the package
// comment.
func (t *Throttler) Call() {
	// The compiler inlines this much and no more. For a call that coalesces, it
	// is the whole cost.
	if t.word.Load() != wordPending {
		t.call()
	}
}

func (t *Throttler) call() {
	if !t.coalesce() {
		t.CallWithin(noLimit)
	}
}

// noLimit is the bound of a call that may wait for any time.
const noLimit time.Duration = 1<<63 - 1

// CallWithin is a Call whose run neither Quiet nor a trailing edge may postpone
// beyond d from now. Interval and a failed run's backoff still may. A negative d
// counts as 0. Other calls that the same run covers benefit too.
func (t *Throttler) CallWithin(d time.Duration) {
	now := t.lock()
	defer t.settle(now)
	t.callLocked(now, d)
}

// Do is a Call that waits for the run that covers it, and returns that run's error:
// the callback's own, a [*PanicError] or [ErrGoexit]. The run always starts after Do
// began. If the run fails, Do does not wait for its retry, which stays due.
//
// Do returns without a run:
//   - [*ThrottledError] if the policy has no trailing edge and the call was dropped;
//   - [ErrCanceled] or [ErrClosed] if Cancel or Close dropped the call, and
//     [ErrClosed] if the Throttler is closed or Shutdown has begun;
//   - [ErrReentrant] inside the callback, if ctx is the run's own context;
//   - ctx.Err() if ctx ends first.
//
// If ctx had ended before Do, Do makes no call; otherwise the call stands. If ctx
// ends while the run's hooks are at work, Do returns the run's error at once.
func (t *Throttler) Do(ctx context.Context) error {
	o, err := t.ask(ctx)
	if err != nil {
		return err
	}
	return t.wait(ctx, o)
}

// ask makes Do's call and returns the outcome to wait for.
func (t *Throttler) ask(ctx context.Context) (*outcome, error) {
	own, ended := t.ownRun(ctx), ctx.Err()
	now := t.lock()
	defer t.settle(now)
	if err := t.admitLocked(open, own, ended); err != nil {
		return nil, err
	}
	if !t.callLocked(now, noLimit) {
		return nil, t.refusalLocked(now)
	}
	return t.awaitCallLocked(ctx), nil
}

// Flush is a read barrier: it makes what is pending due now, whatever the policy
// says, and waits until a finished run covers every call made before Flush. If a
// run was pending, it waits for that run; otherwise for the active run; otherwise
// for nothing. It returns the error of the run it waited for.
//
// Without a run it returns [ErrCanceled], [ErrClosed], [ErrReentrant] or ctx.Err(),
// as [Throttler.Do] does. After Shutdown has begun, Flush still waits; once the
// Throttler is closed, it returns [ErrClosed].
//
// The run that Flush starts takes a token from the bucket of Policy.Burst if one is
// left. Otherwise it begins a new window.
func (t *Throttler) Flush(ctx context.Context) error {
	o, err := t.flush(ctx)
	if o == nil {
		return err
	}
	return t.wait(ctx, o)
}

// flush returns the outcome that Flush waits for; nil if none.
func (t *Throttler) flush(ctx context.Context) (*outcome, error) {
	own, ended := t.ownRun(ctx), ctx.Err()
	now := t.lock()
	defer t.settle(now)
	if err := t.admitLocked(draining, own, ended); err != nil {
		return nil, err
	}
	return t.flushLocked(now), nil
}

// Cancel drops what is pending, and reports whether anything was. No run starts for
// an earlier call. The active run goes on, but if it fails it is not retried. The
// window, a failed run's backoff and the times of past calls stay as they are.
func (t *Throttler) Cancel() bool {
	defer t.settle(t.lock())
	return t.cancelLocked()
}

// Pause lets no run start once it has returned, whoever asks: neither for a call or a
// retry, nor for MaxInterval, Flush or Shutdown. It keeps what is pending, and calls
// are accepted. What becomes due meanwhile is due at [Throttler.Resume]. The policy's
// times go on: Quiet, MaxWait, windows and MaxInterval. A run that has already started
// goes on, and may still be entering the callback; [Throttler.Wait] waits for it.
//
// Do and Flush wait until Resume, or until their ctx ends. Shutdown drops what is
// pending, see there.
func (t *Throttler) Pause() {
	now := t.lock()
	unclaimed := t.pauseLocked()
	t.settle(now)
	t.reportLost(unclaimed)
}

// Resume ends a pause: what is due starts.
func (t *Throttler) Resume() {
	now := t.lock()
	defer t.settle(now)
	t.paused = false
}

// Wait waits for the active run to end, with its hooks, and returns its error as Do
// does. If no run is active, it returns nil at once. It starts no run, and later runs
// do not concern it.
//
// Without a run's error it returns [ErrClosed] if the Throttler is closed,
// [ErrReentrant] inside the callback, if ctx is the run's own context, and ctx.Err()
// if ctx ends first or had ended before.
func (t *Throttler) Wait(ctx context.Context) error {
	o, err := t.awaitActive(ctx)
	if o == nil {
		return err
	}
	return t.wait(ctx, o)
}

// awaitActive returns the outcome that Wait waits for; nil if none.
func (t *Throttler) awaitActive(ctx context.Context) (*outcome, error) {
	own, ended := t.ownRun(ctx), ctx.Err()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.admitLocked(draining, own, ended); err != nil {
		return nil, err
	}
	return t.awaitActiveLocked(), nil
}

// Name returns the name given by [WithName].
func (t *Throttler) Name() string { return t.config.name }

// Policy returns the current policy.
func (t *Throttler) Policy() Policy {
	t.mu.Lock()
	defer t.mu.Unlock()
	return *t.policy
}

// SetPolicy replaces the policy. A pending run moves at once to when the new policy
// says it is due; SetPolicy drops nothing.
//
// It returns the problems that [Policy.Validate] reports, or [ErrClosed] once Close
// was called or Shutdown has begun. It then has changed nothing.
func (t *Throttler) SetPolicy(p Policy) error {
	if err := joinProblems(t.config.name, p.problems()); err != nil {
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

// wait waits for o on behalf of a waiter that o counts, and returns o's error, or
// ctx.Err() if ctx ends first.
func (t *Throttler) wait(ctx context.Context, o *outcome) error {
	failed, ended := t.await(ctx, o)
	return cmp.Or(ended, failed)
}

// await is wait, but tells o's error from that of ctx.
func (t *Throttler) await(ctx context.Context, o *outcome) (failed, ended error) {
	select {
	case <-o.done:
		return o.err, nil
	case <-ctx.Done():
	}
	if t.leave(o) {
		return nil, ctx.Err()
	}
	return o.err, nil // decide counted on this waiter, so the handler does not get the error
}

// leave takes one waiter from o, unless o is decided, and reports whether it did.
func (t *Throttler) leave(o *outcome) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.decided {
		return false
	}
	o.waiters--
	return true
}
