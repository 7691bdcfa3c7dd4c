package fleet

import (
	"context"
	"errors"
	"fmt"
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
	group   *Group // nil for one that New made
	key     string
	fn      func(context.Context) error
	config  *config
	part    int       // of the store, where the key is
	origin  time.Time // instants count from here
	session string    // prefix of the claims' identifiers

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
	// What the throttler waits for in the queue to send.
	// +checklocks:mu
	turn turnKind
	// Whether the throttler has one of the Group's slots.
	// +checklocks:mu
	slot slotState
	// Whether the throttler was made for a key that is due, and nobody has answered its claim yet.
	// +checklocks:mu
	adopted bool
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
	// How many runs have started that are not over, hooks included, and how many messages
	// are on their way.
	// +checklocks:mu
	active int
	// How many claims have been made.
	// +checklocks:mu
	claims uint64
	// The last policy of another replica that was reported to the error handler.
	// +checklocks:mu
	mismatch string
	// What Stats shows of past runs.
	// +checklocks:mu
	past throttle.Stats
	// +checklocks:mu
	counts Counts
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
// Of the fields of p, Interval, Quiet, MaxWait and Retry work across a fleet, without
// Retry.Eager; see [WithSlack] for Quiet. The error joins one [*throttle.PolicyError] for
// everything that is wrong with the arguments. A key is 1 to 512 bytes of UTF-8 without NUL.
//
// The work of fn must be on state that all replicas share, because one replica does it for
// all. If fn reloads the replica's own state, the other replicas stay stale.
func New(engine Engine, key string, p throttle.Policy, fn func(ctx context.Context) error, opts ...Option) (*Throttler, error) {
	c, problems := newConfig(opts, key)
	problems = append(problems, c.check(engine, fn == nil, p)...)
	problems = append(problems, c.checkSingle()...)
	problems = append(problems, checkKey(key))
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	t := newThrottler(engine, key, c, p, c.rules(p), fn)
	if !t.engine.base().join(engine, t) {
		return nil, &throttle.PolicyError{Field: "engine", Value: fmt.Sprintf("%T", engine), Reason: "has a Group, which owns its keys"}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unwatch = context.AfterFunc(c.parent, func() { t.close(context.Cause(c.parent)) })
	return t, nil
}

// newThrottler returns a Throttler that has not joined the engine's Base.
func newThrottler(
	engine Engine, key string, c *config, p throttle.Policy, rules replica.Rules, fn func(context.Context) error,
) *Throttler {
	return &Throttler{
		engine:  engine,
		key:     key,
		part:    engine.Part(key),
		fn:      fn,
		config:  c,
		origin:  time.Now(),
		session: newSession(),
		policy:  p,
		replica: replica.Replica{Rules: rules},
	}
}

// Name returns the name that WithName set, or the key.
func (t *Throttler) Name() string { return t.config.name }

// Call asks for a run, in any replica, that starts after Call began. It never blocks. It does
// nothing once the Throttler is closed or Shutdown has begun.
//
// Until the store has received the call, only this process knows of it.
func (t *Throttler) Call() { t.call() }

// call makes a call, and reports whether the Throttler has accepted it.
func (t *Throttler) call() (accepted bool) {
	now := t.lock()
	defer t.settle(now)
	if t.phase == open {
		t.replica.Call(now)
	}
	return t.phase == open
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
	return t.await(ctx, w)
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
	if !t.setPolicy(p, t.config.rules(p)) {
		return t.named(throttle.ErrClosed)
	}
	return nil
}

// setPolicy reports whether it has replaced the policy.
func (t *Throttler) setPolicy(p throttle.Policy, rules replica.Rules) bool {
	now := t.lock()
	defer t.settle(now)
	if t.phase != open {
		return false
	}
	t.policy = p
	t.replica.Rules = rules
	return true
}

// Stats returns a snapshot of this replica's own calls and runs. Calls counts every call.
// Pending is set while a call is not known to be covered. Next is when the replica will ask
// the store next.
func (t *Throttler) Stats() throttle.Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.past
	s.Calls = t.replica.Calls()
	s.Pending = t.replica.Pending()
	s.Running = t.run != nil
	s.Closed = t.phase != open
	if at, polling := t.replica.Due(); polling {
		s.Next = time.Now().Add(at - t.now())
	}
	return s
}

// Counts are how often something has happened to a replica since it was made.
type Counts struct {
	// Claims, by what the store answered.
	Served   uint64 // no call was pending any more
	Granted  uint64 // the replica might run
	Deferred uint64 // no run was due, or another replica had the grant

	Failed     uint64 // attempts to send a claim or a finish that failed
	Late       uint64 // grants that came too late to be used
	LocalRuns  uint64 // runs without a grant, see RunLocal
	LostLeases uint64 // runs that have lost their lease
}

// add adds what has happened to another replica.
func (c *Counts) add(other Counts) {
	c.Served += other.Served
	c.Granted += other.Granted
	c.Deferred += other.Deferred
	c.Failed += other.Failed
	c.Late += other.Late
	c.LocalRuns += other.LocalRuns
	c.LostLeases += other.LostLeases
}

// Counts returns how often something has happened to this replica.
func (t *Throttler) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// named returns err with the Throttler's name in its text.
func (t *Throttler) named(err error) error { return t.config.named(err) }

// report passes err to the error handler. The caller must not hold mu.
func (t *Throttler) report(err error, attrs ...slog.Attr) {
	if t.group != nil {
		err = &throttle.KeyError{Key: t.key, Err: err}
	}
	if t.config.handler != nil {
		t.config.handler(err)
		return
	}
	attrs = append([]slog.Attr{slog.String("name", t.config.name), slog.Any("error", err)}, attrs...)
	slog.Default().LogAttrs(t.config.parent, slog.LevelError, "throttle: fleet", attrs...)
}
