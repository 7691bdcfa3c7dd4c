package main

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// A leaseElection elects by a Lease in a Kubernetes cluster. It assumes that no process
// stands still for longer than patience. A sync for which an overlap is worse than a delay
// should also hand over Lease.Spec.LeaseTransitions, and its target refuse a lower number
// than it has seen.
type leaseElection struct {
	lock resourcelock.Interface

	// The defaults of Kubernetes are 15, 10 and 2 seconds.
	duration time.Duration // in whole seconds: the others wait so long for a dead leader
	deadline time.Duration // for a renewal, after which the lead is lost
	retry    time.Duration // between two renewals
}

// newLeaseElection returns an election in which the replica has the given identity. No
// other may have it.
func newLeaseElection(client coordination.LeasesGetter, namespace, name, identity string) *leaseElection {
	return &leaseElection{
		lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		duration: 3 * time.Second,
		deadline: 2 * time.Second,
		retry:    200 * time.Millisecond,
	}
}

// patience returns the time from the loss of the lead to the end of the lease. The last
// renewal was so long before the loss as the elector waits before the next, and then tries.
func (e *leaseElection) patience() time.Duration { return e.duration - e.deadline - e.retry }

func (e *leaseElection) run(ctx context.Context, lead func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := e.term(ctx, lead); err != nil {
			return err
		}
	}
	return nil
}

// term takes part until a lead has ended, or ctx.
func (e *leaseElection) term(ctx context.Context, lead func(context.Context) error) (err error) {
	// When ctx ends, the elector still renews the lease until the last sync has ended.
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var once sync.Once // for lead
	end := func() {
		once.Do(func() {}) // waits for lead, or makes it too late for it
		stop()
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          e.lock,
		LeaseDuration: e.duration,
		RenewDeadline: e.deadline,
		RetryPeriod:   e.retry,
		// ReleaseOnCancel would release the lease before the end of the last sync if a
		// renewal fails: the elector releases first, and then tells that the lead is lost.
		ReleaseOnCancel: false,
		Callbacks: leaderelection.LeaderCallbacks{
			// In a goroutine of its own, perhaps only after Run has returned.
			OnStartedLeading: func(lost context.Context) {
				once.Do(func() {
					leading, cancel := context.WithCancel(lost)
					defer cancel()
					defer context.AfterFunc(ctx, cancel)()
					err = lead(leading)
				})
				stop()
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, end)()
	elector.Run(klog.NewContext(electing, klog.Logger{})) // without its log
	end()
	if err == nil {
		e.release(context.WithoutCancel(ctx))
	}
	return err
}

// release lets another replica lead at once. If it fails, the others wait until the lease
// runs out.
func (e *leaseElection) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, e.deadline)
	defer cancel()
	record, _, err := e.lock.Get(ctx)
	if err != nil || record.HolderIdentity != e.lock.Identity() {
		return
	}
	record.HolderIdentity = ""
	record.LeaseDurationSeconds = 1 // 0 is not valid
	_ = e.lock.Update(ctx, *record)
}
