package throttlequeue_test

import (
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttlequeue"
)

// A controller reconciles an object once it has been quiet for half a second, and at the
// latest five seconds after a change. What is in the namespace of the system is not held.
func ExampleNew() {
	isSystem := func(r reconcile.Request) bool { return strings.HasPrefix(r.Namespace, "kube-") }
	_ = controller.Options{
		NewQueue: throttle.Must(throttlequeue.New[reconcile.Request](
			throttle.Debounce(500*time.Millisecond, 5*time.Second),
			throttlequeue.WithPolicy(isSystem, throttle.Policy{}),
		)),
	}
	// Output:
}
