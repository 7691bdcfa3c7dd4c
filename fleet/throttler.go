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

// This file holds the public methods of a Throttler, each a line or two over a transition
// of transition.go.

// A Throttler is one replica's part of a throttle that a fleet shares: of all that share
// its key on its engine, at most one at a time runs its callback, and at most one
// start lies in an interval. Make one with [New]. Its methods may be called concurrently.
//
// It must be closed to be released: until then the engine's [Base] holds it, and, for all
// throttlers of the process on that engine together, has two goroutines.
type Throttler struct {
	engine  Engine
	key     string
	fn      func(context.Context) error
	extras  *settings
	runner  *throttle.Throttler // runs the callback
	origin  time.Time           // of instants
	session string              // what identifiers of claims begin with

	mu sync.Mutex // guards the fields below

	// The policy in force.
	// +checklocks:mu
	policy throttle.Policy
	// What decides.
	// +checklocks:mu
	replica replica.Replica
	// The message that is out, but for renewals.
	// +checklocks:mu
	message message
	// The outcome of the last message, and how many of a row have failed.
	// +checklocks:mu
	trouble trouble
	// The Do calls whose run has not begun, in order.
	// +checklocks:mu
	waits []*wait
	// The run that is active, from the callback's entry on; nil if there is none.
	// +checklocks:mu
	run *run
	// Fires when something is to be done by time; nil at first.
	// +checklocks:mu
	timer *time.Timer
	// +checklocks:mu
	phase phase
	// Stops watching the parent context.
	// +checklocks:mu
	unwatch func() bool
	// When it was closed; of meaning then.
	// +checklocks:mu
	closedAt time.Duration
	// Closed when there is nothing more to wait for; nil if Shutdown does not wait.
	// +checklocks:mu
	quiet chan struct{}
	// The error of the last run that ended after Shutdown had begun.
	// +checklocks:mu
	drained error
	// How many goroutines send a message.
	// +checklocks:mu
	active int
	// How many claims have been made.
	// +checklocks:mu
	claims uint64
	// Policies of others that were told to the handler, the last only.
	// +checklocks:mu
	mismatch string
	// Runs whose callback was not entered, which are none.
	// +checklocks:mu
	late uint64
}

// A phase is how far the end of a Throttler is.
type phase uint8

const (
	open phase = iota
	draining
	closed
)

// New returns a Throttler that runs fn as p allows, of all replicas that have one with the
// same key on the same engine. It does not wait for the store, and begins at once to look
// for runs that are due: fn may be run for the calls of others.
//
// Of p, Interval and Retry work across a fleet, but not Retry.Eager. The error joins a
// [*throttle.PolicyError] for everything that is wrong with the arguments. A key is 1 to
// 512 bytes of UTF-8 without NUL.
//
// The work must be on what all replicas share. It is done once, by one of them: a fleet's
// throttle around the reload of each replica's own state leaves the others' as it was.
func New(engine Engine, key string, p throttle.Policy, fn func(ctx context.Context) error, opts ...Option) (*Throttler, error) {
	s, problems := newSettings(key, opts)
	problems = append(problems, s.refuse(engine, key, p, fn)...)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	t := &Throttler{
		engine:  engine,
		key:     key,
		fn:      fn,
		extras:  s,
		origin:  time.Now(),
		session: newSession(),
		policy:  p,
		replica: replica.Replica{Rules: s.rules(p)},
	}
	runner, err := throttle.New(throttle.Policy{}, t.execute, append(s.traced,
		throttle.WithName(s.name),
		throttle.WithContext(s.parent),
		throttle.WithErrorHandler(func(error) {}), // conclude sees to it
		throttle.WithObserver(t.conclude),
	)...)
	if err != nil {
		return nil, err
	}
	t.runner = runner
	t.engine.base().join(engine, t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unwatch = context.AfterFunc(s.parent, func() { t.close(context.Cause(s.parent)) })
	return t, nil
}

// Name returns what WithName gave, the key without it.
func (t *Throttler) Name() string { return t.extras.name }

// Call asks for a run, of whichever replica, that starts after Call began. It never
// blocks, and does nothing once the Throttler is closed or Shutdown has begun.
//
// Until the store has been told of the call it is this process alone that knows of it.
func (t *Throttler) Call() {
	now := t.lock()
	defer t.settle(now)
	if t.phase == open {
		t.replica.Call(now)
	}
}

// Do is a Call that waits for a run that covers it, wherever that is, and returns what
// became of it. For this replica's run that is the callback's error, a
// [*throttle.PanicError] or [throttle.ErrGoexit]; for another's it is nil, a
// [*RemoteError], or [ErrOutcomeUnknown]. A failed run's retry is not waited for.
//
// Without a run it returns [throttle.ErrCanceled] or [throttle.ErrClosed] if Cancel, Close
// or Shutdown ended the wait or the Throttler is closed, [throttle.ErrReentrant] inside the
// callback if ctx is the run's own, and if ctx ends first ctx.Err(), joined with an
// [*EngineError] if the store cannot be used; the call stands then. If ctx had ended before
// Do, no call was made.
func (t *Throttler) Do(ctx context.Context) error {
	w, err := t.ask(ctx)
	if err != nil {
		return err
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return t.leave(ctx, w)
	}
}

// ask makes Do's call and returns what it waits for.
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

// Cancel drops this replica's calls, and reports whether any was pending: Do returns
// [throttle.ErrCanceled], and if its run is active, that is not retried. What the store
// was told of them stays there, since others may have joined it, and is run.
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

// SetPolicy replaces this replica's policy, from the next grant to it on. It returns what
// New does for p, or [throttle.ErrClosed] once Close was called or Shutdown has begun, and
// then has changed nothing. The spacing after a grant is that of the replica it was
// given to, so the other replicas' policies want to be set as well.
func (t *Throttler) SetPolicy(p throttle.Policy) error {
	if err := errors.Join(t.extras.refusePolicy(p)...); err != nil {
		return err
	}
	now := t.lock()
	defer t.settle(now)
	if t.phase != open {
		return t.named(throttle.ErrClosed)
	}
	t.policy = p
	t.replica.Rules = t.extras.rules(p)
	return nil
}

// Stats returns a snapshot of this replica: of its own calls and runs. Calls counts them
// all; Pending is set while one is not known to be covered; Next is when it will ask the
// store next.
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

// Close closes the Throttler at once: it drops this replica's calls, as Cancel does, and
// cancels the active run's context, but does not wait for that run. If the callback then
// returns an error, the calls that it covers are left to other replicas. Close may be called
// several times, and always returns nil.
//
// A message to the store that is out ends on its own, within seconds.
func (t *Throttler) Close() error {
	t.close(nil)
	return nil
}

// Shutdown closes the Throttler gracefully. From its begin calls are refused. Those that
// the store does not know of yet are handed to it, for whichever replica has the next
// run; the active run goes on, and the store is told of its end. Shutdown does not wait
// until a run is due: Do calls that wait for one return [throttle.ErrClosed]. It returns nil
// once all this is done, or the error of the active run.
//
// If ctx ends first, or had ended before, Shutdown closes the Throttler as Close does and
// returns ctx.Err(), joined with an [*EngineError] if the store cannot be used. On a closed
// Throttler it waits for what is still active and returns nil. Inside the callback,
// with the run's own context, it returns [throttle.ErrReentrant] and has no effect.
func (t *Throttler) Shutdown(ctx context.Context) error {
	ended := ctx.Err()
	quiet, err := t.drain(ctx)
	if err != nil {
		return err
	}
	if ended == nil {
		select {
		case <-quiet:
			err = t.drainedError()
		case <-ctx.Done():
			ended = ctx.Err()
		}
	}
	if ended != nil {
		err = t.interrupted(ctx)
	}
	t.close(nil)
	// No run is active any more, or ctx has ended: these two wait for goroutines to end.
	if late := t.runner.Shutdown(ctx); err == nil {
		err = late
	}
	select {
	case <-t.engine.base().gone():
	case <-ctx.Done():
		if err == nil {
			err = ctx.Err()
		}
	}
	return err
}

// drain refuses calls from now on, and returns what is closed once the store knows all that
// this replica does and nothing of it is active.
func (t *Throttler) drain(ctx context.Context) (<-chan struct{}, error) {
	now := t.lock()
	defer t.settle(now)
	if t.isOwnLocked(ctx) {
		return nil, t.named(throttle.ErrReentrant)
	}
	t.phase = max(t.phase, draining)
	if t.quiet == nil {
		t.quiet = make(chan struct{})
	}
	return t.quiet, nil
}

func (t *Throttler) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase == closed
}

func (t *Throttler) drainedError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.drained
}

// interrupted returns the error of a wait whose ctx has ended.
func (t *Throttler) interrupted(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.interruptedLocked(ctx)
}

// named returns err with the Throttler's name.
func (t *Throttler) named(err error) error { return &namedError{t.extras.name, err} }

// tell hands err to the error handler. No lock is held here.
func (t *Throttler) tell(err error, attrs ...slog.Attr) {
	if t.extras.handler != nil {
		t.extras.handler(err)
		return
	}
	attrs = append([]slog.Attr{slog.String("name", t.extras.name), slog.Any("error", err)}, attrs...)
	slog.Default().LogAttrs(t.extras.parent, slog.LevelError, "throttle: fleet", attrs...)
}
