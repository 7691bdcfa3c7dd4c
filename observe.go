package throttle

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// This file holds what a user can see of a Throttler: a snapshot of its state, a
// record of each run, and the errors that nobody waited for.

// A Cause says why a run started.
type Cause string

// The causes of a run. Where several hold at once, the first in this order is
// told, but for a flush, which overrules the others.
const (
	CauseCall     Cause = "call"     // a call was pending
	CauseRetry    Cause = "retry"    // a failed run's backoff, or its RetryIn, ended
	CauseInterval Cause = "interval" // MaxInterval has passed since the last run
	CauseFlush    Cause = "flush"    // Flush or Shutdown made what was pending due
)

// A Run describes one finished run; [WithObserver] hands it over. Its times
// carry monotonic readings, so that their differences are exact. Between runs
// lies Policy.Interval, but for those of CauseFlush and those Burst lets pass.
type Run struct {
	Name    string    // of the Throttler
	Cause   Cause     // why the run started
	Attempt int       // 1, and one more for each failed run in a row before it
	Asked   time.Time // when the first call that it covers was made; zero if it covers none
	Due     time.Time // when it should have started, by the policy in force at its start
	Started time.Time // when the callback was entered
	Ended   time.Time // when the callback returned
	Calls   uint64    // how many calls it covers; 0 unless WithCallCount is set
	Err     error     // what the callback returned, a *PanicError or ErrGoexit; nil for success
}

// Stats is a snapshot of a Throttler, all of one instant.
type Stats struct {
	Runs     uint64 // runs whose callback was entered
	Failures uint64 // runs that ended in an error other than RetryIn, panics included
	Panics   uint64 // runs that ended in a panic
	Dropped  uint64 // calls dropped because the policy has no trailing edge
	Calls    uint64 // calls accepted or dropped; 0 unless WithCallCount is set

	LastStart    time.Time     // start of the last run, the active one included; zero before the first
	LastDuration time.Duration // how long the last finished run took
	LastError    error         // error of the last finished run; nil if it succeeded

	Pending bool      // a call waits for its run, or a failed run for its retry
	Running bool      // a run is active
	Closed  bool      // Close was called, the parent context ended, or Shutdown has begun
	Next    time.Time // when the next run is due; a lower bound while a run is active; zero if none is
}

// statsLocked returns the snapshot.
//
// +checklocks:t.mu
func (t *Throttler) statsLocked() Stats {
	clock := t.clock()
	h := t.history
	if t.run != nil {
		h = h.whileActive(*t.policy, clock.instant, t.run.entered)
	}
	s := Stats{
		Runs:         t.tally.runs,
		Failures:     t.tally.failures,
		Panics:       t.tally.panics,
		Dropped:      t.tally.dropped,
		Calls:        t.tally.pastCalls + t.pendingCalls,
		LastStart:    clock.time(t.tally.lastStart),
		LastDuration: t.tally.lastTook,
		LastError:    t.tally.lastError,
		Pending:      t.pendingLocked(),
		Running:      t.run != nil,
		Closed:       h.phase != open,
	}
	next, _ := h.due(*t.policy)
	s.Next = clock.time(next)
	return s
}

// A clock is a reading of the clock, in both of its forms.
type clock struct {
	wall    time.Time
	instant instant
}

func (t *Throttler) clock() clock {
	now := time.Now()
	return clock{now, instant(now.Sub(t.base))}
}

// time returns i as a time.Time, zero for the ends of time. It counts from the
// reading, not from the Throttler's construction, so that what the wall clock
// was set to since then shows.
func (c clock) time(i instant) time.Time {
	if i == beginning || i == never {
		return time.Time{}
	}
	return c.wall.Add(i.since(c.instant))
}

// tell hands r's error to the handler if it is unheard, and r to the observers.
// stopped tells that the Throttler is closed. No lock is held here.
func (t *Throttler) tell(r *run, unheard, stopped bool) {
	if unheard {
		if t.extras.handler != nil {
			t.extras.handler(r.err)
		} else {
			t.log(r, stopped)
		}
	}
	if len(t.extras.observers) == 0 {
		return
	}
	clock := t.clock()
	seen := Run{
		Name:    t.extras.name,
		Cause:   r.cause,
		Attempt: r.attempt,
		Asked:   clock.time(r.asked),
		Due:     clock.time(r.due),
		Started: clock.time(r.started),
		Ended:   clock.time(r.ended),
		Calls:   r.calls,
		Err:     r.err,
	}
	for _, observe := range t.extras.observers {
		observe(seen)
	}
}

// log is the error handler of a Throttler that was given none.
func (t *Throttler) log(r *run, stopped bool) {
	parent := t.extras.parent
	if (stopped || parent.Err() != nil) && errors.Is(r.err, context.Canceled) {
		return // the callback did as it was told
	}
	attrs := make([]slog.Attr, 0, 5)
	if t.extras.name != "" {
		attrs = append(attrs, slog.String("name", t.extras.name))
	}
	attrs = append(attrs,
		slog.String("cause", string(r.cause)),
		slog.Int("attempt", r.attempt),
		slog.Any("error", r.err))
	if panicked, ok := errors.AsType[*PanicError](r.err); ok && r.verdict.panicked {
		attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
	}
	slog.Default().LogAttrs(parent, slog.LevelError, "throttle: run failed", attrs...)
}
