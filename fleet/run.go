package fleet

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/machine"
	"github.com/throttle-go/throttle/internal/asked"
	"github.com/throttle-go/throttle/internal/backoff"
)

// A run is one execution of the callback. Its fields are written before its goroutine starts
// or by that goroutine, except for those that the Throttler's mu guards.
type run struct {
	throttler *Throttler
	cancel    context.CancelCauseFunc
	ends      []func(throttle.Run) // of the tracers that have started
	token     int64                // 0 for a run without a grant
	failures  int                  // how many runs in a row had failed before it
	late      bool                 // it was too late to enter the callback
	entered   bool                 // the callback was entered
	returned  bool                 // the callback has returned or panicked
	seen      throttle.Run         // what observers get

	// The Throttler's mu guards the fields below while the run is active.

	waits    []*wait // Do calls that the run covers
	canceled bool    // Cancel was called: the run is not repeated
	drained  bool    // Shutdown returns the run's error
}

// runKey is the key under which a run's context holds the *run.
type runKey struct{}

// Token returns the fencing token of the run that ctx belongs to. It is higher than the
// token of every earlier run of its key in the whole fleet. A process may be paused in the
// callback for so long that its lease ends and another replica runs. So whatever the
// callback writes to should refuse a token lower than the highest it has seen. ok is false
// outside of a run, and in a run that [RunLocal] made.
func Token(ctx context.Context) (token int64, ok bool) {
	r, ok := ctx.Value(runKey{}).(*run)
	if !ok || r.token == 0 {
		return 0, false
	}
	return r.token, true
}

// startLocked starts a run, for a grant or without one. Its goroutine decides whether it is
// still in time to enter the callback.
//
// +checklocks:t.mu
func (t *Throttler) startLocked() {
	t.active++
	now := time.Now()
	seen := throttle.Run{Name: t.config.name, Cause: throttle.CauseCall, Attempt: 1, Asked: now, Due: now}
	if t.group != nil {
		seen.Key = t.key
	}
	go t.execute(&run{throttler: t, seen: seen}) // ends by itself, soon after the callback
}

// execute is the goroutine of a run. The tracers and the callback are foreign code: each may
// end the goroutine, and conclude then ends the run.
func (t *Throttler) execute(r *run) {
	defer t.endAttempt()
	defer t.conclude(r)
	parent := t.config.parent
	if parent.Err() != nil {
		// The function that closes the Throttler when the parent ends may not have run yet.
		t.close(context.Cause(parent))
		return
	}
	pprof.SetGoroutineLabels(parent) // not those of whoever has started the run
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, runKey{}, r))
	r.cancel = cancel
	defer cancel(nil)
	r.seen.Started = time.Now()
	ctx, end := t.startTraces(ctx, r)
	defer end()
	if !t.begin(r) {
		r.late = true
		return
	}
	t.invoke(ctx, r)
	r.returned = true
}

// startTraces calls the tracers in order. It returns the context for the callback, and a
// function that ends the execution tracer's task.
func (t *Throttler) startTraces(ctx context.Context, r *run) (traced context.Context, end func()) {
	for _, start := range t.config.tracers {
		traced, ended := start(ctx, r.seen, nil)
		if traced != nil {
			ctx = traced //nolint:fatcontext // traces nest
		}
		if ended != nil {
			r.ends = append(r.ends, ended)
		}
	}
	if !trace.IsEnabled() {
		return ctx, func() {}
	}
	ctx, task := trace.NewTask(ctx, "throttle: "+t.config.name)
	region := trace.StartRegion(ctx, "run")
	return ctx, func() {
		region.End()
		task.End()
	}
}

// begin begins r, unless its grant is too late, and reports whether it did. It is the last
// thing before the callback. The run covers all calls made up to now.
func (t *Throttler) begin(r *run) bool {
	now := t.lock()
	defer t.settle(now)
	switch token, failures, begun := t.replica.Begin(now); {
	case begun:
		r.token, r.failures = token, failures
	case t.replica.BeginLocal(now):
		t.counts.LocalRuns++
	default:
		return false
	}
	r.entered = true
	r.seen.Started = t.origin.Add(now)
	r.seen.Attempt = r.failures + 1
	if r.failures > 0 {
		r.seen.Cause = throttle.CauseRetry
	}
	r.waits, t.waits = t.waits, nil
	t.run = r
	t.past.Runs++
	t.past.LastStart = r.seen.Started
	return true
}

// invoke runs the callback.
func (t *Throttler) invoke(ctx context.Context, r *run) {
	returned := false
	defer func() {
		if returned {
			return
		}
		// Goexit comes here too, but then nobody sees the results. A nil from recover
		// does not tell the two apart: panic(nil) may give it as well.
		r.seen.Result = throttle.ResultPanic
		r.seen.Err = t.named(&throttle.PanicError{Value: recover(), Stack: debug.Stack()})
	}()
	err := t.fn(ctx)
	result := resultOf(err) // the error's methods may panic, too
	returned = true
	r.seen.Result, r.seen.Err = result, err
}

// resultOf returns the result of a run whose callback returned err.
func resultOf(err error) throttle.Result {
	switch {
	case err == nil:
		return throttle.ResultSuccess
	case asked.For[*throttle.RetryError](err) != nil:
		return throttle.ResultRetryIn
	default:
		return throttle.ResultFailure
	}
}

// conclude ends r, whose callback has returned, or was not entered. It tells the hooks what
// came of it.
func (t *Throttler) conclude(r *run) {
	if !r.entered {
		t.miss(r)
		return
	}
	if !r.returned {
		r.seen.Result, r.seen.Err = throttle.ResultFailure, t.named(throttle.ErrGoexit)
	}
	r.seen.Ended = time.Now()
	waited := t.end(r)
	defer releaseWaits(r.waits) // even if a hook ends the goroutine
	if !waited && r.seen.Err != nil && r.seen.Result != throttle.ResultRetryIn {
		t.reportRun(r.seen)
	}
	endTraces(r)
	for _, observe := range t.config.observers {
		observe(r.seen)
	}
}

// releaseWaits lets the Do calls return whose run is over.
func releaseWaits(waits []*wait) {
	for _, w := range waits {
		close(w.done)
	}
}

// endTraces tells the tracers that r is over, the latest first.
func endTraces(r *run) {
	for _, end := range slices.Backward(r.ends) {
		end(r.seen)
	}
}

// miss ends a run that did not enter the callback.
func (t *Throttler) miss(r *run) {
	why := throttle.ErrGoexit // a tracer has ended the goroutine
	if r.late {
		why = ErrLate
	}
	r.seen.Ended, r.seen.Result, r.seen.Err = time.Now(), throttle.ResultFailure, t.named(why)
	if !t.decline(r.late) {
		t.report(r.seen.Err)
	}
	endTraces(r)
}

// decline gives back a grant that is not used. It reports whether the Throttler is closed.
func (t *Throttler) decline(late bool) (isClosed bool) {
	now := t.lock()
	defer t.settle(now)
	t.replica.Decline()
	if late && t.phase != closed {
		t.counts.Late++
	}
	return t.phase == closed
}

// end ends r, whose outcome is known. It reports whether somebody waits for that outcome.
func (t *Throttler) end(r *run) (waited bool) {
	now := t.lock()
	defer t.settle(now)
	t.run = nil
	t.pastLocked(&r.seen)
	err := r.seen.Err
	if r.seen.Result == throttle.ResultRetryIn {
		err = asked.Served(err)
	}
	for _, w := range r.waits {
		w.decided, w.err = true, err
	}
	f := t.finishLocked(r)
	if f.Again {
		r.seen.Retry = later(r.seen.Ended.Add(f.Delay), r.seen.Started.Add(t.policy.Interval))
	}
	switch lost := err != nil && (t.phase == closed || t.replica.Lost()); {
	case r.token == 0:
		t.replica.EndLocal(now, f.Again)
	case lost:
		t.replica.GiveBack() // the callback was interrupted; another run does its work
	default:
		t.replica.End(f)
	}
	if t.phase == draining {
		r.drained, t.drainedErr = true, err
	}
	return len(r.waits) > 0 || r.drained
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pastLocked records a run that is over, for Stats.
//
// +checklocks:t.mu
func (t *Throttler) pastLocked(seen *throttle.Run) {
	switch seen.Result {
	case throttle.ResultPanic:
		t.past.Panics++
		t.past.Failures++
	case throttle.ResultFailure:
		t.past.Failures++
	case throttle.ResultSuccess, throttle.ResultRetryIn:
	}
	t.past.LastDuration, t.past.LastError = seen.Ended.Sub(seen.Started), seen.Err
}

// finishLocked returns the finish that the store receives for r.
//
// +checklocks:t.mu
func (t *Throttler) finishLocked(r *run) machine.Finish {
	f := machine.Finish{Outcome: outcome(r.seen.Err)}
	b := t.policy.Retry
	switch {
	case r.seen.Err == nil:
	case r.seen.Result == throttle.ResultRetryIn:
		f.Again, f.Failures = true, r.failures
		f.Delay = max(0, asked.For[*throttle.RetryError](r.seen.Err).In)
	case b.Initial > 0:
		f.Failures = r.failures + 1
		f.Delay = backoff.Delay(b.Initial, b.Max, b.Jitter, f.Failures, rand.Float64())
		f.Again = b.MaxAttempts == 0 || f.Failures < b.MaxAttempts
		if !f.Again {
			f.Failures = 0
		}
	}
	f.Delay = min(f.Delay, machine.MaxSpan)
	if r.canceled {
		f.Again, f.Failures = false, 0
	}
	return f
}

// reportRun passes the error of a run to the error handler.
func (t *Throttler) reportRun(seen throttle.Run) {
	if t.config.handler == nil && t.isClosed() && errors.Is(seen.Err, context.Canceled) {
		return // the callback stopped because Close canceled its context
	}
	var panicked *throttle.PanicError
	if errors.As(seen.Err, &panicked) {
		t.report(seen.Err, slog.String("stack", string(panicked.Stack)))
		return
	}
	t.report(seen.Err)
}

// outcome returns the outcome that other replicas receive for err.
func outcome(err error) machine.Outcome {
	if err == nil {
		return machine.Outcome{}
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "\uFFFD"), "\x00", "\uFFFD")
	if len(text) > machine.MaxText {
		text = strings.ToValidUTF8(text[:machine.MaxText], "")
	}
	return machine.Outcome{Failed: true, Message: text}
}
