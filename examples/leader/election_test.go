package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A contender takes part in an election until it is stopped.
type contender struct {
	leads  chan struct{} // receives when a lead begins
	ending chan struct{} // receives when the context of a lead has ended
	stop   context.CancelFunc
	result chan error // of the election
}

// contend starts a contender whose leads take hold longer than they may, and then return
// err. They must not overlap: leading counts them.
func contend(t *testing.T, e election, leading *atomic.Int32, hold time.Duration, err error) *contender {
	t.Helper()
	c := &contender{leads: make(chan struct{}, 100), ending: make(chan struct{}, 100), result: make(chan error, 1)}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.result <- e.run(ctx, func(ctx context.Context) error {
			assert.Equal(t, int32(1), leading.Add(1), "contenders that lead")
			defer leading.Add(-1)
			c.leads <- struct{}{}
			<-ctx.Done()
			c.ending <- struct{}{}
			time.Sleep(hold)
			return err
		})
	}()
	t.Cleanup(func() {
		c.stop()
		<-ended
	})
	return c
}

// receive receives from c, but does not wait for ever.
func receive[T any](t *testing.T, c <-chan T, what string) (value T) {
	t.Helper()
	select {
	case value = <-c:
	case <-time.After(time.Minute):
		require.Fail(t, "timeout", "no %s", what)
	}
	return value
}

func TestElection(t *testing.T) {
	elections := map[string]func(t *testing.T) (join func(identity string) election){
		"file": func(t *testing.T) func(string) election {
			requireFlock(t)
			path := filepath.Join(t.TempDir(), "lock")
			return func(string) election { return newFileElection(path) }
		},
		"lease": func(t *testing.T) func(string) election {
			cluster := new(fakeCluster)
			return func(identity string) election { return joinLease(t, cluster, new(atomic.Bool), identity) }
		},
	}
	for name, newElection := range elections {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("hands over after the lead", func(t *testing.T) {
				t.Parallel()
				join := newElection(t)
				var leading atomic.Int32
				old := join("old")
				hold := 200 * time.Millisecond
				if lease, ok := old.(*leaseElection); ok {
					hold = lease.duration + lease.duration/3 // the lease must be renewed meanwhile
				}
				leader := contend(t, old, &leading, hold, nil)
				receive(t, leader.leads, "lead")
				others := []*contender{
					contend(t, join("a"), &leading, 0, nil), contend(t, join("b"), &leading, 0, nil),
				}
				leader.stop()
				receive(t, leader.ending, "end of the lead")
				require.NoError(t, receive(t, leader.result, "end"))
				requireReleased(t, old)
				select {
				case <-others[0].leads:
				case <-others[1].leads:
				case <-time.After(time.Minute):
					require.Fail(t, "timeout", "no successor")
				}
			})
			t.Run("lets a waiting replica go", func(t *testing.T) {
				t.Parallel()
				join := newElection(t)
				var leading atomic.Int32
				leader := contend(t, join("leader"), &leading, 0, nil)
				receive(t, leader.leads, "lead")
				standby := contend(t, join("standby"), &leading, 0, nil)
				time.Sleep(100 * time.Millisecond) // so that it waits by now
				standby.stop()
				require.NoError(t, receive(t, standby.result, "end"))
				assert.Empty(t, standby.leads)
			})
			t.Run("ends without a hand-over if the lead fails", func(t *testing.T) {
				t.Parallel()
				join := newElection(t)
				var leading atomic.Int32
				failed := join("failed")
				broken := errors.New("broken")
				leader := contend(t, failed, &leading, 0, broken)
				receive(t, leader.leads, "lead")
				leader.stop()
				require.ErrorIs(t, receive(t, leader.result, "end"), broken)
				requireHeld(t, failed)
			})
		})
	}
}

// requireHeld requires that the replica has not given up the lead.
func requireHeld(t *testing.T, e election) {
	t.Helper()
	switch e := e.(type) {
	case *leaseElection:
		record, _, err := e.lock.Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, e.lock.Identity(), record.HolderIdentity)
	case *fileElection:
		other := newFileElection(e.path)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		require.NoError(t, other.run(ctx, func(context.Context) error { return errors.New("not locked") }))
		require.NoError(t, e.file.Close())
	}
}

// requireReleased requires that the others need not wait for the end of a lease.
func requireReleased(t *testing.T, e election) {
	t.Helper()
	if e, ok := e.(*leaseElection); ok {
		record, _, err := e.lock.Get(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, e.lock.Identity(), record.HolderIdentity)
	}
}

// A leader without a connection stops leading before its lease runs out.
func TestLeaseElection_Lost(t *testing.T) {
	t.Parallel()
	cluster := new(fakeCluster)
	var leading atomic.Int32
	var cut atomic.Bool
	leader := contend(t, joinLease(t, cluster, &cut, "leader"), &leading, 0, nil)
	receive(t, leader.leads, "lead")
	standby := contend(t, joinLease(t, cluster, new(atomic.Bool), "standby"), &leading, 0, nil)
	cut.Store(true)
	receive(t, leader.ending, "loss of the lead")
	receive(t, standby.leads, "successor")

	// It takes part again when the connection is back.
	cut.Store(false)
	standby.stop()
	require.NoError(t, receive(t, standby.result, "end"))
	receive(t, leader.leads, "second lead")
}

// A lead that begins too late does not begin.
func TestLeaseElection_Stopped(t *testing.T) {
	e := joinLease(t, new(fakeCluster), new(atomic.Bool), "late")
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		var leads, ended atomic.Bool
		go cancel()
		require.NoError(t, e.run(ctx, func(ctx context.Context) error {
			leads.Store(true)
			defer leads.Store(false)
			assert.False(t, ended.Load(), "a lead after the end of the election")
			<-ctx.Done()
			return nil
		}))
		ended.Store(true)
		assert.False(t, leads.Load(), "a lead goes on after the end of the election")
	}
}

func joinLease(t *testing.T, c cluster, cut *atomic.Bool, identity string) *leaseElection {
	t.Helper()
	client, err := c.connect(cut)
	require.NoError(t, err)
	return newLeaseElection(client.CoordinationV1(), "default", leaseName, identity)
}
