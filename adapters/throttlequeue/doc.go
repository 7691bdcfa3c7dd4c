// Package throttlequeue is a work queue for Kubernetes controllers that holds each item as
// a policy says: until its object has been quiet for a while, say, or at most once in ten
// seconds. An object that changes a hundred times in a second is then reconciled once.
//
// Give a controller such a queue instead of its own:
//
//	options := controller.Options{
//		Reconciler: reconciler,
//		NewQueue: throttle.Must(throttlequeue.New[reconcile.Request](
//			throttle.Debounce(500*time.Millisecond, 5*time.Second))),
//	}
//
// # What is held
//
// Event handlers add items without a delay or a rate limit. The queue holds these plain adds.
// Each item has a throttle of its own. When the policy permits, the item enters the queue
// with the highest priority that was asked for meanwhile.
//
// All other adds go to the queue at once, and are what they would be without a throttle:
// a reconciler's RequeueAfter, its retries after an error, and the adds of items that
// [WithPolicy] gives the zero [throttle.Policy]. So an item can be held and in the queue at
// the same time, and is then reconciled twice.
//
// The queue behind is controller-runtime's priority queue, or what [WithQueue] makes. It
// never gives an item to two workers at a time: if the item enters while a worker has it, the
// queue gives it out again once that worker is done. [Queue.Len] does not count items that
// are held.
//
// No item is lost. [New] refuses a policy with the leading edge alone, which would drop some.
// The queue keeps a few hundred bytes for each item that is held or within its window, and
// nothing for any other.
//
// # The end
//
// ShutDown and ShutDownWithDrain let all held items enter before the queue shuts down, or
// drop them if [WithDrop] is set. client-go's queues then still give out what they have.
// controller-runtime's priority queue does not: its workers end at once.
//
// # Metrics
//
// The queue behind exports workqueue_depth and its other metrics under the name of the
// controller, as without a throttle. There is one more, with the same labels name and
// controller:
//
//   - workqueue_held_items: how many items are held.
//
// It is in controller-runtime's registry, or the one given with [WithRegisterer].
package throttlequeue
