package main

import (
	"errors"
	"fmt"
	"time"
)

// A takeover is the beginning of a lead.
type takeover struct {
	member, before int           // before is -1 for the first
	how            string        // why the lead of before ended, as a kind of event
	after          time.Duration // since then
	waited         int           // calls that the member had at its first lead; 0 later
	covered        int           // calls that the first sync has covered; -1 without a sync
}

// A judge looks at all events in the order of their times.
type judge struct {
	calls, syncs int
	takeovers    []takeover
	wrong        []error

	called         map[int]int // number of calls of each member so far
	leader, active int         // the member that leads, and the one that syncs, or -1
	before         int         // the member that has led last, or -1
	ended          event       // the end of that lead, or the cut that led to it
}

// judgeAll returns an error unless one member led at a time, only the leader synced, no two
// syncs overlapped, and the first sync of each member covered all calls that had waited.
func judgeAll(events []event) (*judge, error) {
	j := &judge{called: make(map[int]int), leader: -1, active: -1, before: -1}
	for _, e := range events {
		j.see(e)
	}
	for _, t := range j.takeovers {
		if t.covered < t.waited {
			j.complain("the first sync of replica %d covered %d calls, but %d had waited", t.member, t.covered, t.waited)
		}
	}
	if len(j.takeovers) < 3 {
		j.complain("the lead began only %d times", len(j.takeovers))
	}
	return j, errors.Join(j.wrong...)
}

func (j *judge) complain(format string, args ...any) {
	j.wrong = append(j.wrong, fmt.Errorf(format, args...))
}

func (j *judge) see(e event) {
	switch e.kind {
	case "call":
		j.calls++
		j.called[e.member]++
	case "lead":
		j.lead(e)
	case "run":
		j.syncs++
		if j.leader != e.member {
			j.complain("replica %d syncs, but does not lead", e.member)
		}
		if j.active != -1 {
			j.complain("a sync of replica %d overlaps one of %d", e.member, j.active)
		}
		j.active = e.member
	case "end":
		j.active = -1
		if n := len(j.takeovers); n > 0 && j.takeovers[n-1].covered == -1 {
			j.takeovers[n-1].covered = e.calls - 1 // without the call of lead
		}
	case "cut":
		j.ended = e
	case "kill", "pause":
		j.end(e)
	}
}

func (j *judge) lead(e event) {
	if j.leader != -1 {
		j.complain("replica %d leads while %d does", e.member, j.leader)
	}
	j.leader = e.member
	t := takeover{
		member: e.member, before: j.before, how: j.ended.kind, after: e.at.Sub(j.ended.at), covered: -1,
		waited: j.called[e.member],
	}
	for _, earlier := range j.takeovers {
		if earlier.member == e.member {
			t.waited = 0 // most are covered, and nobody knows how many
		}
	}
	j.takeovers = append(j.takeovers, t)
}

func (j *judge) end(e event) {
	if e.member == j.active {
		j.active = -1
	}
	if e.member != j.leader {
		return
	}
	if j.ended.kind != "cut" || j.ended.member != e.member {
		j.ended = e
	}
	j.leader, j.before = -1, e.member
}
