//go:build linux

package fleettest

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// check ends the scenario, and checks the invariants that show in the store's record of grants
// and in the events of the processes.
func (w *world) check() {
	w.t.Helper()
	w.end()
	grants := make(map[string][]Grant)
	for _, g := range w.store.Grants(w.t) {
		grants[g.Key] = append(grants[g.Key], g)
	}
	counted, runs, local, extra := 0, 0, 0, 0
	for key, expected := range w.keys {
		keyRuns := w.record.runs(key)
		granted := slices.DeleteFunc(slices.Clone(keyRuns), func(r run) bool { return r.Token == 0 })
		w.checkGrants(key, expected, grants[key])
		w.checkTokens(key, grants[key], granted)
		extra += w.checkStarts(key, expected, granted)
		w.checkLocal(expected, keyRuns)
		w.checkOverlap(key, expected, granted)
		if expected.most > 0 {
			assert.LessOrEqual(w.t, len(keyRuns), expected.most, "runs of %s", key)
		}
		counted += len(grants[key])
		runs += len(keyRuns)
		local += len(keyRuns) - len(granted)
	}
	w.t.Logf("%s: %d keys, %d replicas in %d processes, %d grants, %d runs, %d of them without a grant, %d early, %d kills, 0 calls lost",
		w.store.Name(), len(w.keys), len(w.replicas), len(w.processes), counted, runs, local, extra, w.kills)
}

// explain logs what has happened if the scenario has failed.
func (w *world) explain() {
	if !w.t.Failed() {
		return
	}
	events, _ := w.record.all()
	w.t.Logf("events:\n%s", list(events))
	for _, p := range w.processes {
		if p.isOver() && p.errors.Len() > 0 {
			w.t.Logf("%s wrote:\n%s", p.name, p.errors.String())
		}
	}
}

// checkGrants checks I1 and I3.
func (w *world) checkGrants(key string, expected *expectation, grants []Grant) {
	w.t.Helper()
	early := 0
	for i := 1; i < len(grants); i++ {
		before, g := grants[i-1], grants[i]
		assert.Greater(w.t, g.Token, before.Token, "I3: the tokens of %s must rise", key)
		if g.At-before.At < expected.interval.Microseconds() {
			early++
		}
	}
	if !expected.moved {
		assert.LessOrEqual(w.t, early, expected.extra, "I1: the grants of %s must be an interval apart: %v", key, grants)
	}
}

// checkTokens checks that each run has a grant of its own.
func (w *world) checkTokens(key string, grants []Grant, runs []run) {
	w.t.Helper()
	seen := make(map[int64]bool)
	for _, r := range runs {
		assert.False(w.t, seen[r.Token], "two runs of %s have grant %d", key, r.Token)
		seen[r.Token] = true
		assert.True(w.t, slices.ContainsFunc(grants, func(g Grant) bool { return g.Token == r.Token }),
			"run %d of %s has no grant", r.Token, key)
	}
}

// checkStarts checks I2, and returns how many runs came early. A run that starts too late,
// because its process was paused, does not make the next one early.
func (w *world) checkStarts(key string, expected *expectation, runs []run) (early int) {
	w.t.Helper()
	var problems []string
	for i := 1; i < len(runs); i++ {
		before, r := runs[i-1], runs[i]
		if distance := r.At - before.latest(); distance < expected.interval.Microseconds() {
			early++
			problems = append(problems, fmt.Sprintf("%d after %d by %v", r.Token, before.Token, time.Duration(distance)*time.Microsecond))
		}
	}
	assert.LessOrEqual(w.t, early, expected.extra, "I2: the runs of %s must be an interval apart: %v", key, problems)
	return early
}

// checkLocal checks that each replica's runs without a grant are an interval apart.
func (w *world) checkLocal(expected *expectation, runs []run) {
	w.t.Helper()
	last := make(map[string]run)
	for _, r := range runs {
		before, ok := last[r.Throttler]
		if ok && (r.Token == 0 || before.Token == 0) {
			assert.GreaterOrEqual(w.t, r.At-before.At, expected.interval.Microseconds(), "the runs of %s must be an interval apart", r.Throttler)
		}
		last[r.Throttler] = r
	}
}

// checkOverlap checks I5: no run starts while another one is active and has its lease. Runs
// alone may overlap: a process that gets no processor for long loses its lease, and its
// callback can go on for any time before that ends its context. So what counts is the lease,
// by the messages that the process sent.
func (w *world) checkOverlap(key string, expected *expectation, runs []run) {
	w.t.Helper()
	var problems []string
	for i, r := range runs {
		for _, before := range runs[:i] {
			end := before.end
			if end == 0 {
				end = w.deathOf(before.Process)
			}
			lease := w.record.leaseEnd(before, r.At)
			if r.At < end && r.At < lease {
				problems = append(problems, fmt.Sprintf("%d starts at %d, during %d, whose lease lasts until %d", r.Token, r.At, before.Token, lease))
			}
		}
	}
	assert.LessOrEqual(w.t, len(problems), expected.extra, "I5: the leases of %s must not overlap: %v", key, problems)
}

// deathOf returns when the test killed the process, or an instant later than any run if it did
// not.
func (w *world) deathOf(name string) int64 {
	i := slices.IndexFunc(w.processes, func(p *process) bool { return p.name == name })
	require.GreaterOrEqual(w.t, i, 0)
	p := w.processes[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed == 0 {
		return 1<<63 - 1
	}
	return p.killed
}
