package throttlequeue

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/throttle-go/throttle"
)

// A Constructor makes the queue of the controller with that name. controller.TypedOptions
// takes one as NewQueue.
type Constructor[T comparable] = func(name string, limiter workqueue.TypedRateLimiter[T]) workqueue.TypedRateLimitingInterface[T]

// An Option configures [New]. The With functions return Options.
type Option func(*options) *throttle.PolicyError

// options is the configuration that Options set. What depends on the type of items is an
// any until New knows it.
type options struct {
	rules    []rule[any]
	queue    any // a Constructor; nil for the default
	drop     bool
	registry prometheus.Registerer
}

// A rule says which policy some items have. Match is a func(T) bool.
type rule[M any] struct {
	match  M
	policy throttle.Policy
}

// WithPolicy gives those items for which match returns true another policy than that of
// [New]. With the zero Policy they are not held at all. If several match functions return
// true for an item, the first one given counts. They are called with every add and should
// return at once. They may be called concurrently, and must always return the same for the
// same item.
func WithPolicy[T comparable](match func(item T) bool, p throttle.Policy) Option {
	return func(o *options) *throttle.PolicyError {
		if match == nil {
			return &throttle.PolicyError{Field: "WithPolicy", Value: match, Reason: mustNotBeNil}
		}
		o.rules = append(o.rules, rule[any]{match, p})
		return nil
	}
}

// WithQueue sets what makes the queue that items enter. The default makes
// controller-runtime's priority queue. A queue that is not a priorityqueue.PriorityQueue,
// such as client-go's, knows no priorities.
func WithQueue[T comparable](newQueue Constructor[T]) Option {
	return func(o *options) *throttle.PolicyError {
		if newQueue == nil {
			return &throttle.PolicyError{Field: "WithQueue", Value: newQueue, Reason: mustNotBeNil}
		}
		o.queue = newQueue
		return nil
	}
}

// WithDrop drops the items that are held when the queue shuts down. Use it if another
// process goes on and will see all objects anyway.
func WithDrop() Option {
	return func(o *options) *throttle.PolicyError {
		o.drop = true
		return nil
	}
}

// WithRegisterer registers the queue's metric with r instead of controller-runtime's
// registry. nil registers it nowhere.
func WithRegisterer(r prometheus.Registerer) Option {
	return func(o *options) *throttle.PolicyError {
		o.registry = r
		return nil
	}
}

const mustNotBeNil = "must not be nil"

// A config is what Options say about queues with items of type T.
type config[T comparable] struct {
	rules     []rule[func(T) bool] // the last one is that of all other items
	construct Constructor[T]
	drop      bool
	registry  prometheus.Registerer
}

// newConfig applies opts. Its error joins all problems.
func newConfig[T comparable](p throttle.Policy, opts []Option) (config[T], error) {
	o := options{queue: newPriorityQueue[T], registry: metrics.Registry}
	var problems []error
	for _, opt := range opts {
		problem := &throttle.PolicyError{Field: "Option", Value: nil, Reason: mustNotBeNil}
		if opt != nil {
			problem = opt(&o)
		}
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	c := config[T]{drop: o.drop, registry: o.registry}
	construct, ok := o.queue.(Constructor[T])
	if !ok {
		problems = append(problems, wrongItems("WithQueue", o.queue))
	}
	c.construct = construct
	for _, r := range o.rules {
		match, ok := r.match.(func(T) bool)
		if !ok {
			problems = append(problems, wrongItems("WithPolicy", r.match))
		}
		c.rules = append(c.rules, rule[func(T) bool]{match, r.policy})
	}
	c.rules = append(c.rules, rule[func(T) bool]{func(T) bool { return true }, p})
	for _, r := range c.rules {
		problems = append(problems, check(r.policy))
	}
	return c, errors.Join(problems...)
}

func wrongItems(field string, value any) error {
	return &throttle.PolicyError{Field: field, Value: value, Reason: "is for items of another type"}
}

// check returns what is wrong with a policy for items.
func check(p throttle.Policy) error {
	problem := p.Validate()
	if p.Edges == throttle.Leading {
		problem = errors.Join(problem, &throttle.PolicyError{
			Field: "Edges", Value: p.Edges, Reason: "must include Trailing, because items would be lost",
		})
	}
	if p.MaxInterval != 0 {
		problem = errors.Join(problem, &throttle.PolicyError{
			Field: "MaxInterval", Value: p.MaxInterval, Reason: "must be 0, because only adds make an item enter",
		})
	}
	if p.Retry != (throttle.Backoff{}) {
		problem = errors.Join(problem, &throttle.PolicyError{
			Field: "Retry", Value: p.Retry, Reason: "must be zero, because an item always enters",
		})
	}
	return problem
}
