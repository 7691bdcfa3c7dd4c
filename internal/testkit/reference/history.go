package reference

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
)

// A history checks what happened to a throttler against the guarantees G1 to G7,
// without the model. A method that returns a string says which guarantee is broken, or
// returns "".
type history struct {
	policy throttle.Policy
	runs   []pastRun

	// Calls are numbered in the order in which they are made. Calls that a leading edge
	// alone may drop do not count.
	calls   int // made so far
	settled int // so many of the first calls are covered or dropped
	before  int // settled, before the active run started
	others  int // calls since the last start that may have been dropped

	running bool
	closing bool // no call is taken any more
	closed  bool // no run may start any more
	paused  bool // no run may start for now
	flushes bool // Flush or Shutdown was called since the last start
	retries bool // the last run may be retried
	segment int  // the first run that the bucket rule applies to

	predicted bool          // nothing was done since Stats returned next
	next      time.Duration // the next start, as Stats returned it
}

// A pastRun is a run that has started.
type pastRun struct {
	start, end  time.Duration
	policy      throttle.Policy // in force when it started
	calls       int             // it may cover
	afterFlush  bool
	afterFailed bool // the run before may be retried
	canceled    bool // Cancel or Close was called while it was active
}

func (h *history) policyChanged(p throttle.Policy) {
	h.predicted = false
	if !h.closing && p != h.policy {
		h.policy = p
		h.segment = len(h.runs)
	}
}

func (h *history) call(time.Duration) {
	h.predicted = false
	switch {
	case h.closing:
	case h.policy.Edges == throttle.Leading:
		h.others++
	default:
		h.calls++
	}
}

func (h *history) cancel(time.Duration) {
	h.predicted = false
	h.settled, h.others = h.calls, 0
	h.retries = false
	if h.running {
		h.runs[len(h.runs)-1].canceled = true
	}
}

func (h *history) close(at time.Duration) {
	h.cancel(at)
	h.closing, h.closed = true, true
}

// ask begins a Do, Flush, Wait or Shutdown. It returns the number of calls so far: a nil
// answer means that all of these are settled. For Wait it returns the number of runs so
// far: a nil answer means that all of these are over.
func (h *history) ask(op Operation, at time.Duration) (barrier int) {
	h.predicted = false
	h.flushes = h.flushes || op == OpFlush || op == OpShutdown
	h.closing = h.closing || op == OpShutdown
	h.dropPaused(at)
	if op == OpWait {
		return len(h.runs)
	}
	return h.calls
}

// answered: nil from Do, Flush or Shutdown means that every earlier call was dropped, or
// covered by a run that has ended. From Shutdown it also means that nothing runs. Nothing
// starts after Shutdown, whatever it returns.
func (h *history) answered(op Operation, barrier int, err error) string {
	h.predicted = false
	finished := h.settled
	if h.running {
		finished = h.before
	}
	if op == OpShutdown { // it drained, or dropped what was pending
		h.settled, h.closed = h.calls, true
	}
	switch {
	case op == OpWait && err == nil && h.running && len(h.runs) == barrier:
		return "Wait returns nil while the run is active"
	case op == OpWait:
		return ""
	case err == nil && finished < barrier:
		return fmt.Sprintf("G3: %v returns nil, but only %d of %d calls are covered", op, finished, barrier)
	case err == nil && op == OpShutdown && h.running:
		return "G7: Shutdown returns nil while a run is active"
	default:
		return ""
	}
}

// start: runs do not overlap, none starts after the end, and each starts when Stats said.
func (h *history) start(at time.Duration) (broken string) {
	switch {
	case h.running:
		broken = "G1: a run starts while another is active"
	case h.closed:
		broken = "G7: a run starts after the throttler was closed"
	case h.paused:
		broken = "a run starts while the throttler is paused"
	case h.predicted && at != h.next:
		broken = fmt.Sprintf("G5: a run starts at %v, but was due at %v", at, h.next)
	}
	h.runs = append(h.runs, pastRun{
		start:       at,
		policy:      h.policy,
		calls:       h.calls - h.settled + h.others,
		afterFlush:  h.flushes,
		afterFailed: h.retries,
	})
	h.before, h.settled, h.others = h.settled, h.calls, 0
	h.running, h.flushes, h.retries, h.predicted = true, false, false, false
	return broken
}

func (h *history) end(at time.Duration) {
	h.running = false
	h.runs[len(h.runs)-1].end = at
}

// observe checks a run when its cause is known.
func (h *history) observe(run throttle.Run, made time.Time) string {
	var retry *throttle.RetryError
	asked := errors.As(run.Err, &retry)
	newest := h.runs[len(h.runs)-1]
	h.retries = run.Err != nil && !newest.canceled && (h.policy.Retry.Initial > 0 || asked)
	switch {
	case run.Started.Before(run.Due):
		return "G5: a run started before it was due"
	case run.Started.Sub(made) != newest.start || run.Ended.Sub(made) != newest.end:
		return "the observer gets other times than those of the run"
	case !h.hasReason(newest, run.Cause):
		return fmt.Sprintf("G4: a run with cause %s has no reason", run.Cause)
	case run.Cause == throttle.CauseFlush:
		h.segment = max(h.segment, len(h.runs)-1) // SetPolicy may have begun a later one
		return ""
	default:
		return cmp.Or(h.spaced(newest), h.rested(newest))
	}
}

// hasReason: a run covers a call, or is due by MaxInterval or a retry.
func (h *history) hasReason(run pastRun, cause throttle.Cause) bool {
	switch cause {
	case throttle.CauseCall:
		return run.calls > 0
	case throttle.CauseRetry:
		return run.afterFailed
	case throttle.CauseFlush:
		return run.afterFlush && (run.calls > 0 || run.afterFailed)
	case throttle.CauseInterval:
		p := run.policy
		least := float64(p.MaxInterval) * (1 - p.Jitter)
		return p.MaxInterval > 0 && float64(run.start-h.measuredFrom(run)) >= max(least, float64(p.Interval))
	default:
		return false
	}
}

// measuredFrom is the instant from which the newest run's policy measures.
func (h *history) measuredFrom(run pastRun) time.Duration {
	switch previous := len(h.runs) - 2; {
	case previous < 0:
		return 0
	case run.policy.From == throttle.FromEnd:
		return h.runs[previous].end
	default:
		return h.runs[previous].start
	}
}

// rested: with MaxLoad, the last run took no more than that share of the time from its
// start to the newest one.
func (h *history) rested(newest pastRun) string {
	if len(h.runs) == 1 || newest.policy.MaxLoad == 0 {
		return ""
	}
	last := h.runs[len(h.runs)-2]
	took, all := float64(last.end-last.start), float64(newest.start-last.start)
	if took > newest.policy.MaxLoad*(all+1) { // the rest is cut to whole nanoseconds
		return fmt.Sprintf("G2: a run from %v to %v is followed by one at %v", last.start, last.end, newest.start)
	}
	return ""
}

// spaced: with a bucket of one, a start is at least Interval after the last start or end,
// whatever Interval and Burst were then. With a larger bucket, n starts in a row take at
// least as long as n - Burst tokens need to accrue.
func (h *history) spaced(newest pastRun) string {
	interval, burst := newest.policy.Interval, max(1, newest.policy.Burst)
	if interval == 0 || len(h.runs) == 1 {
		return ""
	}
	if burst == 1 && newest.start-h.measuredFrom(newest) < interval {
		return fmt.Sprintf("G2: a run starts %v after %v", newest.start, h.measuredFrom(newest))
	}
	for i, run := range h.runs[min(h.segment, len(h.runs)):] {
		inARow := len(h.runs) - h.segment - i
		if (newest.start-run.start)/interval < time.Duration(inARow-burst) {
			return fmt.Sprintf("G2: %d runs start within %v", inARow, newest.start-run.start)
		}
	}
	return ""
}

// idle is called when no goroutine has anything left to do at this instant: calls that
// are not covered are pending, and what is due has started.
func (h *history) idle(stats throttle.Stats, now, next time.Duration) string {
	h.predicted, h.next = !stats.Running && !h.paused, next
	switch {
	case stats.Running != h.running:
		return "Stats does not know whether a run is active"
	case stats.Paused != h.paused:
		return "Stats does not know whether the throttler is paused"
	case h.calls > h.settled && !stats.Pending:
		return "G3: a call is lost"
	case h.predicted && next <= now:
		return fmt.Sprintf("G5: a run was due at %v and has not started", next)
	case h.closed && (stats.Pending || !stats.Next.IsZero()):
		return "G7: a run is due after the end"
	default:
		return ""
	}
}

// passed is called after a wait: what Stats predicted has happened.
func (h *history) passed(now time.Duration) string {
	if h.predicted && h.next <= now {
		return fmt.Sprintf("G5: a run was due at %v and has not started", h.next)
	}
	return ""
}

// finish is called at the end: every call is settled, every run is over.
func (h *history) finish() string {
	switch {
	case h.calls > h.settled:
		return "G3: a call was neither covered nor dropped"
	case h.running:
		return "G6: a run is left behind"
	default:
		return ""
	}
}
