package throttle

import (
	"context"
	"runtime/pprof"
)

// This file holds the options of New, and the values they set.

// An Option changes what [New] builds. Options are made by the With functions;
// of two that set the same thing the later one holds.
type Option func(*extras) *PolicyError

// WithName gives the Throttler a name, which its errors and log records carry,
// and as pprof label "throttle" the goroutines of its runs.
func WithName(name string) Option {
	return func(e *extras) *PolicyError {
		e.name = name
		return nil
	}
}

// WithContext makes ctx the parent of every run's context. When ctx ends the
// Throttler closes, as by Close: what is pending is dropped. To run it instead,
// call Shutdown before ctx ends.
//
// Until the Throttler is closed, ctx keeps it from being garbage collected.
func WithContext(ctx context.Context) Option {
	return func(e *extras) *PolicyError {
		if ctx == nil {
			return &PolicyError{Field: "WithContext", Value: ctx, Reason: "must not be nil"}
		}
		e.parent = ctx
		return nil
	}
}

// WithErrorHandler makes fn receive the errors of runs that no Do, Flush or
// Shutdown waits for, RetryIn's and panics included. Without it they are logged
// to slog.Default() at level Error, but for context.Canceled after Close.
//
// fn runs in the run's goroutine, after the callback and before the run counts
// as ended: never concurrently for one Throttler, and awaited by Shutdown. It
// may call any method, but must not wait for the Throttler with Do, Flush or
// Shutdown: that would be to wait for itself. Its panics are not recovered.
func WithErrorHandler(fn func(error)) Option {
	return func(e *extras) *PolicyError {
		if fn == nil {
			return &PolicyError{Field: "WithErrorHandler", Value: nil, Reason: "must not be nil"}
		}
		e.handler = fn
		return nil
	}
}

// WithObserver makes fn receive a description of every run. It may be given
// several times; the observers are called in order, after the error handler
// and under the same rules (see [WithErrorHandler]). An observer that logs
// Run.Err wants a handler beside it that does nothing, or the default one logs
// the error too.
func WithObserver(fn func(Run)) Option {
	return func(e *extras) *PolicyError {
		if fn == nil {
			return &PolicyError{Field: "WithObserver", Value: nil, Reason: "must not be nil"}
		}
		e.observers = append(e.observers, fn)
		return nil
	}
}

// WithCallCount counts every call, for [Stats] and [Run]. A call that finds a
// run pending then costs a compare-and-swap instead of a load, and with
// Policy.Quiet the lock.
func WithCallCount() Option {
	return func(e *extras) *PolicyError {
		e.counting = true
		return nil
	}
}

// extras is what options set, and what only Throttlers with options need, so
// that one without them stays small.
type extras struct {
	name      string
	parent    context.Context // of every run; carries the pprof label
	handler   func(error)     // nil: log
	observers []func(Run)
	counting  bool

	// Guarded by Throttler.mu.
	unwatch func() bool // stops watching parent; nil if it is not watched
	ended   error       // why parent ended, once that has closed the Throttler
}

// noExtras is shared by all Throttlers without options. It is never written.
//
//nolint:gochecknoglobals // a constant in all but the language
var noExtras = &extras{parent: context.Background()}

// newExtras applies opts, and returns what is wrong with them.
func newExtras(opts []Option) (*extras, []*PolicyError) {
	if len(opts) == 0 {
		return noExtras, nil
	}
	e := &extras{parent: context.Background()}
	var problems []*PolicyError
	for _, opt := range opts {
		problem := &PolicyError{Field: "Option", Value: nil, Reason: "must not be nil"}
		if opt != nil {
			problem = opt(e)
		}
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	if e.name != "" {
		e.parent = pprof.WithLabels(e.parent, pprof.Labels("throttle", e.name))
	}
	return e, problems
}
