package throttle

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
	"time"

	"github.com/throttle-go/throttle/internal/asked"
)

// A Callback is what a [Throttler] runs. The context of the third form belongs to
// one run. It is a child of the parent given by [WithContext]. It ends with the run,
// or with [ErrClosed] as its cause when the Throttler is closed.
type Callback interface {
	~func() | ~func() error | ~func(context.Context) error
}

// plainFunc returns fn as the function type that underlies it; nil if fn is nil.
func plainFunc[F Callback](fn F) any {
	value := reflect.ValueOf(fn)
	if value.IsNil() {
		return nil
	}
	for _, form := range []reflect.Type{
		reflect.TypeFor[func()](), reflect.TypeFor[func() error](), reflect.TypeFor[func(context.Context) error](),
	} {
		if value.CanConvert(form) {
			return value.Convert(form).Interface()
		}
	}
	return fn // never: these are all forms of a Callback
}

// A runner stands in for the callback of a Throttler that is a Group's key or
// belongs to a Coalescer.
type runner interface {
	callback(ctx context.Context) error
	keyOf() any // the Group's key; nil for a Coalescer
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
	previous   time.Duration // how long the run before took; 0 if there was none
	calls      uint64        // covered, if they are counted
	err        error
	unfinished *unfinishedError // what err says about the rest of the batch; nil if nothing
	outcomeErr error            // what waiters or else the handler get: err, or a *LostError that wraps it
	added      bool             // addError was called, so the handler gets outcomeErr even if it is a RetryIn
	unclaimed  bool             // no waiter takes outcomeErr, so the handler gets it
	afterClose bool             // the Throttler was closed when the callback returned
	returned   bool             // the callback has returned or panicked; otherwise foreign code ended the goroutine
	over       bool             // decide has ended the run
	verdict    verdict
	random     float64                 // drawn from [0, 1) for the jitter of the backoff
	retry      instant                 // when the run will be repeated, for hooks; beginning if it will not
	ends       []func(Run)             // of the tracers that have started
	release    context.CancelCauseFunc // ends the run's context; nil if it has none

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
		of:       t,
		cause:    cause,
		asked:    beginning,
		previous: t.history.ended.since(t.history.started),
		due:      due,
	}
	if h := t.holder(); h != nil {
		h.takeLocked(r)
	} else {
		t.takePendingLocked(r)
	}
	t.run = r
	go r.execute() // ends by itself, soon after the callback
}

// takePendingLocked makes r cover what is pending. A valueHolder has its own way.
//
// +checklocks:t.mu
func (t *Throttler) takePendingLocked(r *run) {
	r.attempt = int(t.history.failures) + 1
	if t.history.pending {
		r.asked = t.history.firstCall
	}
	r.calls, r.awaited = t.takeCallsLocked(), t.awaited
	t.awaited = nil
	t.history.drop()
}

// execute is the goroutine of a run. The parent's methods and the tracers are foreign
// code: each may end the goroutine, and conclude then ends the run.
func (r *run) execute() {
	t := r.of
	defer t.conclude(r)

	parent := t.config.parent
	if parent.Err() != nil {
		// The function that closes the Throttler when the parent ends may not have
		// run yet.
		t.close(context.Cause(parent))
		return
	}
	// A goroutine inherits the labels of the one that started it: some caller's or,
	// from a timer, anybody's.
	pprof.SetGoroutineLabels(parent)

	var ctx context.Context
	tracing := trace.IsEnabled()
	if t.needsContext(tracing) {
		ctx, r.release = context.WithCancelCause(context.WithValue(parent, t.runKey(), r))
	}
	if !t.enter(r) {
		return
	}
	ctx = t.startTraces(ctx, r)
	if tracing {
		var end func()
		ctx, end = t.startTask(ctx, r)
		defer end()
	}
	t.invoke(ctx, r)
	r.returned = true
}

// needsContext returns whether a run needs a context of its own: for the callback,
// for tracers, or for the execution tracer if that is on.
func (t *Throttler) needsContext(tracing bool) bool {
	switch t.fn.(type) {
	case func(context.Context) error, runner:
		return true
	default:
		return tracing || len(t.config.tracers) > 0 // (mutants: a needless context only takes time)
	}
}

// enter reports whether r may enter its callback. If the Throttler is closed, r may
// not.
func (t *Throttler) enter(r *run) bool {
	now := t.lock()
	defer t.settle(now)
	if t.history.phase == closed {
		return false
	}
	t.runs++
	r.entered = true
	r.cancel = r.release
	r.started = now
	if t.config.owner != nil {
		t.config.owner.enteredLocked(r)
	}
	t.history.enter(t.policy, r.started, rand.Float32())
	return true
}

// invoke runs the callback of r.
func (t *Throttler) invoke(ctx context.Context, r *run) {
	returned := false
	defer func() {
		if returned {
			return
		}
		// Goexit comes here too, but then nobody sees the results. A nil from recover
		// does not tell the two apart: panic(nil) may give it as well.
		r.verdict, r.unfinished = verdict{failed: true, panicked: true}, nil
		r.err = &PanicError{Value: recover(), Stack: debug.Stack(), name: t.config.name}
	}()
	var v verdict
	var err error
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
	if err != nil {
		v = failure(err)
		if t.config.hasValues {
			r.unfinished = asked.For[*unfinishedError](err)
		}
	}
	returned = true
	r.verdict, r.err = v, err
}

// failure returns the verdict on a run whose callback returned err.
func failure(err error) verdict {
	v := verdict{failed: true, canceled: errors.Is(err, context.Canceled)}
	if again := asked.For[*RetryError](err); again != nil {
		v.failed, v.again, v.retryIn = false, true, again.In
	}
	return v
}

// conclude ends r once its callback has returned, or the goroutine is about to end. It
// defers every step, so that each happens even if foreign code in another ends the
// goroutine.
func (t *Throttler) conclude(r *run) {
	defer t.finish(r)
	if r.release != nil {
		r.release(nil)
	}
}

// finish records the outcome of r, tells the hooks, and ends r.
func (t *Throttler) finish(r *run) {
	if !r.entered && !t.enter(r) {
		t.abandon(r)
		return
	}
	if !r.returned {
		r.verdict, r.err = verdict{failed: true}, detailed(ErrGoexit, t.config.name, nil)
	}
	defer t.finishHooks(r) // deferred, because a Coalescer's merge may end the goroutine
	t.decide(r)
}

// finishHooks tells the hooks of r's outcome, and ends r, unless decide has done so.
func (t *Throttler) finishHooks(r *run) {
	if r.over {
		t.config.turns.pass()
		return
	}
	defer t.end(r)
	t.notify(r)
}

// abandon undoes the start of r: the Throttler was closed before r entered its
// callback.
func (t *Throttler) abandon(r *run) {
	defer t.config.turns.pass()
	now := t.lock()
	defer t.settle(now)
	t.run = nil
	if o := r.awaited; o != nil {
		if !o.decided {
			o.decide(t.closedLocked())
		}
		close(o.done)
	}
}

// decide records the outcome of r's callback. If no hook hears of it, decide also ends r,
// in the same round of the lock.
func (t *Throttler) decide(r *run) {
	listening := len(r.ends) > 0 || len(t.config.observers) > 0 // (mutants: a needless round only takes time)
	now := t.lock()
	defer t.settle(now)
	t.decideLocked(r, now, listening)
	// A Coalescer's merge may have taken a while: end reads the clock anew.
	if !listening && !r.unclaimed && !t.config.hasValues {
		r.over = true
		t.endLocked(r)
	}
}

// decideLocked records the outcome of the active run's callback, which returned now.
// listening says whether a hook will be told.
//
// +checklocks:t.mu
func (t *Throttler) decideLocked(r *run, now instant, listening bool) {
	r.ended = now
	r.cancel = nil
	if r.verdict.failed {
		r.random = rand.Float64()
	}
	r.outcomeErr = r.err
	if r.verdict.again || r.unfinished != nil {
		r.outcomeErr = asked.Served(r.err)
	}
	r.afterClose = t.history.phase == closed
	defer t.publishLocked(r) // deferred, because a Coalescer's merge may end the goroutine
	if h := t.holder(); h != nil {
		h.settleRunLocked(r)
	}
	if listening {
		r.retry = t.repeatLocked(r)
	}
}

// addError joins err, which is not the callback's, to what waiters or the handler get. It
// needs the Throttler's mu.
func (r *run) addError(err error) {
	r.outcomeErr = errors.Join(r.outcomeErr, err)
	r.added = true
}

// repeatLocked returns when r will be repeated as things stand at its end; beginning if
// it will not be.
//
// +checklocks:t.mu
func (t *Throttler) repeatLocked(r *run) instant {
	h := t.history
	h.finish(t.policy, r.ended, r.verdict, r.canceled, r.random)
	if !h.retry {
		return beginning
	}
	at, _ := h.due(t.policy)
	return max(at, r.ended) // the next run may have been due during this one
}

// publishLocked gives the outcome of r to its waiters.
//
// +checklocks:t.mu
func (t *Throttler) publishLocked(r *run) {
	r.decided = true
	tell := r.outcomeErr != nil && (!r.verdict.again || r.added || isLost(r.outcomeErr))
	r.unclaimed = tell && (r.awaited == nil || r.awaited.waiters == 0)
	if r.awaited != nil {
		r.awaited.decide(r.answerLocked())
	}
}

// answerLocked returns the error for the waiters of r, which is decided. If the handler
// gets a lost value, the waiters do not get it as well. It needs the Throttler's mu.
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
	t.countLocked(r)
	if t.history.removed {
		t.history.restart()
	} else {
		t.history.finish(t.policy, r.ended, r.verdict, r.canceled, r.random)
	}
	if h := t.holder(); h != nil {
		h.presentLocked()
	}
	if r.awaited != nil {
		close(r.awaited.done)
	}
	// The callback may have kept its context, which refers to r. That must not keep
	// a lost value alive.
	r.outcomeErr, r.awaited = nil, nil
}

// countLocked records the outcome of r for Stats.
//
// +checklocks:t.mu
func (t *Throttler) countLocked(r *run) {
	if r.verdict.failed {
		t.rareLocked().failures++
	}
	if r.verdict.panicked {
		t.rareLocked().panics++
	}
	switch {
	case t.config.owner != nil:
		t.config.owner.endedLocked(r)
	case r.err != nil || t.rare != nil:
		t.rareLocked().lastError = r.err
	}
}

// A runKey is the key under which a run's context holds its *run: one for each
// Throttler, and one for all keys of a Group. It is a pointer, because a context would
// allocate memory for a struct at each look.
type runKey interface{ isRunKey() }

type (
	throttlerRunKey domain
	groupRunKey     config
)

func (*throttlerRunKey) isRunKey() {}
func (*groupRunKey) isRunKey()     {}

func (d *domain) runKey() runKey {
	if d.config.owner != nil {
		return (*groupRunKey)(d.config)
	}
	return (*throttlerRunKey)(d)
}

// ownRun returns the run of d that ctx belongs to, active or not; nil if none. In a
// Group it may be another key's run.
func (d *domain) ownRun(ctx context.Context) *run {
	own, _ := ctx.Value(d.runKey()).(*run)
	return own
}

// active reports whether r is active.
func (r *run) active() bool {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	return r.of.isActiveLocked(r)
}

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
