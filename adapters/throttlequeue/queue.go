package throttlequeue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"

	"github.com/throttle-go/throttle"
)

// A Queue is a work queue that holds items as a policy says. [New] says how to get one. Its
// methods may be called concurrently.
type Queue[T comparable] struct {
	holds    []hold[T]
	behind   priorityqueue.PriorityQueue[T]
	drop     bool
	registry prometheus.Registerer
	held     prometheus.Collector // nil if it is not registered
	released sync.Once
}

var _ priorityqueue.PriorityQueue[int] = (*Queue[int])(nil)

// A hold holds the items that match. Their values are priorities.
type hold[T comparable] struct {
	match func(T) bool
	items *throttle.KeyedCoalescer[T, int, int] // nil holds nothing
}

// New returns what controller.TypedOptions takes as NewQueue: a function that makes a
// queue, which holds items as p says. The zero p holds nothing, which makes sense with
// [WithPolicy]. The error joins a [*throttle.PolicyError] for each problem with p or opts.
// p must have the trailing edge, and neither MaxInterval nor Retry.
//
// You can use the function for several controllers. Each gets a queue of its own, which is
// a [*Queue].
func New[T comparable](p throttle.Policy, opts ...Option) (Constructor[T], error) {
	c, err := newConfig[T](p, opts)
	if err != nil {
		return nil, err
	}
	return c.newQueue, nil
}

func (c config[T]) newQueue(name string, limiter workqueue.TypedRateLimiter[T]) workqueue.TypedRateLimitingInterface[T] {
	q := &Queue[T]{drop: c.drop, registry: c.registry}
	behind := c.construct(name, limiter)
	if withPriorities, ok := behind.(priorityqueue.PriorityQueue[T]); ok {
		q.behind = withPriorities
	} else {
		q.behind = withoutPriorities[T]{behind}
	}
	for _, r := range c.rules {
		h := hold[T]{match: r.match}
		if r.policy != (throttle.Policy{}) {
			h.items = throttle.Must(throttle.NewKeyedCoalescer(
				r.policy, throttle.Merge(func(older, newer int) int { return max(older, newer) }), q.enter,
				throttle.WithName(name), throttle.WithErrorHandler(report)))
		}
		q.holds = append(q.holds, h)
	}
	q.register(name)
	return q
}

// enter is what the throttle of an item calls.
func (q *Queue[T]) enter(_ context.Context, item T, priority int) error {
	q.behind.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, item)
	return nil
}

// report logs the panics of a queue. Items that are dropped at the end are no errors.
func report(err error) {
	if !errors.Is(err, throttle.ErrClosed) {
		slog.Default().Error("throttlequeue: an item has not entered its queue", "error", err)
	}
}

// Add holds item, and lets it enter the queue as the policy says.
func (q *Queue[T]) Add(item T) { q.AddWithOpts(priorityqueue.AddOpts{}, item) }

// AddAfter lets item enter the queue after d, whatever the policy says. If d is 0 or less,
// it does what Add does.
func (q *Queue[T]) AddAfter(item T, d time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: d}, item)
}

// AddRateLimited lets item enter the queue as the rate limiter says, whatever the policy
// says.
func (q *Queue[T]) AddRateLimited(item T) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, item)
}

// AddWithOpts holds items as Add does if o has neither a delay nor a rate limit, and
// otherwise lets them enter as o says. Held items enter with the highest priority asked for.
func (q *Queue[T]) AddWithOpts(o priorityqueue.AddOpts, items ...T) {
	if o.After > 0 || o.RateLimited {
		q.behind.AddWithOpts(o, items...)
		return
	}
	priority := 0
	if o.Priority != nil {
		priority = *o.Priority
	}
	for _, item := range items {
		if held := q.of(item); held != nil {
			_ = held.Call(item, priority) // after ShutDown, adds have no effect
		} else {
			q.behind.AddWithOpts(o, item)
		}
	}
}

// of returns what holds item, or nil if it is not held.
func (q *Queue[T]) of(item T) *throttle.KeyedCoalescer[T, int, int] {
	for _, h := range q.holds {
		if h.match(item) {
			return h.items
		}
	}
	return nil
}

// Held returns how many items are held. It looks at each item that is held or within its
// window.
func (q *Queue[T]) Held() int {
	n := 0
	for _, h := range q.holds {
		if h.items != nil {
			n += h.items.Stats().Batches
		}
	}
	return n
}

// Len returns how many items the queue has that are not held and wait for nothing but Get.
func (q *Queue[T]) Len() int { return q.behind.Len() }

// Get waits for an item and returns it. The caller must call Done with it. shutdown says
// that the caller should end.
func (q *Queue[T]) Get() (item T, shutdown bool) { return q.behind.Get() }

// GetWithPriority is a Get that also returns the item's priority.
func (q *Queue[T]) GetWithPriority() (item T, priority int, shutdown bool) {
	return q.behind.GetWithPriority()
}

// Done says that the caller of Get has finished with item.
func (q *Queue[T]) Done(item T) { q.behind.Done(item) }

// Forget makes the rate limiter forget item. It does not matter to the policy.
func (q *Queue[T]) Forget(item T) { q.behind.Forget(item) }

// NumRequeues returns how often the rate limiter has delayed item since Forget.
func (q *Queue[T]) NumRequeues(item T) int { return q.behind.NumRequeues(item) }

// ShutDown lets held items enter, or drops them if [WithDrop] is set. Then it shuts down the
// queue: further adds have no effect, and Get returns that its callers should end, when the
// queue behind says so.
func (q *Queue[T]) ShutDown() {
	q.release()
	q.behind.ShutDown()
}

// ShutDownWithDrain is a ShutDown that waits until all items are done, if the queue behind
// does.
func (q *Queue[T]) ShutDownWithDrain() {
	q.release()
	q.behind.ShutDownWithDrain()
}

// ShuttingDown reports whether the queue shuts down.
func (q *Queue[T]) ShuttingDown() bool { return q.behind.ShuttingDown() }

// release ends the holding of items. Whoever calls it later waits for the first one.
func (q *Queue[T]) release() { q.released.Do(q.releaseOnce) }

func (q *Queue[T]) releaseOnce() {
	for _, h := range q.holds {
		switch {
		case h.items == nil:
		case q.drop:
			_ = h.items.Close() // always nil
		default:
			_ = h.items.Shutdown(context.Background()) // enter returns soon, and no error
		}
	}
	q.unregister()
}

// newPriorityQueue makes the default queue.
func newPriorityQueue[T comparable](name string, limiter workqueue.TypedRateLimiter[T]) workqueue.TypedRateLimitingInterface[T] {
	return &repeatable[T]{PriorityQueue: priorityqueue.New(name, func(o *priorityqueue.Opts[T]) { o.RateLimiter = limiter })}
}

// A repeatable is a priority queue that can be shut down twice, as client-go's queues can.
// controller-runtime's panics.
type repeatable[T comparable] struct {
	priorityqueue.PriorityQueue[T]

	once sync.Once
}

func (r *repeatable[T]) ShutDown()          { r.once.Do(r.PriorityQueue.ShutDown) }
func (r *repeatable[T]) ShutDownWithDrain() { r.once.Do(r.PriorityQueue.ShutDownWithDrain) }

// withoutPriorities is a queue that knows no priorities.
type withoutPriorities[T comparable] struct {
	workqueue.TypedRateLimitingInterface[T]
}

func (w withoutPriorities[T]) AddWithOpts(o priorityqueue.AddOpts, items ...T) {
	for _, item := range items {
		switch {
		case o.RateLimited:
			w.AddRateLimited(item)
		case o.After > 0:
			w.AddAfter(item, o.After)
		default:
			w.Add(item)
		}
	}
}

func (w withoutPriorities[T]) GetWithPriority() (item T, priority int, shutdown bool) {
	item, shutdown = w.Get()
	return item, 0, shutdown
}
