package main

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttlequeue"
)

// A queueOf makes the work queue of a controller.
type queueOf = throttlequeue.Constructor[reconcile.Request]

// newQueue returns what makes a queue that holds an object until it has been quiet, but no
// longer than atMost.
func newQueue(quiet, atMost time.Duration) (queueOf, error) {
	return throttlequeue.New[reconcile.Request](throttle.Debounce(quiet, atMost))
}

// addController adds a controller of ConfigMaps to a manager. A nil queue leaves the
// controller its own.
func addController(m ctrl.Manager, r reconcile.Reconciler, queue queueOf) error {
	return ctrl.NewControllerManagedBy(m).
		For(&corev1.ConfigMap{}).
		WithOptions(controller.Options{NewQueue: queue, MaxConcurrentReconciles: 2}).
		Complete(r)
}
