package throttle

import (
	"context"
	"runtime/pprof"
)

// An Option changes what [New], [NewGroup], [NewCoalescer] or [NewKeyedCoalescer] builds.
// The With functions make options. If two options set the same thing, the later one wins.
type Option interface {
	apply(c *config) *PolicyError
}

type option func(*config) *PolicyError

func (o option) apply(c *config) *PolicyError { return o(c) }

// WithName sets a name. Errors, log records and the tasks in an execution trace
// carry it, and so do the goroutines of runs, as pprof label "throttle".
func WithName(name string) Option {
	return option(func(c *config) *PolicyError {
		c.name = name
		return nil
	})
}

// WithContext makes ctx the parent of every run's context. When ctx ends, the
// Throttler, Group or Coalescer closes and drops what is pending, as Close does. To
// run what is pending instead, call Shutdown before ctx ends.
//
// Until you close it, ctx keeps it from being garbage collected.
func WithContext(ctx context.Context) Option {
	return option(func(c *config) *PolicyError {
		if ctx == nil {
			return &PolicyError{Field: "WithContext", Value: ctx, Reason: mustNotBeNil}
		}
		c.parent = ctx
		return nil
	})
}

// WithErrorHandler sets a handler for the errors of runs that no Do, Flush, Wait or
// Shutdown waits for, including panics but not RetryIn. In a [Group] fn gets a
// [*KeyError]. Without a handler these errors go to slog.Default() at level Error,
// except for context.Canceled after Close.
//
// fn runs in the run's goroutine, after the callback and before the run counts as
// ended. So for one Throttler, or one key of a [Group], fn is never called
// concurrently, and Shutdown waits for it. fn may call any method, but must not wait
// for its own Throttler with Do, Flush or Shutdown: it would wait for itself. A panic
// in fn is not recovered.
//
// When a [Coalescer] closes, fn gets the values that are lost by that. It then runs
// in the goroutine that closes, perhaps while a run is active.
func WithErrorHandler(fn func(error)) Option {
	return option(func(c *config) *PolicyError {
		if fn == nil {
			return &PolicyError{Field: "WithErrorHandler", Value: nil, Reason: mustNotBeNil}
		}
		c.handler = fn
		return nil
	})
}

// WithObserver adds an observer, which gets a description of every run. You can add
// several; they are called in order, after the error handler and under the same
// rules (see [WithErrorHandler]). If an observer logs Run.Err, add a handler that
// does nothing, or the default handler logs the error too.
func WithObserver(fn func(Run)) Option {
	return option(func(c *config) *PolicyError {
		if fn == nil {
			return &PolicyError{Field: "WithObserver", Value: nil, Reason: mustNotBeNil}
		}
		c.observers = append(c.observers, fn)
		return nil
	})
}

// WithTracer adds a tracer. Use it for what must exist while the callback runs, such
// as a span; to look at finished runs, use [WithObserver].
//
// start is called as a run starts, in the run's goroutine, right before the
// callback. The callback gets the context that start returns: ctx itself, a child of
// it, or nil, which means ctx. ctx is the run's own. run lacks what only its end
// decides. callers are the contexts of the first 16 Do calls that the run covers, in
// order. They are kept until the run starts, so some may have ended.
//
// If end is not nil, it gets the finished run before the observers do, under their
// rules (see [WithErrorHandler]). A panic in start is not recovered either. If start
// ends its goroutine, the run is over with [ErrGoexit]. The time that start takes is
// part of the run. With several tracers the traces of a run nest: the last to start
// is the first to end.
func WithTracer(
	start func(ctx context.Context, run Run, callers []context.Context) (traced context.Context, end func(Run)),
) Option {
	return option(func(c *config) *PolicyError {
		if start == nil {
			return &PolicyError{Field: "WithTracer", Value: nil, Reason: mustNotBeNil}
		}
		c.tracers = append(c.tracers, start)
		return nil
	})
}

// WithCallCount counts every call, for [Stats] and [Run]. A call that finds a run
// pending then costs a compare-and-swap instead of a load; with Policy.Quiet it
// costs the lock.
func WithCallCount() Option {
	return option(func(c *config) *PolicyError {
		c.counting = true
		return nil
	})
}

// WithPaused builds a Throttler, Group or Coalescer that is paused: nothing starts before
// Resume. MaxInterval counts from construction all the same.
func WithPaused() Option {
	return option(func(c *config) *PolicyError {
		c.paused = true
		return nil
	})
}

// WithMaxPending lets at most n calls of a [Coalescer] or [KeyedCoalescer] wait with
// their values, over all keys, n at least 1. Then Call and CallWithin return [ErrFull],
// and Send and Do wait for room. A run makes room when it takes its batch. A batch that
// has failed and is repeated waits again, even if that makes more than n.
func WithMaxPending(n int) Option {
	return limit("WithMaxPending", n, valueKinds, func(c *config) { c.maxPending = n })
}

// WithMaxWeight bounds the batches of a [Coalescer] or [KeyedCoalescer] by the weight of
// their values, for example by their bytes: together they weigh at most limit, at least 1.
// A value that weighs more goes alone. weight is called once for each value, without a
// lock, before its call counts; a negative weight counts as 0. V must be the type of the
// calls' values.
func WithMaxWeight[V any](limit int, weight func(V) int) Option {
	return option(func(c *config) *PolicyError {
		const name = "WithMaxWeight"
		c.inapplicable = append(c.inapplicable, inapplicable{valueKinds, name, limit})
		switch {
		case limit < 1:
			return &PolicyError{Field: name, Value: limit, Reason: mustBePositive}
		case weight == nil:
			return &PolicyError{Field: name, Value: nil, Reason: mustNotBeNil}
		}
		c.maxWeight, c.weight = limit, weight
		return nil
	})
}

// WithMaxConcurrent lets at most n runs of a [Group] or [KeyedCoalescer] be active at
// once, n at least 1.
// Runs that are due wait for a turn, in the order in which they became due. A run
// that waits has not started: calls still join it, and its window counts from its
// actual start.
//
// A callback that waits for other keys' runs keeps its turn meanwhile. If n of them
// do so, they may wait until their contexts end.
func WithMaxConcurrent(n int) Option {
	return limit("WithMaxConcurrent", n, keyedKinds, func(c *config) { c.turns = &turns{free: n} })
}

// WithMaxKeys lets a [Group] or [KeyedCoalescer] hold at most n keys, n at least 1. A call for a further
// new key returns [ErrTooManyKeys].
func WithMaxKeys(n int) Option {
	return limit("WithMaxKeys", n, keyedKinds, func(c *config) { c.maxKeys = int64(n) })
}

// limit returns an option that sets a limit of n for types of these kinds. It calls set
// if n is positive.
func limit(name string, n int, kinds kind, set func(*config)) Option {
	return option(func(c *config) *PolicyError {
		c.inapplicable = append(c.inapplicable, inapplicable{kinds, name, n})
		if n < 1 {
			return &PolicyError{Field: name, Value: n, Reason: mustBePositive}
		}
		set(c)
		return nil
	})
}

// Reasons of a PolicyError.
const (
	mustNotBeNil   = "must not be nil"
	mustBePositive = "must be at least 1"
)

// A kind is a type that options apply to, or a set of them.
type kind uint8

const (
	aThrottler kind = 1 << iota
	aGroup
	aCoalescer
	aKeyedCoalescer

	keyedKinds = aGroup | aKeyedCoalescer
	valueKinds = aCoalescer | aKeyedCoalescer
)

// String names the types.
func (k kind) String() string {
	if k == keyedKinds {
		return "a Group or a KeyedCoalescer"
	}
	return "a Coalescer or a KeyedCoalescer"
}

// An inapplicable is an option that would be a mistake for other kinds.
type inapplicable struct {
	kinds kind
	name  string
	value int
}

// A config is what options set. It does not change once a Throttler, Group or
// Coalescer is built. All keys of a Group share one.
type config struct {
	name      string
	parent    context.Context // of every run; carries the pprof label
	handler   func(error)     // nil: log
	observers []func(Run)
	tracers   []tracer
	counting  bool
	paused    bool  // at construction
	maxKeys   int64 // 0: no limit
	hasValues bool  // the calls carry values

	maxPending int // 0: no limit
	maxWeight  int // 0: no limit
	weight     any // func(V) int; nil if there is no maxWeight

	inapplicable []inapplicable

	// For a Group; nil otherwise.
	owner owner
	turns *turns // nil: no limit
}

// A tracer is the argument of WithTracer.
type tracer = func(context.Context, Run, []context.Context) (context.Context, func(Run))

// defaultConfig is shared by all Throttlers without options.
//
//nolint:gochecknoglobals // never written
var defaultConfig = &config{parent: context.Background()}

// newConfig applies opts, for a type of kind k, and returns the problems with them.
func newConfig(opts []Option, k kind) (*config, []*PolicyError) {
	if len(opts) == 0 && k == aThrottler {
		return defaultConfig, nil
	}
	c := &config{parent: context.Background()}
	var problems []*PolicyError
	for _, opt := range opts {
		problem := &PolicyError{Field: "Option", Value: nil, Reason: mustNotBeNil}
		if opt != nil {
			problem = opt.apply(c)
		}
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	for _, i := range c.inapplicable {
		if i.kinds&k == 0 {
			problems = append(problems, &PolicyError{Field: i.name, Value: i.value, Reason: "applies to " + i.kinds.String() + " only"})
		}
	}
	c.hasValues = k&valueKinds != 0
	c.counting = c.counting || c.hasValues
	if c.name != "" {
		c.parent = pprof.WithLabels(c.parent, pprof.Labels("throttle", c.name))
	}
	return c, problems
}

// watch calls end with the parent context's cause when that ends. It returns a
// function that stops the watch, nil if the parent cannot end.
func (c *config) watch(end func(cause error)) (unwatch func() bool) {
	if c.parent.Done() == nil {
		return nil
	}
	return context.AfterFunc(c.parent, func() { end(context.Cause(c.parent)) })
}
