//go:build linux

package fleettest

import (
	"cmp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// This file holds what processes have told.

// A record holds the events of a scenario.
type record struct {
	mu sync.Mutex // guards the fields below
	// +checklocks:mu
	events []event
	// Closed when there are more.
	// +checklocks:mu
	changed chan struct{}
}

func newRecord() *record { return &record{changed: make(chan struct{})} }

func (r *record) add(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	close(r.changed)
	r.changed = make(chan struct{})
}

// all returns all events, and what is closed when there are more.
func (r *record) all() (events []event, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events), r.changed
}

// await returns the first event that is as said, once there is one.
func (r *record) await(t *testing.T, what string, is func(event) bool) event {
	t.Helper()
	timeout := time.After(patience())
	for {
		events, changed := r.all()
		if i := slices.IndexFunc(events, is); i >= 0 {
			return events[i]
		}
		select {
		case <-changed:
		case <-timeout:
			require.FailNow(t, "it did not come", "%s; there was\n%s", what, told(events))
		}
	}
}

// find returns the events that are as said.
func (r *record) find(is func(event) bool) []event {
	events, _ := r.all()
	return slices.DeleteFunc(events, func(e event) bool { return !is(e) })
}

// A run is one that a process has told of.
type run struct {
	event         // its start
	end     int64 // when its callback returned; 0 if that was not told
	cause   errorKind
	refused bool
}

// runs returns those of key, in the order of their starts.
func (r *record) runs(key string) []run {
	events, _ := r.all()
	var runs []run
	for _, e := range events {
		switch {
		case e.Key != key:
		case e.Kind == started:
			runs = append(runs, run{event: e})
		case e.Kind == ended:
			for i := range slices.Backward(runs) {
				if r := &runs[i]; r.Process == e.Process && r.Throttler == e.Throttler {
					r.end, r.cause, r.refused = e.At, e.Error, e.Refused
					break
				}
			}
		}
	}
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.At, b.At) })
	return runs
}
