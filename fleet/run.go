package fleet

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the runs of a replica: package throttle's, of a throttler without any
// policy, which sees to contexts, panics, observers and tracers.

// A run is one whose callback was entered.
type run struct {
	token    int64 // 0 for a run without a grant
	failures int   // runs in a row that failed before it
	cancel   context.CancelCauseFunc

	// Guarded by the Throttler's mu while the run is active.
	waits    []*wait // Do calls that it covers
	canceled bool    // Cancel was called: it is not repeated
	heard    bool    // Shutdown takes its error
}

// runKey is the key under which a run's context holds the *run.
type runKey struct{}

// Token returns the fencing token of the run that ctx belongs to: higher than that of every
// run of its key before, in the whole fleet. What the callback writes to should
// refuse a token lower than the highest it has seen: a process may be paused within the
// callback for so long that its lease ends and another replica runs. There is none outside
// of a run, and in one that [RunLocal] made.
func Token(ctx context.Context) (token int64, ok bool) {
	r, ok := ctx.Value(runKey{}).(*run)
	if !ok || r.token == 0 {
		return 0, false
	}
	return r.token, true
}

// execute is the callback of the throttler that runs the runs.
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

// conclude is called after execute.
func (t *Throttler) conclude(seen throttle.Run) {
	r := t.end(seen)
	if r == nil {
		if !t.isClosed() {
			t.tell(t.named(ErrLate))
		}
		return
	}
	if len(r.waits) == 0 && !r.heard && seen.Err != nil {
		t.tellOf(seen)
	}
	seen.Attempt = r.failures + 1
	if r.failures > 0 {
		seen.Cause = throttle.CauseRetry
	}
	for _, observe := range t.extras.observed {
		observe(seen)
	}
	for _, w := range r.waits {
		close(w.done)
	}
}

// tellOf hands the error of a run to the error handler.
func (t *Throttler) tellOf(seen throttle.Run) {
	if t.extras.handler == nil && t.isClosed() && errors.Is(seen.Err, context.Canceled) {
		return // the callback did as it was told
	}
	if panicked, ok := errors.AsType[*throttle.PanicError](seen.Err); ok {
		t.tell(seen.Err, slog.String("stack", string(panicked.Stack)))
		return
	}
	t.tell(seen.Err)
}

// outcome returns what other replicas are told of err.
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
