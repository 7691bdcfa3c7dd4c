//go:build linux

package fleettest

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// In the scenarios of this file, a process has many keys on one engine.

// A herd is a crowd, seen from the test.
type herd struct {
	w      *world
	p      *process
	name   string
	prefix string
	keys   int

	interval time.Duration
}

// crowdSize returns how many keys a crowd has: as many as the environment variable FLEET_KEYS says,
// or else some hundred.
func crowdSize() int {
	if n, err := strconv.Atoi(os.Getenv("FLEET_KEYS")); err == nil {
		return n
	}
	if testing.Short() {
		return 100
	}
	return 300
}

// The settings of crowds: a slow machine needs some time for each key.
const (
	crowdInterval = time.Second
	crowdGuard    = 200 * time.Millisecond
	crowdLease    = 2 * time.Second // how long a grant blocks its key if nobody has heard of it
)

// prefix returns the beginning of the names of a crowd's new keys.
func (w *world) prefix(keys int) string {
	prefix := w.key()
	delete(w.keys, prefix)
	for i := range keys {
		w.keys[keyOf(prefix, i)] = &expectation{interval: crowdInterval}
	}
	return prefix
}

// gather makes a crowd in p, of the first keys with that prefix, with runs without a grant
// when the store cannot be reached.
func (w *world) gather(p *process, prefix string, keys int, change ...func(*options)) *herd {
	w.t.Helper()
	h := &herd{w, p, fmt.Sprintf("crowd %d", len(w.herds)+1), prefix, keys, crowdInterval}
	w.herds = append(w.herds, h)
	o := options{
		Address: w.store.Addr(), Key: prefix, Keys: keys, Interval: crowdInterval, Guard: crowdGuard, Lease: crowdLease, Local: true,
	}
	for _, f := range change {
		f(&o)
	}
	h.interval = o.Interval
	require.Empty(w.t, p.tell(command{Do: actGather, Throttler: h.name, Options: &o}).Text)
	time.Sleep(100 * time.Millisecond) // its poller has seen the store's time
	return h
}

// calling starts to call all keys a number of times. finish waits for that, and returns an
// instant before the last calls.
func (h *herd) calling(times int, pace time.Duration) (finish func() (at int64)) {
	h.w.t.Helper()
	answer := h.p.send(command{Do: actCall, Throttler: h.name, Times: times, Pace: pace})
	return func() int64 {
		h.w.t.Helper()
		return h.p.await(answer).At
	}
}

// report asks what has become of the crowd.
func (h *herd) report() crowdReport {
	h.w.t.Helper()
	e := h.p.tell(command{Do: actStats, Throttler: h.name})
	require.NotNil(h.w.t, e.Crowd, e.Text)
	return *e.Crowd
}

// grantedAgain returns how many of the first keys with that prefix have had their second grant.
func (w *world) grantedAgain(prefix string, keys int) (n int) {
	w.t.Helper()
	grants := make(map[string]int)
	for _, g := range w.store.Grants(w.t) {
		grants[g.Key]++
	}
	for i := range keys {
		if grants[keyOf(prefix, i)] > 1 {
			n++
		}
	}
	return n
}

// awaitServed waits until every key of the crowds has had a run after an instant, in one of
// the crowds' processes, no crowd has pending calls, and all reach the store. It returns their
// reports.
func (w *world) awaitServed(after int64, herds ...*herd) (reports []crowdReport) {
	w.t.Helper()
	var problem string
	served := eventually(func() bool {
		reports, problem = nil, ""
		unserved := make(map[int]bool)
		for i := range herds[0].keys {
			unserved[i] = true
		}
		for _, h := range herds {
			r := h.report()
			reports = append(reports, r)
			for _, run := range r.Runs {
				if run.At >= after {
					delete(unserved, run.Key)
				}
			}
			if r.Pending > 0 {
				problem = fmt.Sprintf("%d keys of %s are pending", r.Pending, h.name)
			}
			if r.Unreachable {
				problem = h.name + " does not reach the store"
			}
		}
		if len(unserved) > 0 {
			problem = fmt.Sprintf("%d keys have not run", len(unserved))
		}
		if problem != "" {
			time.Sleep(100 * time.Millisecond) // a report of thousands of runs takes the crowd's processor, too
		}
		return problem == ""
	})
	require.True(w.t, served, problem)
	w.checkCrowds(reports, herds[0].interval)
	return reports
}

// checkCrowds checks I2 for granted runs, and that the runs of a key without a grant are an
// interval apart in their process.
func (w *world) checkCrowds(reports []crowdReport, interval time.Duration) {
	w.t.Helper()
	apart := (interval - 200*time.Microsecond).Microseconds() // instants are known to a tenth of a millisecond
	granted := make(map[int][]crowdRun)
	for _, r := range reports {
		last := make(map[int]crowdRun)
		for _, run := range r.Runs {
			if before, ok := last[run.Key]; ok && (run.Token == 0 || before.Token == 0) {
				assert.GreaterOrEqual(w.t, run.At-before.At, apart, "runs of one process")
			}
			last[run.Key] = run
			if run.Token != 0 {
				granted[run.Key] = append(granted[run.Key], run)
			}
		}
	}
	early := 0
	for _, runs := range granted {
		slices.SortFunc(runs, func(a, b crowdRun) int { return cmp.Compare(a.Token, b.Token) })
		for i := 1; i < len(runs); i++ {
			if runs[i].At-runs[i-1].At < apart {
				early++
			}
		}
	}
	assert.LessOrEqual(w.t, early, w.paused, "I2: runs must be an interval apart")
}

func testCrowd(w *world) {
	keys := 10 * crowdSize()
	h := w.gather(w.process(), w.prefix(keys), keys)
	called := h.calling(1, 0)()
	r := w.awaitServed(called, h)[0]
	w.t.Logf("%d keys: %+v, errors %v", keys, r.Counts, r.Errors)
	assert.Zero(w.t, r.Counts.LocalRuns, "runs without a grant")
	if r.Counts.Failed == 0 && r.Counts.Late == 0 {
		assert.Len(w.t, r.Runs, keys)
		claims := r.Counts.Served + r.Counts.Granted + r.Counts.Deferred
		assert.LessOrEqual(w.t, float64(claims), 1.1*float64(keys))
	} else {
		w.t.Log("the machine is slow")
	}
}

func testCrowdRestart(w *world) {
	keys := crowdSize()
	prefix := w.prefix(keys)
	first, second := w.gather(w.process(), prefix, keys), w.gather(w.process(), prefix, keys)
	w.awaitServed(first.calling(1, 0)(), first, second)
	finish := []func() int64{first.calling(16, crowdInterval/4), second.calling(16, crowdInterval/4)}
	time.Sleep(crowdInterval)
	w.store.Kill(w.t)
	w.kills++
	time.Sleep(2 * crowdInterval)
	w.store.Start(w.t)
	called := max(finish[0](), finish[1]())
	reports := w.awaitServed(called, first, second)
	before := reports[0].Counts
	assert.Positive(w.t, before.LocalRuns, "runs without a grant")
	// The store is back: now there are none.
	finish = []func() int64{first.calling(4, crowdInterval/4), second.calling(4, crowdInterval/4)}
	called = max(finish[0](), finish[1]())
	reports = w.awaitServed(called, first, second)
	w.t.Logf("%d keys: %+v and %+v", keys, reports[0].Counts, reports[1].Counts)
	if after := reports[0].Counts; after.Failed == before.Failed {
		assert.Equal(w.t, before.LocalRuns, after.LocalRuns, "runs without a grant on a healthy store")
	} else {
		w.t.Log("the machine is slow")
	}
}

func testCrowdRefused(w *world) {
	keys := crowdSize()
	h := w.gather(w.process(), w.prefix(keys), keys)
	w.awaitServed(h.calling(1, 0)(), h)
	w.store.Refuse(w.t, true)
	h.calling(8, crowdInterval/4)()
	r := h.report()
	assert.Zero(w.t, r.Counts.LocalRuns, "runs without a grant")
	assert.Positive(w.t, r.Errors[other], "the store's answer")
	assert.Less(w.t, r.Errors[unavailable], keys/10, "an outage, but for messages that took too long")
	w.store.Refuse(w.t, false)
	r = w.awaitServed(h.calling(1, 0)(), h)[0]
	w.t.Logf("%d keys: %+v, errors %v", keys, r.Counts, r.Errors)
	assert.Zero(w.t, r.Counts.LocalRuns, "runs without a grant")
}

func testOrphans(w *world) {
	w.untilLongEnough(crowdInterval, func(interval time.Duration) bool { return makesOrphans(w, interval) })
}

// makesOrphans kills a process that has called many keys, and waits for the runs of a few that another
// process holds. It reports false if most of these ran again before.
func makesOrphans(w *world, interval time.Duration) bool {
	keys := crowdSize()
	few := keys / 20
	prefix := w.prefix(keys)
	slow := func(o *options) { o.Interval = interval }
	caller := w.gather(w.process(), prefix, keys, slow)
	w.awaitServed(caller.calling(1, 0)(), caller)
	called := caller.calling(1, 0)() // in the window of the first runs
	time.Sleep(interval / 4)         // the store knows of most calls
	w.kill(caller.p)
	if w.grantedAgain(prefix, few) > few/2 {
		return false
	}
	heir := w.gather(w.process(), prefix, few, slow)
	require.True(w.t, eventually(func() bool { return w.grantedAgain(prefix, few) >= few*9/10 }), "held keys of dead callers do not run")
	r := heir.report()
	w.t.Logf("%d of %d keys: %+v, errors %v", few, keys, r.Counts, r.Errors)
	w.awaitServed(max(called, heir.calling(1, 0)()), heir)
	return true
}

func testCrowdStopped(w *world) {
	const interval, lease = 3 * time.Second, time.Second
	keys := 4 * crowdSize()
	prefix := w.prefix(keys)
	slow := func(o *options) { o.Interval, o.Lease = interval, lease }
	stopped, other := w.gather(w.process(), prefix, keys, slow), w.gather(w.process(), prefix, keys, slow)
	finish := []func() int64{stopped.calling(12, interval/4), other.calling(12, interval/4)}
	time.Sleep(interval)
	w.paused = 1 + keys/100 // a callback may be entered just before the pause, and run after it
	stopped.p.stop()
	time.Sleep(3 * lease)
	stopped.p.resume()
	called := max(finish[0](), finish[1]())
	reports := w.awaitServed(called, stopped, other)
	w.t.Logf("%d keys: %+v and %+v", keys, reports[0].Counts, reports[1].Counts)
	assert.Zero(w.t, reports[1].Counts.LocalRuns, "runs without a grant")
}

func testGroup(w *world) {
	const processes, lease = 4, 2 * time.Second
	keys := crowdSize() * processes
	interval := 3*time.Second + time.Duration(keys)*200*time.Microsecond // long enough for all calls to reach the store
	prefix := w.prefix(keys)
	var herds []*herd
	for i := range processes {
		h := w.gather(w.process(), prefix, keys/processes, func(o *options) {
			o.Group, o.First, o.Interval, o.Lease, o.Local = true, i*keys/processes, interval, lease, false
		})
		h.keys = keys // of all processes together
		herds = append(herds, h)
	}
	var heaps []int
	for _, h := range herds {
		heaps = append(heaps, h.report().Heap)
	}
	callAll := func(c command) {
		var answers []<-chan event
		for _, h := range herds {
			c.Throttler = h.name
			answers = append(answers, h.p.send(c))
		}
		for i, answer := range answers {
			require.Empty(w.t, herds[i].p.await(answer).Text)
		}
	}
	callAll(command{Do: actCall, Times: 1})
	w.awaitForgotten(herds)
	callAll(command{Do: actRegister, Times: 2}) // in the window of the first runs, unless the machine is slow
	registered := time.Now()
	w.kill(herds[0].p)
	herds[1].p.stop()
	w.paused = 1 + keys/100 // a callback may be entered just before the pause, and run after it
	require.True(w.t, eventually(func() bool {
		time.Sleep(100 * time.Millisecond)
		return w.grantedAgain(prefix, keys) == keys
	}), "calls that the store knows of have no run")
	w.t.Logf("%d keys: all have run %v after the last call", keys, time.Since(registered).Round(time.Millisecond))
	herds[1].p.resume()
	living := herds[1:]
	for _, h := range living {
		h.calling(1, 0)()
	}
	for i, r := range w.awaitForgotten(living) {
		w.t.Logf("process %d: %+v, %d runs, errors %v, heap %d kB, at first %d kB", i+2, r.Counts, len(r.Runs), r.Errors, r.Heap/1000, heaps[i+1]/1000)
	}
}

// awaitForgotten waits until no Group holds a key, and returns the reports.
func (w *world) awaitForgotten(herds []*herd) (reports []crowdReport) {
	w.t.Helper()
	require.True(w.t, eventually(func() bool {
		reports = nil
		held := 0
		for _, h := range herds {
			r := h.report()
			reports, held = append(reports, r), held+r.Pending
		}
		if held > 0 {
			time.Sleep(100 * time.Millisecond) // a report takes the crowd's processor, too
		}
		return held == 0
	}), "the Groups hold keys for ever")
	return reports
}
