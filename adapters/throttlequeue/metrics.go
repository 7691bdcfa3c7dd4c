package throttlequeue

import "github.com/prometheus/client_golang/prometheus"

// register registers the metric of held items. If a queue of the same name has done so
// already, that one stays.
func (q *Queue[T]) register(name string) {
	if q.registry == nil {
		return
	}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Subsystem:   "workqueue",
		Name:        "held_items",
		Help:        "Items that the policy holds, before they enter the work queue.",
		ConstLabels: prometheus.Labels{"name": name, "controller": name},
	}, func() float64 { return float64(q.Held()) })
	if q.registry.Register(held) == nil {
		q.held = held
	}
}

// unregister takes the metric back, so that a new queue can have the name.
func (q *Queue[T]) unregister() {
	if q.held != nil {
		q.registry.Unregister(q.held)
	}
}
