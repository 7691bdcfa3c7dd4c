package fleet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// A Throttler is one replica of a throttle that a fleet shares. Of all replicas with the
// same key on the same engine, at most one runs its callback at a time, and the starts of
// runs are at least an interval apart. Make one with [New]. Its methods may be called
// concurrently.
//
// Close it to release it. Until then the engine's [Base] refers to it. The Base has two
// goroutines for all throttlers of the process on that engine together.
type Throttler struct {
	engine  Engine
	key     string
	fn      func(context.Context) error
	config  *config
	runner  *throttle.Throttler // runs the callback
	origin  time.Time           // instants count from here
	session string              // prefix of the claims' identifiers

	mu sync.Mutex // guards the fields below

	// The policy in force.
	// +checklocks:mu
	policy throttle.Policy
	// Decides what to do next.
	// +checklocks:mu
	replica replica.Replica
	// The message that is out. Renewals do not count.
	// +checklocks:mu
	message message
	// The failed attempts since the last answer.
	// +checklocks:mu
	outage outage
	// The Do calls whose run has not begun, in the order of the calls.
	// +checklocks:mu
	waits []*wait
	// The active run, from the callback's entry on; nil if no run is active.
	// +checklocks:mu
	run *run
	// Calls settle when the time comes to do something; nil at first.
	// +checklocks:mu
	timer *time.Timer
	// +checklocks:mu
	phase phase
	// Stops watching the parent context.
	// +checklocks:mu
	unwatch func() bool
	// When the Throttler was closed; valid once it is.
	// +checklocks:mu
	closedAt time.Duration
	// Closed once Shutdown has nothing more to wait for; nil if no Shutdown waits.
	// +checklocks:mu
	drained chan struct{}
	// The error of the last run that ended after Shutdown had begun.
	// +checklocks:mu
	drainedErr error
	// How many goroutines are sending a message.
	// +checklocks:mu
	active int
	// How many claims have been made.
	// +checklocks:mu
	claims uint64
	// The last policy of another replica that was reported to the error handler.
	// +checklocks:mu
	mismatch string
	// How many runs of the runner did not enter the callback. Stats does not count them.
	// +checklocks:mu
	late uint64
}

// A phase is how far a Throttler is on its way to its end.
type phase uint8

const (
	open phase = iota
	draining
	closed
)

// New returns a Throttler that runs fn as p allows for all replicas with the same key on the
// same engine together. It does not wait for the store. The Throttler looks for due runs at
// once, so it may run fn for the calls of other replicas.
//
// Of the fields of p, only Interval and Retry work across a fleet, without Retry.Eager. The
// error joins one [*throttle.PolicyError] for everything that is wrong with the arguments. A
// key is 1 to 512 bytes of UTF-8 without NUL.
//
// The work of fn must be on state that all replicas share, because one replica does it for
// all. If fn reloads the replica's own state, the other replicas stay stale.
func New(engine Engine, key string, p throttle.Policy, fn func(ctx context.Context) error, opts ...Option) (*Throttler, error) {
	c, problems := newConfig(opts, key)
	problems = append(problems, c.check(engine, key, p, fn)...)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	t := &Throttler{
		engine:  engine,
		key:     key,
		fn:      fn,
		config:  c,
		origin:  time.Now(),
		session: newSession(),
		policy:  p,
		replica: replica.Replica{Rules: c.rules(p)},
	}
	runner, err := throttle.New(throttle.Policy{}, t.execute, append(c.tracers,
		throttle.WithName(c.name),
		throttle.WithContext(c.parent),
		throttle.WithErrorHandler(func(error) {}), // conclude reports errors
		throttle.WithObserver(t.conclude),
	)...)
	if err != nil {
		return nil, err
	}
	t.runner = runner
	t.engine.base().join(engine, t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unwatch = context.AfterFunc(c.parent, func() { t.close(context.Cause(c.parent)) })
	return t, nil
}

// Name returns the name that WithName set, or the key.
func (t *Throttler) Name() string { return t.config.name }

// Call asks for a run, in any replica, that starts after Call began. It never blocks. It does
// nothing once the Throttler is closed or Shutdown has begun.
//
// Until the store has received the call, only this process knows of it.
func (t *Throttler) Call() {
	now := t.lock()
	defer t.settle(now)
	if t.phase == open {
		t.replica.Call(now)
	}
}

// Do is a Call that waits for a run that covers it, in any replica, and returns the outcome
// of that run. For a run of this replica, the outcome is the callback's error, a
// [*throttle.PanicError] or [throttle.ErrGoexit]. For a run of another replica, it is nil, a
// [*RemoteError] or [ErrOutcomeUnknown]. Do does not wait for the retry of a failed run.
//
// Do returns without a run in these cases:
//
//   - [throttle.ErrCanceled] if Cancel ended the wait.
//   - [throttle.ErrClosed] if Close or Shutdown ended the wait, or the Throttler is closed.
//   - [throttle.ErrReentrant] inside the callback, if ctx is the run's own context.
//   - ctx.Err() if ctx ends first, joined with an [*EngineError] if the store cannot be used.
//     The call stands. If ctx ended before Do, no call was made.
func (t *Throttler) Do(ctx context.Context) error {
	w, err := t.ask(ctx)
	if err != nil {
		return err
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return t.stopWaiting(ctx, w)
	}
}

// ask makes the call of a Do, and returns the wait for its run.
func (t *Throttler) ask(ctx context.Context) (*wait, error) {
	ended := ctx.Err()
	now := t.lock()
	defer t.settle(now)
	switch {
	case t.isOwnLocked(ctx):
		return nil, t.named(throttle.ErrReentrant)
	case t.phase != open:
		return nil, t.named(throttle.ErrClosed)
	case ended != nil:
		return nil, ended
	}
	w := &wait{call: t.replica.Call(now), done: make(chan struct{})}
	t.waits = append(t.waits, w)
	return w, nil
}

// Cancel drops this replica's calls, and reports whether any was pending. Their Do returns
// [throttle.ErrCanceled]. If a run of this replica is active, it continues but is not
// retried. Calls that the store has registered stay there and are run, because other
// replicas may have joined them.
func (t *Throttler) Cancel() bool {
	now := t.lock()
	defer t.settle(now)
	pending := t.replica.Cancel()
	t.endWaitsLocked(len(t.waits), t.named(throttle.ErrCanceled))
	if t.run != nil {
		t.run.canceled = true
	}
	return pending
}

// Policy returns the policy in force.
func (t *Throttler) Policy() throttle.Policy {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.policy
}

// SetPolicy replaces this replica's policy, beginning with its next grant. If it returns an
// error, it has changed nothing. The error is the one that New returns for p, or
// [throttle.ErrClosed] once Close was called or Shutdown has begun.
//
// The spacing after a grant is that of the replica that received it, so set the policy of
// the other replicas as well.
func (t *Throttler) SetPolicy(p throttle.Policy) error {
	if err := errors.Join(t.config.checkPolicy(p)...); err != nil {
		return err
	}
	now := t.lock()
	defer t.settle(now)
	if t.phase != open {
		return t.named(throttle.ErrClosed)
	}
	t.policy = p
	t.replica.Rules = t.config.rules(p)
	return nil
}

// Stats returns a snapshot of this replica's own calls and runs. Calls counts every call.
// Pending is set while a call is not known to be covered. Next is when the replica will ask
// the store next.
func (t *Throttler) Stats() throttle.Stats {
	s := t.runner.Stats()
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Runs -= min(t.late, s.Runs)
	s.Failures -= min(t.late, s.Failures)
	s.Calls = t.replica.Calls()
	s.Pending = t.replica.Pending()
	s.Running = t.run != nil
	s.Closed = t.phase != open
	s.Next = time.Time{}
	if at, polling := t.replica.Due(); polling {
		s.Next = time.Now().Add(at - t.now())
	}
	return s
}

// Close closes the Throttler at once. It drops this replica's calls as Cancel does, and
// cancels the active run's context, but does not wait for that run. If the callback then
// returns an error, other replicas run for the calls that it covers. Close may be called
// several times, and always returns nil.
//
// Messages to the store that are still out end on their own, within seconds.
func (t *Throttler) Close() error {
	t.close(nil)
	return nil
}

// Shutdown closes the Throttler gracefully. As soon as it begins, new calls are refused. It
// waits until the store has received the calls that it did not know of, for another replica
// to run, and until the active run and its finish are done. It does not wait for a run that
// is not due: a Do that waits for one returns [throttle.ErrClosed]. Shutdown then returns the
// error of the active run, or nil.
//
// If ctx ends first, or ended before, Shutdown closes the Throttler as Close does. It returns
// ctx.Err(), joined with an [*EngineError] if the store cannot be used. On a closed
// Throttler, Shutdown waits for what is still active and returns nil. Inside the callback,
// with the run's own context, it returns [throttle.ErrReentrant] and has no effect.
func (t *Throttler) Shutdown(ctx context.Context) error {
	ended := ctx.Err()
	drained, err := t.drain(ctx)
	if err != nil {
		return err
	}
	if ended == nil {
		select {
		case <-drained:
			err = t.drainedError()
		case <-ctx.Done():
			ended = ctx.Err()
		}
	}
	if ended != nil {
		err = t.interrupted(ctx)
	}
	t.close(nil)
	// Here no run is active, or ctx has ended. What follows waits for goroutines to end.
	if late := t.runner.Shutdown(ctx); err == nil {
		err = late
	}
	select {
	case <-t.engine.base().pollerEnded():
	case <-ctx.Done():
		if err == nil {
			err = ctx.Err()
		}
	}
	return err
}

// drain refuses calls from now on. It returns a channel that is closed once the store knows
// everything that this replica knows, and nothing of this replica is active.
func (t *Throttler) drain(ctx context.Context) (<-chan struct{}, error) {
	now := t.lock()
	defer t.settle(now)
	if t.isOwnLocked(ctx) {
		return nil, t.named(throttle.ErrReentrant)
	}
	t.phase = max(t.phase, draining)
	if t.drained == nil {
		t.drained = make(chan struct{})
	}
	return t.drained, nil
}

func (t *Throttler) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase == closed
}

func (t *Throttler) drainedError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.drainedErr
}

// interrupted returns the error of a wait whose ctx has ended.
func (t *Throttler) interrupted(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.interruptedLocked(ctx)
}

// named returns err with the Throttler's name in its text.
func (t *Throttler) named(err error) error { return &namedError{t.config.name, err} }

// report passes err to the error handler. The caller must not hold mu.
func (t *Throttler) report(err error, attrs ...slog.Attr) {
	if t.config.handler != nil {
		t.config.handler(err)
		return
	}
	attrs = append([]slog.Attr{slog.String("name", t.config.name), slog.Any("error", err)}, attrs...)
	slog.Default().LogAttrs(t.config.parent, slog.LevelError, "throttle: fleet", attrs...)
}
