package throttle

import (
	"errors"
	"time"

	"github.com/throttle-go/throttle/internal/backoff"
)

// A Policy says when runs may start. It is a plain, comparable value. In every field
// zero means "no such limit"; under the zero Policy a call runs at once whenever no
// run is active. Durations are measured on the monotonic clock. A sum that overflows
// means "never".
type Policy struct {
	// Interval is the least time between the starts of two runs. With From set
	// to FromEnd, it is the least time from the end of a run to the start of the
	// next.
	Interval time.Duration

	// Burst is how many runs may start back to back after idling. It is the size
	// of a token bucket that gains a token every Interval. 0 means 1. A Burst
	// above 1 needs an Interval, measured from starts.
	Burst int

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

	// MaxCalls is the number of pending calls that ends a run's wait for Quiet or
	// for a trailing-only edge. The run still waits for Interval. MaxCalls needs
	// Quiet or a trailing-only edge.
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
	const negative = "must not be negative"
	r := p.Retry
	leadingOnly, trailingOnly := p.Edges == Leading, p.Edges == Trailing
	retryUnused := r.Initial == 0

	reject(p.Interval < 0, "Interval", p.Interval, negative)
	reject(p.Burst < 0, "Burst", p.Burst, negative)
	reject(p.Burst > 1 && p.Interval == 0, "Burst", p.Burst, "needs an Interval")
	reject(p.Burst > 1 && p.From == FromEnd, "Burst", p.Burst, "needs an Interval measured FromStart")
	reject(p.Burst > 1 && trailingOnly && p.Quiet == 0, "Burst", p.Burst, "needs a leading edge or Quiet")
	reject(p.Quiet < 0, "Quiet", p.Quiet, negative)
	reject(p.MaxWait < 0, "MaxWait", p.MaxWait, negative)
	reject(p.MaxWait > 0 && p.Quiet == 0, "MaxWait", p.MaxWait, "needs Quiet")
	reject(p.MaxWait > 0 && p.MaxWait < p.Quiet, "MaxWait", p.MaxWait, "must not be below Quiet")
	reject(p.MaxWait > 0 && leadingOnly, "MaxWait", p.MaxWait, "needs a trailing edge")
	reject(p.MaxInterval < 0, "MaxInterval", p.MaxInterval, negative)
	reject(p.MaxInterval > 0 && p.MaxInterval < p.Interval, "MaxInterval", p.MaxInterval, "must not be below Interval")
	reject(p.MaxCalls < 0, "MaxCalls", p.MaxCalls, negative)
	reject(p.MaxCalls > 0 && leadingOnly, "MaxCalls", p.MaxCalls, "needs a trailing edge")
	reject(p.MaxCalls > 0 && p.Quiet == 0 && !trailingOnly, "MaxCalls", p.MaxCalls, "needs Quiet or a trailing edge alone")
	reject(p.Edges&^(Leading|Trailing) != 0, "Edges", p.Edges, "has unknown bits")
	reject(p.From > FromEnd, "From", p.From, "must be FromStart or FromEnd")

	reject(r.Initial < 0, "Retry.Initial", r.Initial, negative)
	reject(r.Max < 0, "Retry.Max", r.Max, negative)
	reject(r.Max > 0 && r.Max < r.Initial, "Retry.Max", r.Max, "must not be below Retry.Initial")
	reject(r.MaxAttempts < 0, "Retry.MaxAttempts", r.MaxAttempts, negative)
	// Written so that it rejects NaN too, for which every comparison is false.
	reject(!(r.Jitter >= 0 && r.Jitter <= 1), "Retry.Jitter", r.Jitter, "must be from 0 to 1")
	const needsInitial = "needs Retry.Initial"
	reject(retryUnused && r.Max > 0, "Retry.Max", r.Max, needsInitial)
	reject(retryUnused && r.MaxAttempts > 0, "Retry.MaxAttempts", r.MaxAttempts, needsInitial)
	reject(retryUnused && r.Jitter > 0 && r.Jitter <= 1, "Retry.Jitter", r.Jitter, needsInitial)
	reject(retryUnused && r.Eager, "Retry.Eager", r.Eager, needsInitial)
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

// delay returns the delay after the given number of failures in a row, at least 1.
// random is drawn from [0, 1).
func (b Backoff) delay(failures int, random float64) time.Duration {
	return backoff.Delay(b.Initial, b.Max, b.Jitter, failures, random)
}
