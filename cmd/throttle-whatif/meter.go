package main

import (
	"slices"
	"time"

	"github.com/throttle-go/throttle"
)

// A result is what a policy makes of a scenario.
type result struct {
	policy  throttle.Policy
	runs    int
	failed  int // of these
	dropped int // calls
	running time.Duration
	p50     time.Duration // of the waits of calls
	p99     time.Duration
	longest time.Duration
	stale   time.Duration // in which a call was not reflected
	settled time.Duration // when the last run ends that covers a call, or repeats another one
	front   bool          // no other policy is better
}

// A meter measures the runs of one policy.
type meter struct {
	scenario scenario
	result   result
	waits    []time.Duration // of calls[:len(waits)], which a run has followed

	reflected int           // number of calls that a successful run has followed
	fresh     time.Duration // end of the last run that reflected calls: nothing before it is stale any more
}

// measure returns what p makes of s. It needs room for the waits, and returns it for the next
// call.
func (s scenario) measure(p throttle.Policy, room []time.Duration) (result, []time.Duration) {
	m := meter{scenario: s, result: result{policy: p}, waits: room[:0]}
	for run := range s.simulate(p, func(time.Duration) { m.result.dropped++ }) {
		m.add(run)
	}
	m.finish()
	return m.result, m.waits
}

// add measures the next run.
func (m *meter) add(run throttle.SimulatedRun) {
	end := min(run.Ended, m.scenario.end)
	m.result.runs++
	m.result.running += end - run.Started

	if run.Calls > 0 || run.Cause == throttle.CauseRetry {
		m.result.settled = end
	}
	made := m.made(run)
	for _, call := range m.scenario.calls[len(m.waits):made] {
		m.waits = append(m.waits, run.Started-call)
	}
	if run.Err != nil {
		m.result.failed++
	} else if made > m.reflected {
		m.addStale(end)
		m.reflected, m.fresh = made, end
	}
}

// made returns the number of calls that were made before run started.
//
// Its instant is not enough to tell: a call at the same instant comes before the run if it
// starts the run, and after it if the run was due anyway. So a call that run covers comes
// before, and any other call at that instant after it.
func (m *meter) made(run throttle.SimulatedRun) int {
	if run.Calls > 0 {
		return run.First + run.Calls
	}
	made := len(m.waits)
	for made < len(m.scenario.calls) && m.scenario.calls[made] < run.Started {
		made++ // a dropped call
	}
	return made
}

// addStale adds the time until end in which the oldest call that is not reflected was made.
func (m *meter) addStale(end time.Duration) {
	since := max(m.scenario.calls[m.reflected], m.fresh)
	m.result.stale += max(end-since, 0)
}

// finish adds what is still open at the end of the watch, and sums up.
func (m *meter) finish() {
	end := m.scenario.end
	for _, call := range m.scenario.calls[len(m.waits):] {
		m.waits = append(m.waits, end-call)
	}
	if m.reflected < len(m.scenario.calls) {
		m.addStale(end)
	}
	slices.Sort(m.waits)
	m.result.p50 = percentile(m.waits, 50)
	m.result.p99 = percentile(m.waits, 99)
	m.result.longest = percentile(m.waits, 100)
}

// percentile returns the smallest of the sorted durations that at least p per cent of them
// do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}
