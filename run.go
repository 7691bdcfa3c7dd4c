package throttle

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
)

// A Callback is what a [Throttler] runs. The context of the third form belongs to
// one run. It is a child of the parent given by [WithContext]. It ends with the run,
// or with [ErrClosed] as its cause when the Throttler is closed.
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

// A runner stands in for the callback of a Throttler that is a Group's key or
// belongs to a Coalescer.
type runner interface {
	callback(ctx context.Context) error
	keyOf() any // the Group's key; nil for a Coalescer
}

// A valueHolder is a runner whose calls hand over values. Its methods need the
// Throttler's lock.
type valueHolder interface {
	runner

	// takeValueLocked moves the waiting value into the run that starts.
	takeValueLocked()

	// settleValueLocked records that the callback of r has returned: r's value is
	// delivered, kept for a retry, or lost. If it is lost, settleValueLocked clears
	// r.verdict.kept and sets r.outcomeErr to a *LostError.
	settleValueLocked(r *run)

	// dropValuesLocked drops the waiting value, and the value of a run that has started
	// but will not enter the callback. It returns a *LostError because of why for
	// each; nil where there is no value.
	dropValuesLocked(why error) (waiting, taken error)
}

// A run is one execution of the callback. Its fields are written before its
// goroutine starts or by that goroutine, except for those that mu guards.
type run struct {
	of         *Throttler
	cause      Cause
	attempt    int
	asked      instant // beginning if the run covers no call
	due        instant
	started    instant
	ended      instant
	calls      uint64 // covered, if they are counted
	err        error
	outcomeErr error // what waiters or else the handler get: err, or a *LostError that wraps it
	unclaimed  bool  // no waiter takes outcomeErr, so the handler gets it
	afterClose bool  // the Throttler was closed when the callback returned
	verdict    verdict

	// The Throttler's mu guards the fields below.

	awaited  *outcome                // nil if nobody waits
	cancel   context.CancelCauseFunc // of the run's context; nil before the context is made, and if the run needs none
	entered  bool                    // the callback has been entered, and started is set
	canceled bool                    // Cancel was called during the run
	decided  bool                    // the callback has returned, and outcomeErr is set
}

// startLocked starts a run that covers what is pending.
//
// +checklocks:t.mu
func (t *Throttler) startLocked(due instant, cause Cause) {
	r := &run{
		of:      t,
		cause:   cause,
		attempt: int(t.history.failures) + 1,
		asked:   beginning,
		due:     due,
		calls:   t.takeCallsLocked(),
		awaited: t.awaited,
	}
	if t.history.pending {
		r.asked = t.history.firstCall
	}
	if h, ok := t.fn.(valueHolder); ok {
		h.takeValueLocked()
	}
	t.history.drop()
	t.run, t.awaited = r, nil
	go t.execute(r) // ends by itself, soon after the callback
}

// execute is the goroutine of a run.
func (t *Throttler) execute(r *run) {
	parent := t.config.parent
	if parent.Err() != nil {
		// The function that closes the Throttler when the parent ends may not have
		// run yet. close may call the error handler, and that may end the goroutine.
		defer t.enter(r, nil)
		t.close(context.Cause(parent))
		return
	}
	// A goroutine inherits the labels of the one that started it: some caller's or,
	// from a timer, anybody's.
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
	r.verdict, r.err = verdict{failed: true}, detailed(ErrGoexit, t.config.name, nil)
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
	case func(context.Context) error, runner:
		return true
	default:
		return tracing || len(t.config.tracers) > 0
	}
}

// enter reports whether r may enter its callback. If the Throttler is closed, r may
// not, and is over.
func (t *Throttler) enter(r *run, cancel context.CancelCauseFunc) bool {
	now := t.lock()
	entered := t.enterLocked(r, cancel)
	t.settle(now)
	if !entered {
		t.config.turns.pass()
	}
	return entered
}

// enterLocked records that the active run r now enters its callback; cancel ends
// the run's context. If the Throttler was closed meanwhile, enterLocked undoes the
// start and reports false.
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
	t.totals.runs++
	r.entered = true
	r.cancel = cancel
	r.started = t.now()
	t.totals.lastStart = max(t.totals.lastStart, r.started)
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
		// Goexit comes here too, but then nobody sees the results. A nil from recover
		// does not tell the two apart: panic(nil) may give it as well.
		v = verdict{failed: true, panicked: true}
		err = &PanicError{Value: recover(), Stack: debug.Stack(), name: t.config.name}
	}()
	switch fn := t.fn.(type) {
	case func():
		fn()
	case func() error:
		err = fn()
	case func(context.Context) error:
		err = fn(ctx)
	case runner:
		err = fn.callback(ctx)
	}
	// The error's own Unwrap or As may panic. That counts as the callback's panic.
	var retry *RetryError
	if errors.As(err, &retry) {
		v.again, v.retryIn = true, retry.In
	} else {
		v.failed = err != nil
	}
	v.canceled = errors.Is(err, context.Canceled)
	returned = true
	return v, err
}

// conclude ends r once its callback has returned or ended the goroutine. It defers
// every step, so that each happens even if a hook panics or ends the goroutine.
func (t *Throttler) conclude(r *run, cancel context.CancelCauseFunc, ends []func(Run)) {
	defer t.end(r)
	defer t.notify(r, ends)
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
	r.outcomeErr = r.err
	r.afterClose = t.history.phase == closed
	defer t.publishLocked(r) // deferred, because a Coalescer's merge may end the goroutine
	if h, ok := t.fn.(valueHolder); ok {
		r.verdict.kept = t.history.retries(t.policy, r.verdict, r.canceled)
		r.verdict.hasValue = true
		h.settleValueLocked(r)
	}
}

// publishLocked gives the outcome of r to its waiters.
//
// +checklocks:t.mu
func (t *Throttler) publishLocked(r *run) {
	r.decided = true
	r.unclaimed = r.outcomeErr != nil && (r.awaited == nil || r.awaited.waiters == 0)
	if r.awaited != nil {
		r.awaited.decide(r.answerLocked())
	}
}

// answerLocked returns the error for those who wait for the decided run r. A lost value
// that the handler is being told of is told nobody else.
//
// +checklocks:r.of.mu
func (r *run) answerLocked() error {
	if r.unclaimed && isLost(r.outcomeErr) {
		return nil
	}
	return r.outcomeErr
}

// end records that r is over.
func (t *Throttler) end(r *run) {
	defer t.config.turns.pass()
	now := t.lock()
	defer t.settle(now)
	t.endLocked(r)
}

// endLocked records that the active run is over, with all its hooks.
//
// +checklocks:t.mu
func (t *Throttler) endLocked(r *run) {
	t.run = nil
	if r.ended >= t.totals.lastEnd { // another key's run may have ended later, but with quicker hooks
		t.totals.lastEnd, t.totals.lastTook, t.totals.lastError = r.ended, r.ended.since(r.started), r.err
	}
	t.history.finish(t.policy, r.ended, r.verdict, r.canceled, rand.Float64())
	if t.history.phase == draining && t.history.retry {
		t.history.flushNow(r.ended) // Shutdown waits for this retry, but for no backoff
	}
	if r.verdict.failed {
		t.totals.failures++
	}
	if r.verdict.panicked {
		t.totals.panics++
	}
	if r.awaited != nil {
		close(r.awaited.done)
	}
	// The callback may have kept its context, which refers to r. That must not keep
	// a lost value alive.
	r.outcomeErr, r.awaited = nil, nil
}

// A runKey is the key under which a run's context holds its *run. of is the
// Throttler, or the Group that it belongs to.
type runKey struct{ of any }

func (t *Throttler) runKey() runKey {
	if t.config.owner != nil {
		return runKey{t.config.owner}
	}
	return runKey{t}
}

// ownRun returns the run of t that ctx belongs to, active or not; nil if none. In a
// Group it may be another key's run.
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

// An outcome is shared by all waiters for one run. The Throttler's mu guards its
// fields. You may read err without mu once done is closed, or after you saw decided
// set: err does not change any more.
type outcome struct {
	done    chan struct{} // closed when the run is over or was dropped
	waiters int           // how many will take err
	decided bool          // err is set
	err     error
	callers *[]context.Context // of the Do calls, for tracers; nil if there are none. A pointer needs less memory than a slice
}

// maxCallers is how many callers an outcome keeps. They become links in a trace,
// and tracing systems keep few.
const maxCallers = 16

func newOutcome() *outcome { return &outcome{done: make(chan struct{})} }

// outcomeLocked returns the outcome that the waiters for r share. It needs the
// Throttler's mu.
func (r *run) outcomeLocked() *outcome {
	if r.awaited == nil {
		r.awaited = newOutcome()
		if r.decided {
			r.awaited.decide(r.answerLocked())
		}
	}
	return r.awaited
}

// decide sets the error that the waiters will take. It needs the Throttler's mu.
func (o *outcome) decide(err error) { o.decided, o.err = true, err }
