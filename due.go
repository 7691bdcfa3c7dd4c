package throttle

import (
	"math"
	"time"
)

// This file computes when a run may and must start: pure functions of a policy and
// of what has happened so far. It reads no clock and takes no lock.

// An instant is a point on the monotonic clock, in nanoseconds since the Throttler,
// or its Group, was built.
type instant int64

// The ends of time. Adding a duration does not change them.
const (
	beginning instant = math.MinInt64 // before anything happened
	never     instant = math.MaxInt64
)

// add returns the instant d, which must not be negative, after i.
func (i instant) add(d time.Duration) instant {
	if i == beginning {
		return beginning
	}
	if sum := i + instant(d); sum >= i {
		return sum
	}
	return never
}

// since returns the time from the earlier instant to i.
func (i instant) since(earlier instant) time.Duration { return time.Duration(i - earlier) }

// A history is that part of a Throttler's past that decides when the next run is
// due. The zero history is not valid; use newHistory.
//
// Its methods take a Policy by pointer and do not write to it. By value, the Policy
// would make their frames so large that each run's goroutine had to grow its stack.
// That takes longer than all the rest of the run.
type history struct {
	started instant // start of the last run; if there was none, when the Throttler was built
	ended   instant // end of the last finished run; likewise

	// The bucket of Policy.Burst, which gains a token every Interval.
	accrual instant // the next token accrues from then on; beginning: the bucket is full

	// Consequences of the last run.
	hold     instant // the window is closed until then
	tokens   int32   // of the bucket, left after the last start, less than Policy.Burst
	draw     float32 // from [0, 1): how much of Jitter the next MaxInterval is shortened by
	failures int32   // failed runs in a row that count for Backoff; see increment
	ran      bool    // a run has entered its callback
	heldBy   holder  // why the window is closed
	retry    bool    // a run is due at the end of the hold

	// The calls. Calls that find a run pending change lastCall only if the policy has
	// Quiet, and callCount only if it has MaxCalls.
	pending   bool    // a call is not covered
	flush     bool    // what is pending is due at deadline, whatever the policy says
	phase     phase   // whether runs may start at all
	removed   bool    // the key was removed, and is forgotten once no run is active; calls since then keep it
	callCount int32   // number of pending calls; see increment
	firstCall instant // the earliest pending call
	lastCall  instant // the latest call: pending, covered or dropped
	deadline  instant // Quiet and a trailing edge postpone the pending run no further; never if unset
}

// A phase is a part of a Throttler's life.
type phase uint8

const (
	open     phase = iota
	draining       // Shutdown has begun: no new call, no retry and no periodic run
	closed         // nothing starts any more
)

// A holder is the reason why the window is closed beyond spacing.
type holder uint8

const (
	heldByNothing  holder = iota
	heldByBackoff         // Policy.Retry, which may let calls through, and which SetPolicy can remove
	heldByCallback        // RetryIn
)

// newHistory returns the history of a Throttler that is built now. draw is drawn from
// [0, 1).
func newHistory(created instant, draw float32) history {
	return history{
		started: created, ended: created, accrual: beginning,
		hold: beginning, lastCall: beginning, deadline: never, draw: draw,
	}
}

// mostDrawn is the greatest draw, for instants that must be lower bounds.
const mostDrawn = 1 - 1.0/(1<<24)

// increment adds 1 to a count, which stays at its maximum. No count comes that far; an
// int32 saves memory in every Throttler.
func increment(count *int32) {
	if *count < math.MaxInt32 {
		*count++
	}
}

// spacing returns the instant from which Interval and MaxLoad permit a run. While a
// run is active, use it only on the result of whileActive.
func (h *history) spacing(p *Policy) instant { return max(h.intervalOver(p), h.rested(p)) }

// intervalOver returns the instant from which Interval permits a run.
func (h *history) intervalOver(p *Policy) instant {
	switch {
	case p.Interval == 0, !h.ran:
		return beginning
	case p.From == FromEnd:
		return h.ended.add(p.Interval)
	case h.tokens > 0:
		return beginning
	default:
		return h.accrual.add(p.Interval)
	}
}

// rested returns the instant from which MaxLoad permits a run.
func (h *history) rested(p *Policy) instant {
	if p.MaxLoad == 0 || h.ended == h.started { // no run yet, or one that took no time
		return beginning
	}
	// Compare before the conversion: a duration cannot hold every float64. (Mutants: some
	// processors convert to a number that gives never, too.)
	rest := float64(h.ended.since(h.started)) * (1/p.MaxLoad - 1)
	if rest >= math.MaxInt64 {
		return never
	}
	return h.ended.add(time.Duration(rest))
}

// whileActive returns the history as it would be if the active run ended now, and had
// entered its callback by now. Instants computed from it are lower bounds.
func (h *history) whileActive(p *Policy, now instant, entered bool) history {
	asIf := *h
	if h.removed {
		asIf.restart()
		return asIf
	}
	if !entered {
		asIf.enter(p, now, mostDrawn)
	}
	asIf.ended = now
	return asIf
}

// permit returns the end of the window: from then on a call may start a run.
func (h *history) permit(p *Policy) instant {
	if h.heldBy == heldByBackoff && p.Retry.Eager {
		return h.spacing(p)
	}
	return max(h.spacing(p), h.held(p))
}

// held returns the end of the hold; beginning if there is none.
func (h *history) held(p *Policy) instant {
	if h.heldBy == heldByNothing || h.heldBy == heldByBackoff && p.Retry.Initial == 0 {
		return beginning
	}
	return h.hold
}

// opens returns the instant from which a call is on the leading edge.
func (h *history) opens(p *Policy) instant {
	return max(h.permit(p), h.lastCall.add(p.Quiet))
}

// forgettable returns the instant from which the history no longer matters, provided
// that nothing more happens and no run is active: a new history would then make
// every later run due at the same time. It returns never if something is due.
func (h *history) forgettable(p *Policy) instant {
	if at, _ := h.due(p); at != never || h.pending || h.retry {
		return never
	}
	return max(h.opens(p), h.refilled(p))
}

// due returns when and why the next run must start, provided that no run is active.
// It returns never if nothing is due.
func (h *history) due(p *Policy) (instant, Cause) {
	if h.flush {
		return h.deadline, CauseFlush
	}
	at, cause := never, CauseCall
	permit := h.permit(p)
	if h.pending {
		at = max(permit, h.ready(p, permit))
	}
	if h.retry {
		// A retry is due after its run, even if spacing permits an earlier instant.
		if retry := max(h.spacing(p), h.held(p), h.ended); retry < at {
			at, cause = retry, CauseRetry
		}
	}
	if p.MaxInterval > 0 && h.phase == open && !h.removed {
		if periodic := max(permit, h.lastRun(p).add(h.period(p))); periodic < at {
			at, cause = periodic, CauseInterval
		}
	}
	return at, cause
}

// lastRun returns the instant from which MaxInterval counts.
func (h *history) lastRun(p *Policy) instant {
	if p.From == FromEnd {
		return h.ended
	}
	return h.started
}

// lastStart returns the start of the last run, beginning if there was none.
func (h *history) lastStart() instant {
	if !h.ran {
		return beginning
	}
	return h.started
}

// period returns MaxInterval as Jitter has shortened it.
func (h *history) period(p *Policy) time.Duration {
	shortened := p.MaxInterval - time.Duration(float64(h.draw)*p.Jitter*float64(p.MaxInterval))
	return max(shortened, p.Interval)
}

// ready returns the instant from which the pending call waits only for permit.
func (h *history) ready(p *Policy, permit instant) instant {
	switch {
	case p.Quiet > 0:
		quiet := h.lastCall.add(p.Quiet)
		if p.MaxWait > 0 {
			quiet = min(quiet, h.firstCall.add(p.MaxWait))
		}
		return min(quiet, h.deadline)
	case p.edges() == Trailing && h.firstCall >= permit:
		// A call outside any window opens one, and is covered at its end.
		return min(h.firstCall.add(p.Interval), h.deadline)
	default:
		return h.firstCall
	}
}

// call records a call at now that must not wait beyond now+within, and reports
// whether a run will cover it. active says whether a run is active.
func (h *history) call(p *Policy, now instant, within time.Duration, active bool) bool {
	switch {
	case h.pending:
		if p.MaxCalls > 0 { // (mutants: without MaxCalls nobody reads the count)
			increment(&h.callCount)
		}
		if p.Quiet > 0 {
			h.lastCall = now
		}
	case h.leads(p, now, active):
		within = 0
		fallthrough
	case p.edges()&Trailing != 0:
		h.pending = true
		h.firstCall, h.lastCall = now, now
		h.callCount = 1
	default:
		h.lastCall = now
		return false
	}
	h.hasten(now.add(within))
	h.hastenFull(p, now)
	return true
}

// leads reports whether a call at now, with none pending, starts a run at once.
func (h *history) leads(p *Policy, now instant, active bool) bool {
	return p.edges()&Leading != 0 && !active && h.opens(p) <= now
}

// hasten moves the deadline of what is pending to at, if that is earlier.
func (h *history) hasten(at instant) { h.deadline = min(h.deadline, at) }

// hastenFull moves the deadline to now once MaxCalls calls are pending.
func (h *history) hastenFull(p *Policy, now instant) {
	if h.full(p) {
		h.hasten(now)
	}
}

// full reports whether MaxCalls calls are pending.
func (h *history) full(p *Policy) bool { return p.MaxCalls > 0 && int(h.callCount) >= p.MaxCalls }

// flushNow makes what is pending due at now.
func (h *history) flushNow(now instant) {
	if !h.flush {
		h.flush, h.deadline = true, now
	}
}

// drop clears what is pending, because it was dropped or a run now covers it. It keeps
// the times of calls.
func (h *history) drop() {
	h.pending, h.flush, h.retry = false, false, false
	h.deadline = never
}

// restart makes the history of a removed key, at the end of its run, that of a new key
// with the calls since then.
func (h *history) restart() {
	calls := *h
	*h = newHistory(calls.firstCall, calls.draw)
	h.phase = calls.phase
	h.removed = !calls.pending
	h.pending, h.flush, h.deadline = calls.pending, calls.flush, calls.deadline
	h.firstCall, h.lastCall, h.callCount = calls.firstCall, calls.lastCall, calls.callCount
}

// enter records that a run enters its callback now, and takes a token. The run was
// started a little earlier, because its goroutine first had to be scheduled, but the
// distance to the next run counts from here. draw is drawn from [0, 1).
func (h *history) enter(p *Policy, now instant, draw float32) {
	h.started, h.ran, h.draw = now, true, draw
	h.tokens, h.accrual = h.bucket(p, now)
	if h.tokens > 0 {
		h.tokens--
	} else {
		h.accrual = now // a flush: it begins a new window, but makes no debt
	}
}

// bucket returns the number of tokens at now, and the instant from which the next
// token accrues.
func (h *history) bucket(p *Policy, now instant) (tokens int32, accrual instant) {
	if p.Interval == 0 || h.accrual == beginning {
		return p.burst(), now
	}
	gained := int64(now.since(h.accrual) / p.Interval)
	if gained >= int64(p.burst()-h.tokens) {
		return p.burst(), now
	}
	return h.tokens + int32(gained), h.accrual.add(time.Duration(gained) * p.Interval) //nolint:gosec // less than the burst
}

// refilled returns the instant from which the bucket is full.
func (h *history) refilled(p *Policy) instant {
	if p.Interval == 0 || p.From == FromEnd || h.accrual == beginning {
		return beginning
	}
	missing := max(p.burst()-h.tokens, 0)
	if int64(missing) > int64(never.since(h.accrual)/p.Interval) {
		return never
	}
	return h.accrual.add(time.Duration(missing) * p.Interval)
}

// A verdict is the part of a finished run's outcome that matters for the next run.
type verdict struct {
	failed   bool
	panicked bool // failed by a panic
	canceled bool // the callback returned context.Canceled
	again    bool // the callback returned RetryIn(retryIn), which is no failure
	retryIn  time.Duration

	// A run with a value is repeated if and only if the value was kept. A SetPolicy
	// while the run's hooks were at work does not change that.
	hasValue bool
	kept     bool
}

// finish records that the active run ended with v. canceled says that Cancel was
// called during the run; random is drawn from [0, 1).
func (h *history) finish(p *Policy, ended instant, v verdict, canceled bool, random float64) {
	retry := h.retries(p, v, canceled)
	h.ended = ended
	h.heldBy, h.hold, h.retry = heldByNothing, beginning, retry
	switch {
	case v.again:
		h.heldBy = heldByCallback
		h.hold = ended.add(max(v.retryIn, 0))
	case !v.failed || p.Retry.Initial == 0:
		h.failures = 0
	case canceled:
		h.holdFor(p.Retry.delay(1, random))
	default:
		increment(&h.failures)
		h.holdFor(p.Retry.delay(int(h.failures), random))
		if p.Retry.MaxAttempts > 0 && int(h.failures) >= p.Retry.MaxAttempts && !v.hasValue {
			h.failures = 0
		}
	}
}

// retries reports whether the active run, which ended with v, will be repeated.
// canceled says that Cancel was called during the run.
func (h *history) retries(p *Policy, v verdict, canceled bool) bool {
	switch {
	case canceled || h.phase == closed:
		return false
	case v.hasValue:
		return v.kept
	case h.phase == draining:
		return false
	case v.again:
		return true
	default:
		return v.failed && p.Retry.Initial > 0 &&
			(p.Retry.MaxAttempts == 0 || int(h.failures)+1 < p.Retry.MaxAttempts)
	}
}

// holdFor closes the window for d from the end of the last run.
func (h *history) holdFor(d time.Duration) {
	h.heldBy, h.hold = heldByBackoff, h.ended.add(d)
}

// adopt adapts the history to the next policy, which was set at now.
func (h *history) adopt(previous, next *Policy, now instant) {
	if left := next.burst() - 1; h.tokens > left || left == 0 {
		// If the accrual stayed, the next run could come less than an Interval after
		// the last one, although there is no bucket any more to allow that.
		h.tokens, h.accrual = left, h.lastStart()
	}
	// Without Quiet and MaxCalls, only some calls left their time and their count here.
	switch {
	case previous.Quiet > 0:
	case h.pending:
		h.lastCall = h.firstCall
	default:
		h.lastCall = beginning
	}
	if !h.pending {
		return
	}
	if previous.MaxCalls == 0 {
		h.callCount = 1
	}
	h.hastenFull(next, now)
}
