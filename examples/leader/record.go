package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// An event is a line that a replica has printed, or something that was done to it.
type event struct {
	at     time.Time
	member int
	kind   string // as serve prints it, or "cut" or "kill"
	calls  int    // that an "end" covers
}

// A record holds the events of all members.
type record struct {
	news   chan struct{} // has one slot, filled whenever something was recorded
	broken chan struct{} // likewise, when a replica has failed

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	events []event
}

func newRecord() *record {
	return &record{news: make(chan struct{}, 1), broken: make(chan struct{}, 1)}
}

func (r *record) add(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	wake(r.news)
}

// wake fills the slot of a channel.
func wake(slot chan<- struct{}) {
	select {
	case slot <- struct{}{}:
	default: // it is full
	}
}

// end records that a member was killed at that time, but after all its events.
func (r *record) end(member int, at time.Time) {
	for _, e := range r.all() {
		if e.member == member && e.at.After(at) {
			at = e.at
		}
	}
	r.add(event{at: at, member: member, kind: "kill"})
}

// all returns the events in the order of their times. Events of one member stay in the
// order in which it has printed them.
func (r *record) all() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := slices.Clone(r.events)
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	return events
}

// count returns the number of events of a kind of a member.
func (r *record) count(kind string, member int) int {
	n := 0
	for _, e := range r.all() {
		if e.kind == kind && e.member == member {
			n++
		}
	}
	return n
}

// wait waits until reached returns true, a replica fails, or ctx ends.
func (r *record) wait(ctx context.Context, what string, reached func() bool) error {
	for !reached() {
		select {
		case <-r.news:
		case <-r.broken:
			return fmt.Errorf("waiting for %s: a replica has failed", what)
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
	return nil
}
