package fleet

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/machine"
)

// The runs of a replica are those of a throttle.Throttler with the zero policy, the runner.
// It handles contexts, panics, observers and tracers. Its callback is execute, and its only
// observer is conclude.

// A run is a run whose callback was entered.
type run struct {
	token    int64 // 0 for a run without a grant
	failures int   // how many runs in a row had failed before it
	cancel   context.CancelCauseFunc

	// Guarded by the Throttler's mu while the run is active.
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

// execute is the callback of the runner.
func (t *Throttler) execute(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{cancel: cancel}
	ctx = context.WithValue(ctx, runKey{}, r)
	if !t.begin(r) {
		return t.named(ErrLate)
	}
	return t.fn(ctx)
}

// conclude is the observer of the runner, called after execute.
func (t *Throttler) conclude(seen throttle.Run) {
	r := t.end(seen)
	if r == nil {
		if !t.isClosed() {
			t.report(t.named(ErrLate))
		}
		return
	}
	if len(r.waits) == 0 && !r.drained && seen.Err != nil {
		t.reportRun(seen)
	}
	seen.Attempt = r.failures + 1
	if r.failures > 0 {
		seen.Cause = throttle.CauseRetry
	}
	for _, observe := range t.config.observers {
		observe(seen)
	}
	for _, w := range r.waits {
		close(w.done)
	}
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
