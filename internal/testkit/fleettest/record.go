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

// A record holds the events of a scenario.
type record struct {
	mu sync.Mutex // guards the fields below
	// +checklocks:mu
	events []event
	// Closed when the next event comes.
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

// all returns all events, and a channel that is closed when the next one comes.
func (r *record) all() (events []event, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events), r.changed
}

// await waits for an event that matches, and returns the first one.
func (r *record) await(t *testing.T, what string, matches func(event) bool) event {
	t.Helper()
	timeout := time.After(patience())
	for {
		events, changed := r.all()
		if i := slices.IndexFunc(events, matches); i >= 0 {
			return events[i]
		}
		select {
		case <-changed:
		case <-timeout:
			require.FailNow(t, "timed out", "waiting for %s; the events are\n%s", what, list(events))
		}
	}
}

// find returns the events that match.
func (r *record) find(matches func(event) bool) []event {
	events, _ := r.all()
	return slices.DeleteFunc(events, func(e event) bool { return !matches(e) })
}

// A run is a run that a process has reported.
type run struct {
	event // its start

	claim event // the granted claim; zero for a run without a grant
	end   int64 // when the callback returned; 0 if that was not reported
}

// latest returns the instant of the run's start, or the latest instant at which the throttler
// may start it, if that is earlier: a process can be paused between its last look at the
// clock and the callback.
func (r run) latest() int64 {
	if r.claim.Start == 0 {
		return r.At
	}
	return min(r.At, r.claim.Start)
}

// runs returns the runs of key in the order of their starts.
func (r *record) runs(key string) []run {
	type id struct {
		process, throttler string
		token              int64
	}
	events, _ := r.all()
	claims := make(map[id]event)
	var runs []run
	for _, e := range events {
		if e.Key != key {
			continue
		}
		by := id{e.Process, e.Throttler, e.Token}
		switch e.Kind {
		case claimed:
			if e.Token != 0 {
				claims[by] = e
			}
		case started:
			runs = append(runs, run{event: e, claim: claims[by]})
		case ended:
			for i := range slices.Backward(runs) {
				if r := &runs[i]; r.Process == e.Process && r.Throttler == e.Throttler {
					r.end = e.At
					break
				}
			}
		case renewed, reported, answered:
		}
	}
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.At, b.At) })
	return runs
}

// leaseEnd returns until when, at least, the run's lease lasts, as far as its process knew
// from messages that it had sent before an instant.
func (r *record) leaseEnd(of run, before int64) int64 {
	end := int64(0)
	for _, e := range r.find(func(e event) bool {
		return (e.Kind == claimed || e.Kind == renewed) && e.Process == of.Process && e.Throttler == of.Throttler &&
			e.Token == of.Token && e.Sent < before
	}) {
		end = max(end, e.Until)
	}
	return end
}
