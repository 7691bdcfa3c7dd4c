package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the options, and what may be asked of a throttler.

// An Option changes what [New] builds. Of two that set the same thing the later one
// holds.
type Option func(*settings) *throttle.PolicyError

// settings is what New is given beside the engine, and the options of the throttler
// that runs the callback.
type settings struct {
	name     string
	handler  func(error) // nil: log
	parent   context.Context
	guard    time.Duration // 0: by the interval
	lease    time.Duration
	local    bool
	observed []func(throttle.Run)
	traced   []throttle.Option
}

// Defaults and limits of the options.
const (
	defaultLease = 10 * time.Second
	minGuard     = 10 * time.Millisecond
	maxGuard     = time.Second
)

// WithName gives the throttler a name, instead of its key, as [throttle.WithName] does.
func WithName(name string) Option {
	return func(s *settings) *throttle.PolicyError {
		s.name = name
		return nil
	}
}

// WithContext makes ctx the parent of every run's context. When ctx ends, the throttler
// closes, as by Close. To hand over what is pending, call Shutdown before ctx ends.
func WithContext(ctx context.Context) Option {
	return func(s *settings) *throttle.PolicyError {
		if ctx == nil {
			return &throttle.PolicyError{Field: "WithContext", Value: ctx, Reason: mustNotBeNil}
		}
		s.parent = ctx
		return nil
	}
}

// WithErrorHandler makes fn receive the errors of this replica's runs that no Do or
// Shutdown waits for, and what the throttler has to say beside: an [*EngineError], the
// first of a row; a [*MismatchError]; [ErrLate]; [ErrLeaseLost]. Without it they are
// logged to slog.Default() at level Error, but for context.Canceled after Close.
//
// fn may be called concurrently, with no lock held. It may call any method, but a run
// does not end before fn has taken its error. Its panics are not recovered.
func WithErrorHandler(fn func(error)) Option {
	return func(s *settings) *throttle.PolicyError {
		if fn == nil {
			return &throttle.PolicyError{Field: "WithErrorHandler", Value: nil, Reason: mustNotBeNil}
		}
		s.handler = fn
		return nil
	}
}

// WithObserver makes fn receive a description of every run of this replica, as
// [throttle.WithObserver] does. Asked and Due of the run are when it was granted, and
// Attempt counts the failures in a row that other replicas had, too. It may be given
// several times.
func WithObserver(fn func(throttle.Run)) Option {
	return func(s *settings) *throttle.PolicyError {
		if fn == nil {
			return &throttle.PolicyError{Field: "WithObserver", Value: nil, Reason: mustNotBeNil}
		}
		s.observed = append(s.observed, fn)
		return nil
	}
}

// WithTracer makes start receive every run of this replica as it starts, as
// [throttle.WithTracer] does, without the contexts of callers. A run whose grant comes
// too late, which is known only after start, ends with [ErrLate].
func WithTracer(
	start func(ctx context.Context, run throttle.Run, callers []context.Context) (traced context.Context, end func(throttle.Run)),
) Option {
	return func(s *settings) *throttle.PolicyError {
		if start == nil {
			return &throttle.PolicyError{Field: "WithTracer", Value: nil, Reason: mustNotBeNil}
		}
		s.traced = append(s.traced, throttle.WithTracer(start))
		return nil
	}
}

// WithLease sets how long a grant holds that is not prolonged: how long a run that was
// due waits if the process that should have run it dies. While a run goes on its lease
// is prolonged every third of d. More than twice the guard; 10 s by default.
func WithLease(d time.Duration) Option {
	return func(s *settings) *throttle.PolicyError {
		if d < time.Millisecond || d > machine.MaxSpan {
			return &throttle.PolicyError{Field: "WithLease", Value: d, Reason: outOfRange(time.Millisecond)}
		}
		s.lease = d
		return nil
	}
}

// WithGuard sets how long the store's answer to a claim may take for its grant to be
// used, the start of the goroutine of the run included. Between the starts of
// runs lie the policy's interval and the guard at the grants, so that at least the interval
// is left. A tenth of the interval by default, but from 10 ms to 1 s; at least 1 ms.
func WithGuard(d time.Duration) Option {
	return func(s *settings) *throttle.PolicyError {
		if d < time.Millisecond || d > machine.MaxSpan/4 {
			return &throttle.PolicyError{Field: "WithGuard", Value: d, Reason: outOfRange(time.Millisecond)}
		}
		s.guard = d
		return nil
	}
}

// RunLocal lets this replica run by itself while the store cannot be reached: at most
// once per interval, and every other replica that does so too. Such a run has no token.
func RunLocal() Option {
	return func(s *settings) *throttle.PolicyError {
		s.local = true
		return nil
	}
}

// Reasons of a PolicyError.
const (
	mustNotBeNil = "must not be nil"
	notShared    = "does not work across a fleet"
)

func outOfRange(least time.Duration) string {
	return fmt.Sprintf("must be from %v to a hundred years", least)
}

// newSettings applies opts, and returns what is wrong with them.
func newSettings(key string, opts []Option) (*settings, []error) {
	s := &settings{name: key, parent: context.Background(), lease: defaultLease}
	var problems []error
	for _, opt := range opts {
		problem := &throttle.PolicyError{Field: "Option", Value: nil, Reason: mustNotBeNil}
		if opt != nil {
			problem = opt(s)
		}
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	return s, problems
}
