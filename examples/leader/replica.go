package main

import (
	"context"
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
)

// An election makes one replica the leader.
type election interface {
	// run takes part until ctx ends. Whenever this replica is the leader, run calls lead,
	// with a context that ends when ctx ends or the lead is lost. No other replica leads
	// before lead has returned, if it returns within patience after that end. If lead
	// fails, run returns its error and does not hand over the lead: the process must end.
	run(ctx context.Context, lead func(ctx context.Context) error) error

	patience() time.Duration
}

// A replica takes calls all the time, but syncs only while it leads.
type replica struct {
	election election
	changed  func(leads bool)
	syncs    *throttle.Throttler
}

// newReplica returns a replica that calls sync at most once per interval. It calls changed
// before it syncs as the leader, and after the last sync.
func newReplica(e election, interval time.Duration, sync func(context.Context) error, changed func(leads bool),
	opts ...throttle.Option,
) (*replica, error) {
	bounded := func(ctx context.Context) error {
		// If the lead is lost meanwhile, the sync must end before another replica leads.
		ctx, cancel := context.WithTimeout(ctx, e.patience())
		defer cancel()
		return sync(ctx)
	}
	policy := throttle.Policy{Interval: interval, Retry: throttle.Backoff{Initial: interval, Max: time.Minute}}
	syncs, err := throttle.New(policy, bounded, append([]throttle.Option{throttle.WithPaused()}, opts...)...)
	return &replica{election: e, changed: changed, syncs: syncs}, err
}

// run takes part in the election until ctx ends. If it fails, end the process: a sync may
// still be active while another replica leads.
func (r *replica) run(ctx context.Context) error {
	err := r.election.run(ctx, r.lead)
	r.syncs.Close() // drops what is pending: the next leader has had the same calls
	return err
}

// lead syncs until ctx ends. Once it has returned nil, no sync is active.
func (r *replica) lead(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil // lost already; Resume would start a sync
	}
	r.changed(true)
	r.syncs.Call() // the leader before may have died during a sync
	r.syncs.Resume()
	<-ctx.Done()

	r.syncs.Pause()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.election.patience())
	defer cancel()
	// The error of a sync that has ended does not matter here: the sync is pending again.
	if err := r.syncs.Wait(grace); err != nil && grace.Err() != nil {
		return fmt.Errorf("a sync goes on after the end of the lead: %w", err)
	}
	r.changed(false)
	return nil
}
