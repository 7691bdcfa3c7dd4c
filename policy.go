package throttle

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/throttle-go/throttle/internal/backoff"
)

// A Policy says when runs may start. It is a plain, comparable value. In every field
// zero means "no such limit"; under the zero Policy a call runs at once whenever no
// run is active. Durations are measured on the monotonic clock. A sum that overflows
// means "never".
//
// Validate says whether a policy is valid. Clamp turns any policy, such as one from a
// configuration, into a valid one.
type Policy struct {
	// Interval is the least time between the starts of two runs. With From set
	// to FromEnd, it is the least time from the end of a run to the start of the
	// next.
	Interval time.Duration

	// Burst is how many runs may start back to back after idling. It is the size
	// of a token bucket that gains a token every Interval. 0 means 1. A Burst
	// above 1 needs an Interval, measured from starts.
	Burst int

	// MaxLoad is the greatest share of time that runs may take: above 0 and below 1,
	// or 0 for no limit. A run that took d holds off the next start until
	// d·(1/MaxLoad − 1) after its end; with a MaxLoad of 0.25, that is three times
	// as long as it took. Spacing is over once this rest and Interval are. Retries
	// and RetryIn wait for the rest too. Burst does not pass it; Flush does. Only
	// the last finished run counts, with the time that its callback took, without
	// the handler and the observers.
	MaxLoad float64

	// Quiet makes a run wait until no call has arrived for this long (debounce).
	// With a leading edge, a call runs at once only if no other call came within
	// Quiet before it.
	Quiet time.Duration

	// MaxWait is the longest that Quiet may postpone a run, counted from the
	// first call that the run covers. If it equals Quiet, you get a fixed batch
	// window. It must be at least Quiet, or 0 for no bound.
	MaxWait time.Duration

	// MaxInterval makes a run due this long after the last one, with or without
	// calls. Before the first run it counts from New; in a Group, from the key's
	// first call. It must be at least Interval, or 0. A Coalescer rejects it.
	MaxInterval time.Duration

	// Jitter is a share, from 0 to 1. Each MaxInterval is shortened at random by up
	// to this share of it, but never below Interval, so that many instances do not
	// run in step. How much is drawn at construction for the first run (in a Group,
	// when the key is created), and anew as each run starts. SetPolicy keeps what was
	// drawn. 0 shortens nothing. Jitter needs MaxInterval.
	Jitter float64

	// MaxCalls is the number of pending calls that ends a run's wait for Quiet or
	// for a trailing-only edge. The run still waits for Interval. MaxCalls needs a
	// trailing edge. Without Quiet, and with the leading edge on, a Throttler has no
	// such wait, and MaxCalls changes nothing. In a Coalescer it is also the number of
	// calls whose values a run takes at most.
	MaxCalls int

	// Retry says when a failed run is repeated. The zero Backoff repeats nothing.
	Retry Backoff

	// Edges says whether a call that finds the throttler open runs at once
	// (Leading), and whether calls that cannot run at once are covered later
	// (Trailing). Zero means both, or Trailing alone if Quiet is set.
	Edges Edges

	// From is the point from which Interval and MaxInterval are measured.
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

// The points of a run. FromEnd gives the callback's resources a rest of Interval
// even after a long run.
const (
	FromStart From = iota
	FromEnd
)

// A Backoff says when a failed run is repeated. A run fails if it ends in an error, a
// panic or runtime.Goexit. The delay starts at Initial, counted from the run's end,
// and doubles with each further failure in a row, up to Max. Until then the window
// is closed to other runs too, so that calls do not hammer a failing callback.
type Backoff struct {
	// Initial is the delay after the first failure. 0 means no retry; the other
	// fields must then be zero too.
	Initial time.Duration

	// Max is the longest delay. 0 means no doubling: every delay is Initial.
	Max time.Duration

	// MaxAttempts is how many runs in a row may fail. After the last of them no
	// retry is made, and the count starts anew. 0 means no limit.
	MaxAttempts int

	// Jitter is a share, from 0 to 1. Each delay is shortened at random by up to
	// this share of it, drawn once per failure.
	Jitter float64

	// Eager lets calls and MaxInterval start a run as soon as spacing permits,
	// before the delay ends.
	Eager bool
}

// Every returns the policy for at most one run per interval d.
func Every(d time.Duration) Policy { return Policy{Interval: d} }

// Debounce returns the policy for a run once no call has arrived for quiet, but no
// later than maxWait after the first call. A maxWait of 0 means no bound.
func Debounce(quiet, maxWait time.Duration) Policy {
	return Policy{Quiet: quiet, MaxWait: maxWait}
}

// Validate returns nil if p is valid. Otherwise it returns every problem at once: a
// [*PolicyError] for each, joined by errors.Join. It rejects values out of range,
// and combinations in which a field would have no effect or make no sense.
func (p Policy) Validate() error { return joinProblems("", p.problems()) }

// joinProblems joins problems into one error and adds name to each.
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
	reject := func(wrong bool, field string, value any, reason string) {
		if wrong {
			problems = append(problems, &PolicyError{Field: field, Value: value, Reason: reason})
		}
	}
	const negative, notShare = "must not be negative", "must be from 0 to 1"
	r := p.Retry
	leadingOnly, trailingOnly := p.Edges == Leading, p.Edges == Trailing
	retryUnused := r.Initial == 0

	reject(p.Interval < 0, "Interval", p.Interval, negative)
	reject(p.Burst < 0, "Burst", p.Burst, negative)
	reject(p.Burst > 1 && p.Interval == 0, "Burst", p.Burst, "needs an Interval")
	reject(p.Burst > 1 && p.From == FromEnd, "Burst", p.Burst, "needs an Interval measured FromStart")
	reject(p.Burst > 1 && trailingOnly && p.Quiet == 0, "Burst", p.Burst, "needs a leading edge or Quiet")
	reject(!isLoad(p.MaxLoad), "MaxLoad", p.MaxLoad, "must be at least 0 and below 1")
	reject(p.Quiet < 0, "Quiet", p.Quiet, negative)
	reject(p.MaxWait < 0, "MaxWait", p.MaxWait, negative)
	reject(p.MaxWait > 0 && p.Quiet == 0, "MaxWait", p.MaxWait, "needs Quiet")
	reject(p.MaxWait > 0 && p.MaxWait < p.Quiet, "MaxWait", p.MaxWait, "must not be below Quiet")
	reject(p.MaxWait > 0 && leadingOnly, "MaxWait", p.MaxWait, "needs a trailing edge")
	reject(p.MaxInterval < 0, "MaxInterval", p.MaxInterval, negative)
	reject(p.MaxInterval > 0 && p.MaxInterval < p.Interval, "MaxInterval", p.MaxInterval, "must not be below Interval")
	reject(!isShare(p.Jitter), "Jitter", p.Jitter, notShare)
	reject(p.MaxInterval == 0 && p.Jitter > 0 && p.Jitter <= 1, "Jitter", p.Jitter, "needs MaxInterval")
	reject(p.MaxCalls < 0, "MaxCalls", p.MaxCalls, negative)
	reject(p.MaxCalls > 0 && leadingOnly, "MaxCalls", p.MaxCalls, "needs a trailing edge")
	reject(p.Edges&^(Leading|Trailing) != 0, "Edges", p.Edges, "has unknown bits")
	reject(p.From > FromEnd, "From", p.From, "must be FromStart or FromEnd")

	reject(r.Initial < 0, "Retry.Initial", r.Initial, negative)
	reject(r.Max < 0, "Retry.Max", r.Max, negative)
	reject(r.Max > 0 && r.Max < r.Initial, "Retry.Max", r.Max, "must not be below Retry.Initial")
	reject(r.MaxAttempts < 0, "Retry.MaxAttempts", r.MaxAttempts, negative)
	reject(!isShare(r.Jitter), "Retry.Jitter", r.Jitter, notShare)
	const needsInitial = "needs Retry.Initial"
	reject(retryUnused && r.Max > 0, "Retry.Max", r.Max, needsInitial)
	reject(retryUnused && r.MaxAttempts > 0, "Retry.MaxAttempts", r.MaxAttempts, needsInitial)
	reject(retryUnused && r.Jitter > 0 && r.Jitter <= 1, "Retry.Jitter", r.Jitter, needsInitial)
	reject(retryUnused && r.Eager, "Retry.Eager", r.Eager, needsInitial)
	return problems
}

// isShare reports whether x is from 0 to 1. For NaN, every comparison is false.
func isShare(x float64) bool { return x >= 0 && x <= 1 }

// isLoad reports whether x is at least 0 and below 1.
func isLoad(x float64) bool { return x >= 0 && x < 1 }

// Clamp returns the valid policy that is nearest to p, and p itself if p is valid. Use
// it for values that come from a configuration.
//
// It clears what is negative, unknown or not a number, a MaxLoad of 1 or more, and what
// has no effect beside the other fields. A Jitter above 1 becomes 1. MaxWait rises to
// Quiet, MaxInterval to Interval, and Retry.Max to Retry.Initial, if they are below. A
// MaxWait without Quiet becomes Quiet as well.
func (p Policy) Clamp() Policy {
	p.Interval, p.Burst, p.MaxCalls = max(p.Interval, 0), max(p.Burst, 0), max(p.MaxCalls, 0)
	p.Quiet, p.MaxWait, p.MaxInterval = max(p.Quiet, 0), max(p.MaxWait, 0), max(p.MaxInterval, 0)
	p.Edges &= Leading | Trailing
	if p.From > FromEnd {
		p.From = FromStart
	}
	if p.Edges == Leading {
		p.MaxWait, p.MaxCalls = 0, 0
	}
	if p.MaxWait > 0 && p.Quiet == 0 {
		p.Quiet = p.MaxWait
	}
	p.MaxWait = atLeast(p.Quiet, p.MaxWait)
	if p.Burst > 1 && (p.Interval == 0 || p.From == FromEnd || p.Edges == Trailing && p.Quiet == 0) {
		p.Burst = 0
	}
	if !isLoad(p.MaxLoad) {
		p.MaxLoad = 0
	}
	p.MaxInterval = atLeast(p.Interval, p.MaxInterval)
	p.Jitter = clampShare(p.Jitter)
	if p.MaxInterval == 0 {
		p.Jitter = 0
	}
	p.Retry = p.Retry.clamp()
	return p
}

func (b Backoff) clamp() Backoff {
	if b.Initial <= 0 {
		return Backoff{}
	}
	b.Max, b.MaxAttempts = atLeast(b.Initial, max(b.Max, 0)), max(b.MaxAttempts, 0)
	b.Jitter = clampShare(b.Jitter)
	return b
}

// atLeast raises d to least, unless it is 0, which means no limit.
func atLeast(least, d time.Duration) time.Duration {
	if d == 0 {
		return 0
	}
	return max(least, d)
}

// clampShare returns the share that is nearest to x; 0 for NaN.
func clampShare(x float64) float64 {
	switch {
	case x > 1:
		return 1
	case isShare(x):
		return x
	default:
		return 0
	}
}

// String describes p in words, and leaves out the fields that are zero. Do not parse the
// text: it may change.
func (p Policy) String() string {
	var parts []string
	say := func(set bool, format string, args ...any) {
		if set {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	percent := func(share float64) string { return fmt.Sprintf("%.4g%%", 100*share) }
	r := p.Retry
	say(p.Interval != 0, "at most once per %v", p.Interval)
	say(p.Burst != 0, "burst %d", p.Burst)
	say(p.MaxLoad != 0, "runs take at most %s of the time", percent(p.MaxLoad))
	say(p.Quiet != 0, "after %v of quiet", p.Quiet)
	say(p.MaxWait != 0, "at the latest after %v", p.MaxWait)
	say(p.MaxCalls != 0, "full with %d calls", p.MaxCalls)
	say(p.MaxInterval != 0, "at least every %v", p.MaxInterval)
	say(p.Jitter != 0, "less up to %s at random", percent(p.Jitter))
	say(p.From == FromEnd, "measured from the ends of runs")
	say(p.From > FromEnd, "measured from an unknown point (%d)", p.From)
	say(p.Edges == Leading, "leading edge alone")
	say(p.Edges == Trailing, "trailing edge alone")
	say(p.Edges == Leading|Trailing, "leading and trailing edge")
	say(p.Edges > Leading|Trailing, "unknown edges (%#b)", p.Edges)
	say(r.Initial != 0, "a failed run again after %v", r.Initial)
	say(r.Max != 0, "doubling up to %v", r.Max)
	say(r.MaxAttempts != 0, "at most %d attempts", r.MaxAttempts)
	say(r.Jitter != 0, "delays less up to %s at random", percent(r.Jitter))
	say(r.Eager, "calls do not wait for that")
	if len(parts) == 0 {
		return "no limit"
	}
	return strings.Join(parts, ", ")
}

// burst returns the size of the bucket. No bucket empties that holds so many tokens.
func (p Policy) burst() int32 { return int32(min(max(p.Burst, 1), math.MaxInt32)) }

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

// delay returns the delay after the given number of failures in a row, at least 1.
// random is drawn from [0, 1).
func (b Backoff) delay(failures int, random float64) time.Duration {
	return backoff.Delay(b.Initial, b.Max, b.Jitter, failures, random)
}
