package throttle

import (
	"errors"
	"time"

	"github.com/throttle-go/throttle/internal/backoff"
)

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

const (
	open     phase = iota
	draining       // Shutdown has begun: no new call, no retry and no periodic run
	closed         // nothing starts any more
)

const (
	heldByNothing  holder = iota
	heldByBackoff         // Policy.Retry, which can let calls pass or be taken away
	heldByCallback        // RetryIn
)
