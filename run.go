package throttle

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
)

// A run is one execution of the callback. Its fields are written before its
// goroutine starts or by that goroutine, but for those that mu guards.
type run struct {
	of      *Throttler
	cause   Cause
	attempt int
	asked   instant // beginning if the run covers no call
	due     instant
	started instant
	ended   instant
	calls   uint64 // covered, if they are counted
	err     error
	report  error // what those who wait for it, or the handler, get: err, or a *LostError for it
	unheard bool  // nobody waits to take report
	stopped bool  // the Throttler was closed when the callback returned
	verdict verdict

	// Guarded by the Throttler's mu.
	awaited  *outcome                // nil if nobody waits
	cancel   context.CancelCauseFunc // of the run's context; nil before it is made, and if the run needs none
	entered  bool                    // the callback has been entered, and started is set
	canceled bool                    // Cancel met the run
	decided  bool                    // the callback has returned, and report is set
}

// A part is the callback of a Throttler that is part of something else.
type part interface {
	callback(ctx context.Context) error
}

// A carrier is a part whose runs carry a value, which calls hand over: a
// Coalescer. Its methods are called with the Throttler's lock held.
type carrier interface {
	part

	// load gives the run that starts all that was handed over.
	load()

	// unload records that the callback of r has returned: what r carried is
	// delivered, kept for its retry, or lost, and then r.report says so.
	unload(r *run)

	// strand returns a *LostError for what was handed over and has no run, and
	// another for what a run carries that will not be entered, each nil if there
	// is no such value. why is why it is lost.
	strand(why error) (waiting, carried error)
}

// A keyed is a part that is one of many.
type keyed interface {
	part

	keyOf() any
}

// A Callback is what a [Throttler] runs. The context of the third form belongs
// to the one run: it is a child of the parent given by [WithContext], and ends
// with the run or when the Throttler is closed, with [ErrClosed] as its cause.
type Callback interface {
	func() | func() error | func(context.Context) error
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

// startLocked starts a run that covers what is pending.
//
// +checklocks:t.mu
func (t *Throttler) startLocked(due instant, cause Cause) {
	r := &run{
		of:      t,
		cause:   cause,
		attempt: t.history.failures + 1,
		asked:   beginning,
		due:     due,
		calls:   t.takeCallsLocked(),
		awaited: t.awaited,
	}
	if t.history.pending {
		r.asked = t.history.firstCall
	}
	if c, ok := t.fn.(carrier); ok {
		c.load()
	}
	t.history.drop()
	t.run, t.awaited = r, nil
	go t.execute(r) // ends by itself, soon after the callback
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

// enterLocked records that the callback of the active run r is entered now. If
// the Throttler was closed meanwhile, it undoes the start and reports false.
// cancel ends the run's context.
//
// +checklocks:t.mu
func (t *Throttler) enterLocked(r *run, cancel context.CancelCauseFunc) bool {
	if t.history.phase == closed {
		t.run = nil
		if o := r.awaited; o != nil {
			if !o.decided {
				o.decide(t.closedLocked())
			}
			close(o.done)
		}
		return false
	}
	t.tally.runs++
	r.entered = true
	r.cancel = cancel
	r.started = t.now()
	t.tally.lastStart = max(t.tally.lastStart, r.started)
	t.history.enter(t.policy, r.started)
	return true
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

// decideLocked records the outcome of the active run's callback.
//
// +checklocks:t.mu
func (t *Throttler) decideLocked(r *run) {
	r.ended = t.now()
	r.cancel = nil
	r.report = r.err
	r.stopped = t.history.phase == closed
	defer t.decidedLocked(r) // deferred, as a Coalescer's merge may end the goroutine
	if c, ok := t.fn.(carrier); ok {
		r.verdict.kept = t.history.retries(t.policy, r.verdict, r.canceled)
		r.verdict.carried = true
		c.unload(r)
	}
}

// decidedLocked tells those who wait for r its outcome.
//
// +checklocks:t.mu
func (t *Throttler) decidedLocked(r *run) {
	r.decided = true
	r.unheard = r.report != nil && (r.awaited == nil || r.awaited.waiters == 0)
	if r.awaited != nil {
		r.awaited.decide(r.report)
	}
}

// end records that r is over.
func (t *Throttler) end(r *run) {
	defer t.extras.turns.pass()
	now := t.lock()
	defer t.settle(now)
	t.endLocked(r)
}

// endLocked records that the active run, with all hooks, is over.
//
// +checklocks:t.mu
func (t *Throttler) endLocked(r *run) {
	t.run = nil
	if r.ended >= t.tally.lastEnd { // another key's run may have ended later, but with quicker hooks
		t.tally.lastEnd, t.tally.lastTook, t.tally.lastError = r.ended, r.ended.since(r.started), r.err
	}
	t.history.finish(t.policy, r.ended, r.verdict, r.canceled, rand.Float64())
	if t.history.phase == draining && t.history.retry {
		t.history.flushNow(r.ended) // what Shutdown waits for waits for no backoff
	}
	if r.verdict.failed {
		t.tally.failures++
	}
	if r.verdict.panicked {
		t.tally.panics++
	}
	if r.awaited != nil {
		close(r.awaited.done)
	}
	// The callback may have kept its context, which refers to r: that must not
	// keep a value that was lost.
	r.report, r.awaited = nil, nil
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

// active reports whether r is active.
func (r *run) active() bool {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	return r.of.isActiveLocked(r)
}

// An outcome is what those wait for who wait for the same run. Its fields are
// guarded by the Throttler's mu, but err may be read once decided was seen to be set,
// or done is closed: it changes no more.
type outcome struct {
	done    chan struct{} // closed once the run has ended or was dropped
	waiters int           // who will take err
	decided bool          // err is set
	dropped bool          // by Cancel or Close: no run comes
	err     error
	callers *[]context.Context // of the Do calls, for tracers; nil if there are none. A slice would need more memory
}

// maxCallers is how many callers are kept. They are links in a trace, of which
// tracing systems keep few, too.
const maxCallers = 16

func newOutcome() *outcome { return &outcome{done: make(chan struct{})} }

// outcome returns what those wait for who wait for r. The Throttler's mu must be
// held.
func (r *run) outcome() *outcome {
	if r.awaited == nil {
		r.awaited = newOutcome()
		if r.decided {
			r.awaited.decide(r.report)
		}
	}
	return r.awaited
}

// decide sets what those who wait will take. The Throttler's mu must be held.
func (o *outcome) decide(err error) { o.decided, o.err = true, err }
