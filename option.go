package throttle

import (
	"context"
	"runtime/pprof"
)

// An Option changes what [New], [NewGroup] or [NewCoalescer] builds. Options are made by the With functions;
// of two that set the same thing the later one holds.
type Option func(*extras) *PolicyError

// WithName gives what is built a name, which its errors and log records carry, its
// tasks in an execution trace, and as pprof label "throttle" the goroutines of its
// runs.
func WithName(name string) Option {
	return func(e *extras) *PolicyError {
		e.name = name
		return nil
	}
}

// WithContext makes ctx the parent of every run's context. When ctx ends, what was
// built closes, as by Close: what is pending is dropped. To run it instead, call
// Shutdown before ctx ends.
//
// Until it is closed, ctx keeps it from being garbage collected.
func WithContext(ctx context.Context) Option {
	return func(e *extras) *PolicyError {
		if ctx == nil {
			return &PolicyError{Field: "WithContext", Value: ctx, Reason: mustNotBeNil}
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
// as ended: never concurrently for one Throttler or one key of a [Group], and
// awaited by Shutdown. It may call any method, but must not wait for the Throttler
// with Do, Flush or Shutdown: that would be to wait for itself. Its panics are not
// recovered.
//
// What a [Coalescer] loses because it closes, fn receives from the goroutine that
// closes it, which a run may be active beside.
func WithErrorHandler(fn func(error)) Option {
	return func(e *extras) *PolicyError {
		if fn == nil {
			return &PolicyError{Field: "WithErrorHandler", Value: nil, Reason: mustNotBeNil}
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
			return &PolicyError{Field: "WithObserver", Value: nil, Reason: mustNotBeNil}
		}
		e.observers = append(e.observers, fn)
		return nil
	}
}

// WithTracer makes start receive every run as it starts, in the run's goroutine
// and right before the callback, whose context is the one that start returns: ctx,
// the run's own, or a child of it; nil leaves it as it is. Of the run, what its end
// decides is not yet set. callers are the contexts of the Do calls that the run
// covers, the first 16 of them in order. They are kept until the run starts, and so
// some may have ended.
//
// The end that start returns, if not nil, receives the finished run before the
// observers do, under their rules (see [WithErrorHandler]). start's panics are not
// recovered either, and if it ends its goroutine, the run is over with [ErrGoexit].
// The time that start takes is part of the run. WithTracer may be given several
// times: the traces of one run nest, the last to start is the first to end.
//
// It is for what must be there while the callback runs, such as a span; to look
// at finished runs [WithObserver] will do.
func WithTracer(
	start func(ctx context.Context, run Run, callers []context.Context) (traced context.Context, end func(Run)),
) Option {
	return func(e *extras) *PolicyError {
		if start == nil {
			return &PolicyError{Field: "WithTracer", Value: nil, Reason: mustNotBeNil}
		}
		e.tracers = append(e.tracers, start)
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

// WithMaxConcurrent lets at most n runs of a [Group] be active at once, n at least
// 1. Runs that are due wait for their turn in the order in which they became due.
// A run that waits has not started: calls still join it, and its window is
// counted from when it does start. A callback that waits for other keys' runs keeps
// its turn meanwhile: n of them that do so may wait until their contexts end.
func WithMaxConcurrent(n int) Option {
	return groupOption("WithMaxConcurrent", n, func(e *extras) { e.turns = &turns{free: n} })
}

// WithMaxKeys lets a [Group] hold at most n keys, n at least 1. A call for a new
// key beyond them is refused with [ErrTooManyKeys].
func WithMaxKeys(n int) Option {
	return groupOption("WithMaxKeys", n, func(e *extras) { e.maxKeys = int64(n) })
}

// groupOption returns the option of the given name, which applies to a Group only
// and does set if n is positive.
func groupOption(name string, n int, set func(*extras)) Option {
	return func(e *extras) *PolicyError {
		e.groupOnly = append(e.groupOnly, &PolicyError{Field: name, Value: n, Reason: "applies to a Group only"})
		if n < 1 {
			return &PolicyError{Field: name, Value: n, Reason: mustBePositive}
		}
		set(e)
		return nil
	}
}

// Reasons of a PolicyError.
const (
	mustNotBeNil   = "must not be nil"
	mustBePositive = "must be at least 1"
)

// A kind is what options are for.
type kind uint8

const (
	aThrottler kind = iota
	aCoalescer
	aGroup
)

// extras is what options set, and what only Throttlers with options need, so
// that one without them stays small. Those of a Group share it.
type extras struct {
	name      string
	parent    context.Context // of every run; carries the pprof label
	handler   func(error)     // nil: log
	observers []func(Run)
	tracers   []tracer
	counting  bool
	turns     *turns         // nil: no limit
	maxKeys   int64          // 0: no limit
	groupOnly []*PolicyError // what is wrong with the options if they are not a Group's
	keeper    keeper         // the Group; nil if there is none

	// Guarded by Throttler.mu; of a Group only ended is used, see closedError.
	unwatch  func() bool   // stops watching parent; nil if it is not watched
	ended    error         // why parent ended, once that has closed what watched it
	reported chan struct{} // closed once the handler knows what Close has lost; nil if it need not
}

// A tracer is what WithTracer takes.
type tracer = func(context.Context, Run, []context.Context) (context.Context, func(Run))

// noExtras is shared by all Throttlers without options. It is never written.
//
//nolint:gochecknoglobals // a constant in all but the language
var noExtras = &extras{parent: context.Background()}

// newExtras applies opts to what is of kind k, and returns what is wrong with
// them.
func newExtras(opts []Option, k kind) (*extras, []*PolicyError) {
	if len(opts) == 0 && k == aThrottler {
		return noExtras, nil
	}
	e := &extras{parent: context.Background()}
	var problems []*PolicyError
	for _, opt := range opts {
		problem := &PolicyError{Field: "Option", Value: nil, Reason: mustNotBeNil}
		if opt != nil {
			problem = opt(e)
		}
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	if k != aGroup {
		problems = append(problems, e.groupOnly...)
	}
	e.counting = e.counting || k == aCoalescer
	if e.name != "" {
		e.parent = pprof.WithLabels(e.parent, pprof.Labels("throttle", e.name))
	}
	return e, problems
}

// watch has the end of the parent context call end with its cause. It returns
// what stops that, nil if the parent cannot end.
func (e *extras) watch(end func(cause error)) (unwatch func() bool) {
	if e.parent.Done() == nil {
		return nil
	}
	return context.AfterFunc(e.parent, func() { end(context.Cause(e.parent)) })
}
