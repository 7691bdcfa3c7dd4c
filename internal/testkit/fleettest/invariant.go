//go:build linux

package fleettest

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// This file checks the invariants after a scenario.

// check ends the scenario, and checks the invariants of which the store's record and the
// processes tell.
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
		w.checkOverlap(expected, granted)
		if expected.most > 0 {
			assert.LessOrEqual(w.t, len(keyRuns), expected.most, "runs of %s", key)
		}
		counted += len(grants[key])
		runs += len(keyRuns)
		local += len(keyRuns) - len(granted)
	}
	w.t.Logf("%s: %d keys, %d replicas in %d processes, %d grants, %d runs, %d of them without a grant, %d early, %d kills, 0 calls lost",
		w.store.Name(), len(w.keys), len(w.replicas), len(w.processes), counted, runs, local, extra, w.kills)
	if w.t.Failed() {
		events, _ := w.record.all()
		w.t.Logf("what happened:\n%s", told(events))
		for _, p := range w.processes {
			if p.isOver() && p.errors.Len() > 0 {
				w.t.Logf("%s wrote:\n%s", p.name, p.errors.String())
			}
		}
	}
}

// checkGrants checks I1 and I3.
func (w *world) checkGrants(key string, expected *expectation, grants []Grant) {
	w.t.Helper()
	early := 0
	for i := 1; i < len(grants); i++ {
		before, g := grants[i-1], grants[i]
		assert.Greater(w.t, g.Token, before.Token, "I3: tokens of %s rise", key)
		if g.At-before.At < expected.interval.Microseconds() {
			early++
		}
	}
	if !expected.moved {
		assert.LessOrEqual(w.t, early, expected.extra, "I1: grants of %s are an interval apart: %v", key, grants)
	}
}

// checkTokens checks that each run has a grant of its own.
func (w *world) checkTokens(key string, grants []Grant, runs []run) {
	w.t.Helper()
	seen := make(map[int64]bool)
	for _, r := range runs {
		assert.False(w.t, seen[r.Token], "grant %d of %s is used once", r.Token, key)
		seen[r.Token] = true
		assert.True(w.t, slices.ContainsFunc(grants, func(g Grant) bool { return g.Token == r.Token }),
			"run %d of %s was granted", r.Token, key)
	}
}

// checkStarts checks I2, and returns how many runs came early.
func (w *world) checkStarts(key string, expected *expectation, runs []run) (early int) {
	w.t.Helper()
	var list []string
	for i := 1; i < len(runs); i++ {
		before, r := runs[i-1], runs[i]
		if r.At-before.At < expected.interval.Microseconds() && !w.wasStopped(r.Process) && !w.wasStopped(before.Process) {
			early++
			list = append(list, fmt.Sprintf("%d after %d by %v", r.Token, before.Token, time.Duration(r.At-before.At)*time.Microsecond))
		}
	}
	assert.LessOrEqual(w.t, early, expected.extra, "I2: runs of %s are an interval apart: %v", key, list)
	return early
}

// checkLocal checks that each replica's runs without a grant are an interval apart.
func (w *world) checkLocal(expected *expectation, runs []run) {
	w.t.Helper()
	last := make(map[string]run)
	for _, r := range runs {
		before, ok := last[r.Throttler]
		if ok && (r.Token == 0 || before.Token == 0) {
			assert.GreaterOrEqual(w.t, r.At-before.At, expected.interval.Microseconds(), "runs of %s are an interval apart", r.Throttler)
		}
		last[r.Throttler] = r
	}
}

// checkOverlap checks I5: runs with a lease do not overlap. One whose process was stopped or
// that has lost its lease may, as may one whose lease the store has forgotten.
func (w *world) checkOverlap(expected *expectation, runs []run) {
	w.t.Helper()
	overlaps := 0
	for i := 1; i < len(runs); i++ {
		before, r := runs[i-1], runs[i]
		end := before.end
		if end == 0 {
			end = w.deathOf(before.Process)
		}
		if !w.wasStopped(before.Process) && before.cause != leaseLost && end > r.At {
			overlaps++
		}
	}
	assert.LessOrEqual(w.t, overlaps, expected.extra, "I5: runs do not overlap")
}

func (w *world) find(name string) *process {
	w.t.Helper()
	i := slices.IndexFunc(w.processes, func(p *process) bool { return p.name == name })
	require.GreaterOrEqual(w.t, i, 0)
	return w.processes[i]
}

func (w *world) wasStopped(name string) bool {
	p := w.find(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

// deathOf returns when the process was killed; later than any run if it was not.
func (w *world) deathOf(name string) int64 {
	p := w.find(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed == 0 {
		return 1<<63 - 1
	}
	return p.killed
}
