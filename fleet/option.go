package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/machine"
)

// An Option changes what [New] builds. If two options set the same thing, the later one
// wins.
type Option func(*config) *throttle.PolicyError

// A config is what options set. It does not change once New has made it.
type config struct {
	name    string
	handler func(error)     // nil: log
	parent  context.Context // of every run
	guard   time.Duration   // 0: derived from the interval
	lease   time.Duration
	slack   time.Duration // 0: derived from Quiet
	local   bool          // RunLocal

	maxConcurrent, maxKeys int // of a Group; 0 means no limit

	observers []func(throttle.Run)
	tracers   []tracer
}

// A tracer is the argument of WithTracer.
type tracer = func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run))

// Defaults and limits of the options.
const (
	defaultLease = 10 * time.Second
	minGuard     = 10 * time.Millisecond
	maxGuard     = time.Second
)

// WithName sets the throttler's name, as [throttle.WithName] does. By default the name is
// the key.
func WithName(name string) Option {
	return func(c *config) *throttle.PolicyError {
		c.name = name
		return nil
	}
}

// WithContext makes ctx the parent of every run's context. When ctx ends, the throttler
// closes as if by Close. To hand pending calls over to other replicas, call Shutdown before
// ctx ends.
func WithContext(ctx context.Context) Option {
	return func(c *config) *throttle.PolicyError {
		if ctx == nil {
			return &throttle.PolicyError{Field: "WithContext", Value: ctx, Reason: mustNotBeNil}
		}
		c.parent = ctx
		return nil
	}
}

// WithErrorHandler makes fn receive the errors of this replica's runs that no Do or
// Shutdown waits for, and the throttler's own reports: an [*EngineError], the first in a
// row; a [*MismatchError]; [ErrLate]; [ErrLeaseLost]. Without this option they are logged to
// slog.Default() at level Error, except for context.Canceled after Close.
//
// fn may be called concurrently, and no lock is held. It may call any method, but a run
// does not end before fn has handled its error. Panics of fn are not recovered.
func WithErrorHandler(fn func(error)) Option {
	return func(c *config) *throttle.PolicyError {
		if fn == nil {
			return &throttle.PolicyError{Field: "WithErrorHandler", Value: nil, Reason: mustNotBeNil}
		}
		c.handler = fn
		return nil
	}
}

// WithObserver makes fn receive a description of every run of this replica, as
// [throttle.WithObserver] does. The run's Asked and Due are the time of its grant. Its
// Attempt also counts failures in a row of other replicas, and its Retry is the earliest
// time at which some replica will repeat it. You may give WithObserver several times.
func WithObserver(fn func(throttle.Run)) Option {
	return func(c *config) *throttle.PolicyError {
		if fn == nil {
			return &throttle.PolicyError{Field: "WithObserver", Value: nil, Reason: mustNotBeNil}
		}
		c.observers = append(c.observers, fn)
		return nil
	}
}

// WithTracer makes start receive every run of this replica as it starts, as
// [throttle.WithTracer] does, but without the callers' contexts. If the grant turns out to
// be too late after start has returned, the run ends with [ErrLate].
func WithTracer(
	start func(ctx context.Context, run throttle.Run, callers []context.Context) (traced context.Context, end func(throttle.Run)),
) Option {
	return func(c *config) *throttle.PolicyError {
		if start == nil {
			return &throttle.PolicyError{Field: "WithTracer", Value: nil, Reason: mustNotBeNil}
		}
		c.tracers = append(c.tracers, start)
		return nil
	}
}

// WithLease sets how long a grant holds unless the replica renews it: if the process that
// holds it dies, the next run waits that long. While a run is active, the replica renews the
// lease every d/3. d must be more than twice the guard, and at most 100 years. The default is
// 10 s.
func WithLease(d time.Duration) Option {
	return func(c *config) *throttle.PolicyError {
		return set(&c.lease, "WithLease", d, machine.MaxSpan)
	}
}

// WithGuard sets how long it may take from sending a claim to entering the callback. A grant
// that takes longer is not used. Grants are the policy's interval plus the guard apart, so
// that the starts of runs are at least the interval apart. d must be from 1 ms to 25 years.
// The default is a tenth of Interval or of Quiet, whichever is longer, but at least 10 ms and
// at most 1 s.
func WithGuard(d time.Duration) Option {
	return func(c *config) *throttle.PolicyError {
		return set(&c.guard, "WithGuard", d, machine.MaxSpan/4)
	}
}

// WithSlack sets how often a replica tells the store of further calls while a policy with Quiet
// holds a run back: at most once per d, however many calls there are. In return the run may come
// up to d later: at least Quiet and at most Quiet plus d after the last call, apart from the time
// that messages take. If a replica dies, the calls that it has not told the store of are covered
// all the same, but no longer hold the run back. d must be from 1 ms to 25 years. The default is a
// quarter of Quiet. Without Quiet this option has no effect.
func WithSlack(d time.Duration) Option {
	return func(c *config) *throttle.PolicyError {
		return set(&c.slack, "WithSlack", d, machine.MaxSpan/4)
	}
}

// RunLocal lets this replica run on its own while the store cannot be reached, at most once
// per interval. Every replica with this option does so, independently of the others. Such a
// run has no token.
//
// A store that answers with an error can be reached, and so can one that is slow to answer
// one message while it answers others: then nobody runs on its own.
func RunLocal() Option {
	return func(c *config) *throttle.PolicyError {
		c.local = true
		return nil
	}
}

// WithMaxConcurrent lets at most n runs of a [Group] be active at once in this process, n at
// least 1. A key takes its place before it asks the store for a run. While a process has no
// place, others may run its keys. So the fleet as a whole has at most as many runs at once as
// the limits of its processes add up to. Without this option there is no limit.
func WithMaxConcurrent(n int) Option {
	return func(c *config) *throttle.PolicyError {
		c.maxConcurrent = n
		return atLeastOne("WithMaxConcurrent", n)
	}
}

// WithMaxKeys lets a [Group] hold at most n keys in this process, n at least 1. A call for a
// further key fails with [throttle.ErrTooManyKeys], and the Group takes over no more keys of
// others. Without this option there is no limit.
func WithMaxKeys(n int) Option {
	return func(c *config) *throttle.PolicyError {
		c.maxKeys = n
		return atLeastOne("WithMaxKeys", n)
	}
}

func atLeastOne(field string, n int) *throttle.PolicyError {
	if n < 1 {
		return &throttle.PolicyError{Field: field, Value: n, Reason: "must be at least 1"}
	}
	return nil
}

// Reasons of a PolicyError.
const (
	mustNotBeNil = "must not be nil"
	notShared    = "does not work across a fleet"
)

// set sets a duration of a config to d, the argument of the option field. It returns an error instead
// if d is shorter than a millisecond or longer than most, which is a number of whole years.
func set(duration *time.Duration, field string, d, most time.Duration) *throttle.PolicyError {
	if d < time.Millisecond || d > most {
		const year = 365 * 24 * time.Hour
		return &throttle.PolicyError{Field: field, Value: d, Reason: fmt.Sprintf("must be from 1ms to %d years", most/year)}
	}
	*duration = d
	return nil
}

// named returns err with the throttler's name in its text.
func (c *config) named(err error) error { return &namedError{c.name, err} }

// newConfig applies opts, and returns everything that is wrong with them.
func newConfig(opts []Option, name string) (*config, []error) {
	c := &config{name: name, parent: context.Background(), lease: defaultLease}
	var problems []error
	for _, opt := range opts {
		problem := &throttle.PolicyError{Field: "Option", Value: nil, Reason: mustNotBeNil}
		if opt != nil {
			problem = opt(c)
		}
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	return c, problems
}
