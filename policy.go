package throttle

import (
	"errors"
	"math"
	"time"

	"github.com/throttle-go/throttle/internal/backoff"
)

// This file holds Policy and the arithmetic of when a run may and must start:
// pure functions of a policy and of what has happened so far, with no clock and
// no lock.

// A Policy says when runs may start. It is a plain value, comparable, with zero
// meaning "no such limit" in every field; the zero Policy runs at once whenever
// no run is active. Durations are measured on the monotonic clock, and sums that
// overflow count as "never".
type Policy struct {
	// Interval is the least time between the starts of two runs, or from the
	// end of one to the start of the next if From says so.
	Interval time.Duration

	// Burst is how many runs may start back to back after idling: the size of
	// a token bucket that gains a token every Interval. 0 means 1. More than 1
	// needs an Interval, measured from starts.
	Burst int

	// Quiet makes a run wait until no call has arrived for this long
	// (debounce). With a leading edge, a call runs at once only if none came
	// within the Quiet before it.
	Quiet time.Duration

	// MaxWait bounds what Quiet may postpone a run, from the first call that
	// the run covers. Equal to Quiet it makes a fixed batch window. At least
	// Quiet, or 0 for no bound.
	MaxWait time.Duration

	// MaxInterval makes a run due this long after the last one, calls or none;
	// before the first run it counts from New, in a Group from the key's first
	// call. At least Interval, or 0. A Coalescer refuses it.
	MaxInterval time.Duration

	// MaxCalls is how many calls a pending run may collect: from then on it
	// waits neither for Quiet nor for a trailing-only edge, but for Interval
	// still. It needs one of the two to cut short.
	MaxCalls int

	// Retry says how a failed run is repeated. The zero Backoff repeats nothing.
	Retry Backoff

	// Edges says whether a call that finds the throttle open runs at once
	// (Leading), and whether calls that cannot run at once are covered later
	// (Trailing). Zero is both, or Trailing alone if Quiet is set.
	Edges Edges

	// From says from where Interval and MaxInterval are measured.
	From From
}

// Edges is a set of the edges of a window at which runs may start.
type Edges uint8

// The edges. With Leading alone, a call that cannot run at once is dropped.
const (
	Leading Edges = 1 << iota
	Trailing
)

// From is the point of a run from which Interval and MaxInterval are measured.
type From uint8

// The points of a run. FromEnd leaves the callback's resources a pause of
// Interval even when a run takes long.
const (
	FromStart From = iota
	FromEnd
)

// A Backoff says when a failed run (one that ended in an error, a panic or
// runtime.Goexit) is repeated: Initial after its end, twice as long after each
// further failure in a row, and no more than Max. Until then the window is
// closed to other runs too, so that calls do not hammer a callback that fails.
type Backoff struct {
	// Initial is the delay after the first failure. 0 repeats nothing, and
	// then the other fields must be zero too.
	Initial time.Duration

	// Max bounds the doubling. 0 means no doubling: every delay is Initial.
	Max time.Duration

	// MaxAttempts is how many runs in a row may fail before no repetition is
	// made; the count then starts anew. 0 is no limit.
	MaxAttempts int

	// Jitter is the share of each delay, from 0 to 1, by up to which it is
	// shortened at random, drawn once per failure.
	Jitter float64

	// Eager lets calls and MaxInterval start a run as soon as spacing permits,
	// instead of waiting for the delay to end.
	Eager bool
}

// Every returns the policy of at most one run per interval d.
func Every(d time.Duration) Policy { return Policy{Interval: d} }

// Debounce returns the policy of a run once no call has arrived for quiet, and
// no later than maxWait after the first call, or unbounded if maxWait is 0.
func Debounce(quiet, maxWait time.Duration) Policy {
	return Policy{Quiet: quiet, MaxWait: maxWait}
}

// Validate returns nil if p can be used, and otherwise every problem at once: a
// [*PolicyError] for each, joined by errors.Join. Beside values out of range it
// refuses combinations in which a field would be without effect or absurd.
func (p Policy) Validate() error { return joinProblems("", p.problems()) }

// joinProblems joins problems into one error that carries name.
func joinProblems(name string, problems []*PolicyError) error {
	errs := make([]error, len(problems))
	for i, problem := range problems {
		problem.name = name
		errs[i] = problem
	}
	return errors.Join(errs...)
}

func (p Policy) problems() []*PolicyError {
	var problems []*PolicyError
	refuse := func(wrong bool, field string, value any, reason string) {
		if wrong {
			problems = append(problems, &PolicyError{Field: field, Value: value, Reason: reason})
		}
	}
	const negative = "must not be negative"
	r := p.Retry
	leadingOnly, trailingOnly := p.Edges == Leading, p.Edges == Trailing
	retryUnused := r.Initial == 0

	refuse(p.Interval < 0, "Interval", p.Interval, negative)
	refuse(p.Burst < 0, "Burst", p.Burst, negative)
	refuse(p.Burst > 1 && p.Interval == 0, "Burst", p.Burst, "needs an Interval")
	refuse(p.Burst > 1 && p.From == FromEnd, "Burst", p.Burst, "needs an Interval measured FromStart")
	refuse(p.Burst > 1 && trailingOnly && p.Quiet == 0, "Burst", p.Burst, "needs a leading edge or Quiet")
	refuse(p.Quiet < 0, "Quiet", p.Quiet, negative)
	refuse(p.MaxWait < 0, "MaxWait", p.MaxWait, negative)
	refuse(p.MaxWait > 0 && p.Quiet == 0, "MaxWait", p.MaxWait, "needs Quiet")
	refuse(p.MaxWait > 0 && p.MaxWait < p.Quiet, "MaxWait", p.MaxWait, "must not be below Quiet")
	refuse(p.MaxWait > 0 && leadingOnly, "MaxWait", p.MaxWait, "needs a trailing edge")
	refuse(p.MaxInterval < 0, "MaxInterval", p.MaxInterval, negative)
	refuse(p.MaxInterval > 0 && p.MaxInterval < p.Interval, "MaxInterval", p.MaxInterval, "must not be below Interval")
	refuse(p.MaxCalls < 0, "MaxCalls", p.MaxCalls, negative)
	refuse(p.MaxCalls > 0 && leadingOnly, "MaxCalls", p.MaxCalls, "needs a trailing edge")
	refuse(p.MaxCalls > 0 && p.Quiet == 0 && !trailingOnly, "MaxCalls", p.MaxCalls, "needs Quiet or a trailing edge alone")
	refuse(p.Edges&^(Leading|Trailing) != 0, "Edges", p.Edges, "has unknown bits")
	refuse(p.From > FromEnd, "From", p.From, "must be FromStart or FromEnd")

	refuse(r.Initial < 0, "Retry.Initial", r.Initial, negative)
	refuse(r.Max < 0, "Retry.Max", r.Max, negative)
	refuse(r.Max > 0 && r.Max < r.Initial, "Retry.Max", r.Max, "must not be below Retry.Initial")
	refuse(r.MaxAttempts < 0, "Retry.MaxAttempts", r.MaxAttempts, negative)
	// Written so that NaN, which compares as false, is refused too.
	refuse(!(r.Jitter >= 0 && r.Jitter <= 1), "Retry.Jitter", r.Jitter, "must be from 0 to 1")
	const needsInitial = "needs Retry.Initial"
	refuse(retryUnused && r.Max > 0, "Retry.Max", r.Max, needsInitial)
	refuse(retryUnused && r.MaxAttempts > 0, "Retry.MaxAttempts", r.MaxAttempts, needsInitial)
	refuse(retryUnused && r.Jitter > 0 && r.Jitter <= 1, "Retry.Jitter", r.Jitter, needsInitial)
	refuse(retryUnused && r.Eager, "Retry.Eager", r.Eager, needsInitial)
	return problems
}

func (p Policy) burst() int { return max(p.Burst, 1) }

func (p Policy) edges() Edges {
	switch {
	case p.Edges != 0:
		return p.Edges
	case p.Quiet > 0:
		return Trailing
	default:
		return Leading | Trailing
	}
}

// delay returns how long to wait after the given number of failures in a row,
// at least 1. random is drawn from [0, 1).
func (b Backoff) delay(failures int, random float64) time.Duration {
	return backoff.Delay(b.Initial, b.Max, b.Jitter, failures, random)
}

// An instant is a point on the monotonic clock, in nanoseconds since the
// Throttler, or the Group it is part of, was built.
type instant int64

// The ends of time: no duration leads away from them.
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

// A history is what has happened to a Throttler, as far as it decides when the
// next run is due. The zero history is not valid: see newHistory.
//
// Its methods take a Policy by pointer, and do not write to it. By value it would
// make their frames so large that each run's goroutine had to grow its stack, which
// takes longer than all the rest of the run.
type history struct {
	created instant // since when there is a Throttler
	started instant // start of the last run; beginning if there was none
	ended   instant // end of the last finished run; beginning if there was none

	// The bucket of Policy.Burst, which gains a token every Interval.
	tokens  int     // left after the last start, less than Policy.Burst
	accrual instant // since when the next token accrues; beginning: the bucket is full

	// What the last run's outcome demands.
	hold     instant // the window is closed until then
	failures int     // failed runs in a row that count for Backoff
	heldBy   holder  // who closed it
	retry    bool    // a run is due at the end of the hold

	// The calls. Without Quiet in the policy lastCall, and without MaxCalls
	// callCount, take no notice of calls that find a run pending.
	pending   bool    // a call is not covered
	flush     bool    // what is pending is due at deadline, whatever the policy says
	phase     phase   // whether runs may start at all
	firstCall instant // the earliest pending call
	lastCall  instant // the latest call, pending, covered or dropped
	deadline  instant // neither Quiet nor a trailing edge postpones the pending run beyond; never if unset
	callCount int     // how many calls are pending
}

// A phase is a part of a Throttler's life.
type phase uint8

const (
	open     phase = iota
	draining       // Shutdown has begun: no new call, no retry and no periodic run
	closed         // nothing starts any more
)

// A holder is what closed the window beyond spacing.
type holder uint8

const (
	heldByNothing  holder = iota
	heldByBackoff         // Policy.Retry, which can let calls pass or be taken away
	heldByCallback        // RetryIn
)

func newHistory(created instant) history {
	return history{
		created: created, started: beginning, ended: beginning, accrual: beginning,
		hold: beginning, lastCall: beginning, deadline: never,
	}
}

// spacing returns the instant from which Interval permits a run. It must not be
// asked while a run is active and From is FromEnd: see whileActive.
func (h *history) spacing(p *Policy) instant {
	switch {
	case p.Interval == 0:
		return beginning
	case p.From == FromEnd:
		return h.ended.add(p.Interval)
	case h.tokens > 0:
		return beginning
	default:
		return h.accrual.add(p.Interval)
	}
}

// whileActive returns the history as if the active run ended now, having entered
// its callback at the latest now: a lower bound for whatever depends on it.
func (h *history) whileActive(p *Policy, now instant, entered bool) history {
	asIf := *h
	if !entered {
		asIf.enter(p, now)
	}
	asIf.ended = now
	return asIf
}

// permit returns the instant from which a call may start a run: the window's end.
func (h *history) permit(p *Policy) instant {
	if h.heldBy == heldByBackoff && p.Retry.Eager {
		return h.spacing(p)
	}
	return max(h.spacing(p), h.held(p))
}

// held returns the end of the hold, if one is in force.
func (h *history) held(p *Policy) instant {
	if h.heldBy == heldByNothing || h.heldBy == heldByBackoff && p.Retry.Initial == 0 {
		return beginning
	}
	return h.hold
}

// opens returns the instant from which a call is at the leading edge.
func (h *history) opens(p *Policy) instant {
	return max(h.permit(p), h.lastCall.add(p.Quiet))
}

// rests returns the instant from which the history, if nothing more happens and
// no run is active, decides nothing any more: a new one would make every later
// run due at the same time. never if something is due.
func (h *history) rests(p *Policy) instant {
	if at, _ := h.due(p); at != never || h.pending || h.retry {
		return never
	}
	return max(h.opens(p), h.refilled(p))
}

// due returns when the next run must start if no run is active, and why; never
// if nothing is due.
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
		// A retry follows its run, even where spacing leaves the past open.
		if retry := max(h.spacing(p), h.held(p), h.ended); retry < at {
			at, cause = retry, CauseRetry
		}
	}
	if p.MaxInterval > 0 && h.phase == open {
		if periodic := max(permit, h.lastRun(p).add(p.MaxInterval)); periodic < at {
			at, cause = periodic, CauseInterval
		}
	}
	return at, cause
}

// lastRun returns from where MaxInterval counts.
func (h *history) lastRun(p *Policy) instant {
	last := h.started
	if p.From == FromEnd {
		last = h.ended
	}
	return max(last, h.created)
}

// ready returns when the pending call no longer waits for anything but permit.
func (h *history) ready(p *Policy, permit instant) instant {
	switch {
	case p.Quiet > 0:
		quiet := h.lastCall.add(p.Quiet)
		if p.MaxWait > 0 {
			quiet = min(quiet, h.firstCall.add(p.MaxWait))
		}
		return min(quiet, h.deadline)
	case p.edges() == Trailing && h.firstCall >= permit:
		// A call outside any window opens one, at whose end it is covered.
		return min(h.firstCall.add(p.Interval), h.deadline)
	default:
		return h.firstCall
	}
}

// call records a call at now that must not wait beyond now+within, and reports
// whether a run will cover it. active tells whether a run is active.
func (h *history) call(p *Policy, now instant, within time.Duration, active bool) bool {
	switch {
	case h.pending:
		if p.MaxCalls > 0 {
			h.callCount++
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

// covers reports whether a run will cover a call at now: with the leading edge
// alone it may come inside the window. active tells whether a run is active.
func (h *history) covers(p *Policy, now instant, active bool) bool {
	return h.pending || p.edges()&Trailing != 0 || h.leads(p, now, active)
}

// leads reports whether a call at now, with none pending, starts a run at once.
func (h *history) leads(p *Policy, now instant, active bool) bool {
	return p.edges()&Leading != 0 && !active && h.opens(p) <= now
}

// hasten moves the deadline of what is pending forward to at, if it is later.
func (h *history) hasten(at instant) { h.deadline = min(h.deadline, at) }

// hastenFull ends the wait for more calls once MaxCalls are pending.
func (h *history) hastenFull(p *Policy, now instant) {
	if h.full(p) {
		h.hasten(now)
	}
}

// full reports whether the pending run has collected all the calls it may.
func (h *history) full(p *Policy) bool { return p.MaxCalls > 0 && h.callCount >= p.MaxCalls }

// flushNow makes what is pending due at now.
func (h *history) flushNow(now instant) {
	if !h.flush {
		h.flush, h.deadline = true, now
	}
}

// drop forgets what is pending, as it was dropped or a run now covers it, but not
// when calls were made.
func (h *history) drop() {
	h.pending, h.flush, h.retry = false, false, false
	h.deadline = never
}

// enter records that the callback of a run is entered now, and takes a token. The
// run was started a little earlier, as its goroutine first had to be scheduled;
// the next run keeps its distance from here.
func (h *history) enter(p *Policy, now instant) {
	h.started = now
	h.tokens, h.accrual = h.bucket(p, now)
	if h.tokens > 0 {
		h.tokens--
	} else {
		h.accrual = now // a flush: it makes no debt, but a new window
	}
}

// bucket returns the tokens that are there at now, and the instant since when
// the next accrues.
func (h *history) bucket(p *Policy, now instant) (tokens int, accrual instant) {
	if p.Interval == 0 || h.accrual == beginning {
		return p.burst(), now
	}
	gained := int64(now.since(h.accrual) / p.Interval)
	if gained >= int64(p.burst()-h.tokens) {
		return p.burst(), now
	}
	return h.tokens + int(gained), h.accrual.add(time.Duration(gained) * p.Interval)
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

// A verdict is what a finished run's outcome means for the next.
type verdict struct {
	failed   bool
	panicked bool // failed by a panic
	canceled bool // the callback returned context.Canceled
	again    bool // the callback returned RetryIn(retryIn), which is no failure
	retryIn  time.Duration

	// A run that carries a value is repeated if the value was kept for that, and
	// only then, whatever the policy has become while its hooks were at work.
	carried bool
	kept    bool
}

// finish records that the active run ended with v. canceled tells that Cancel
// met the run; random is drawn from [0, 1).
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
		h.failures++
		h.holdFor(p.Retry.delay(h.failures, random))
		if p.Retry.MaxAttempts > 0 && h.failures >= p.Retry.MaxAttempts {
			h.failures = 0
		}
	}
}

// retries reports whether the active run, having ended with v, is repeated.
// canceled tells that Cancel met it.
func (h *history) retries(p *Policy, v verdict, canceled bool) bool {
	switch {
	case canceled || h.phase == closed:
		return false
	case v.carried:
		return v.kept
	case h.phase == draining:
		return false
	case v.again:
		return true
	default:
		return v.failed && p.Retry.Initial > 0 &&
			(p.Retry.MaxAttempts == 0 || h.failures+1 < p.Retry.MaxAttempts)
	}
}

// holdFor closes the window for d from the end of the last run.
func (h *history) holdFor(d time.Duration) {
	h.heldBy, h.hold = heldByBackoff, h.ended.add(d)
}

// adopt makes the history fit for the next policy, set at now.
func (h *history) adopt(previous, next *Policy, now instant) {
	if left := next.burst() - 1; h.tokens > left || left == 0 {
		// With the accrual kept, the next run could come less than an Interval
		// after the last, though the bucket that excused this is gone.
		h.tokens, h.accrual = left, h.started
	}
	if !h.pending {
		return
	}
	if previous.Quiet == 0 {
		h.lastCall = h.firstCall
	}
	if previous.MaxCalls == 0 {
		h.callCount = 1
	}
	h.hastenFull(next, now)
}
