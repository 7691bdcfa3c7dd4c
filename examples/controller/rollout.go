package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const objects = 50

// A rollout changes objects, and records their reconciliations.
type rollout struct {
	cluster *cluster
	changes int

	mu sync.Mutex // guards the fields below
	// +checklocks:mu
	changed map[string]time.Time // the first change that no reconciliation has seen
	// +checklocks:mu
	seen map[string]string // resource versions
	// +checklocks:mu
	latest map[string]string // resource versions
	// +checklocks:mu
	reconciled int
	// +checklocks:mu
	longest time.Duration // from a change until a reconciliation that sees it
}

// rollOut changes objects for the duration, with a controller that has the queue, and waits
// until all changes have been seen.
func rollOut(ctx context.Context, duration time.Duration, queue queueOf) (*rollout, error) {
	r := &rollout{
		cluster: newCluster(), changed: make(map[string]time.Time),
		seen: make(map[string]string), latest: make(map[string]string),
	}
	m, err := r.cluster.manager()
	if err != nil {
		return nil, err
	}
	if err := addController(m, reconcile.Func(r.reconcile), queue); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- m.Start(running) }()
	select {
	case <-r.cluster.informer.watched:
	case err := <-ended:
		return nil, errors.Join(err, ctx.Err())
	}
	err = errors.Join(r.change(ctx, duration), r.settle(ctx))
	stop()
	return r, errors.Join(err, <-ended)
}

// change makes the objects, and changes one after the other in bursts.
func (r *rollout) change(ctx context.Context, duration time.Duration) error {
	all := make([]*corev1.ConfigMap, objects)
	for i := range all {
		var err error
		if all[i], err = r.cluster.create(ctx, fmt.Sprintf("object-%d", i)); err != nil {
			return err
		}
		r.hasChanged(all[i])
	}
	r.changes = objects
	for end := time.Now().Add(duration); time.Now().Before(end) && ctx.Err() == nil; {
		object := all[rand.IntN(objects)]
		for range 1 + rand.IntN(20) {
			r.willChange(object)
			if err := r.cluster.change(ctx, object); err != nil {
				return err
			}
			r.hasChanged(object)
			time.Sleep(rand.N(2 * time.Millisecond))
		}
	}
	return ctx.Err()
}

func (r *rollout) willChange(object *corev1.ConfigMap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	if _, ok := r.changed[object.Name]; !ok {
		r.changed[object.Name] = time.Now()
	}
}

func (r *rollout) hasChanged(object *corev1.ConfigMap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest[object.Name] = object.ResourceVersion
}

// settle waits until the last version of each object has been seen.
func (r *rollout) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	for !r.settled() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the last change of an object was not reconciled: %w", ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (r *rollout) settled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, version := range r.latest {
		if r.seen[name] != version {
			return false
		}
	}
	return true
}

// reconcile is the controller's work: here it only looks at the object.
func (r *rollout) reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var object corev1.ConfigMap
	begun := time.Now()
	if err := r.cluster.client.Get(ctx, request.NamespacedName, &object); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reconciled++
	r.seen[request.Name] = object.ResourceVersion
	if since, ok := r.changed[request.Name]; ok && since.Before(begun) {
		r.longest = max(r.longest, begun.Sub(since))
		delete(r.changed, request.Name)
	}
	return reconcile.Result{}, nil
}

func (r *rollout) print(w io.Writer, queue string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(w, "%-16s  %7d  %10d  %12v\n", queue, r.changes, r.reconciled, r.longest.Round(100*time.Microsecond))
}

// check returns an error if an object has waited for too long.
func (r *rollout) check(atMost time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.longest > atMost {
		return fmt.Errorf("an object has waited for %v, and at most %v is allowed", r.longest, atMost)
	}
	return nil
}
