package throttle_test

// The race tests, here and in the files race_*_test.go, run in real time, for the race
// detector. Everything that can happen at once happens at once. They compare instants
// and sums with each other, and never how long something takes with how long it should
// take, so they pass on a machine of any speed.

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
)

// rounds returns how many rounds a race test plays: short with -short, which is a few
// times what it takes to see the faults that the test is for, and five times that
// without.
func rounds(short int) int {
	if testing.Short() {
		return short
	}
	return 5 * short
}

// playRounds plays as many rounds, or fewer if one of them fails.
func playRounds(t *testing.T, count int, round func(t *testing.T)) {
	t.Helper()
	for range count {
		round(t)
		if t.Failed() {
			return
		}
	}
}

// A handover is what one caller hands over to the callback: numbers that grow.
type handover struct {
	newest   atomic.Uint64 // stored before a call
	returned atomic.Uint64 // whose call has returned
	seen     atomic.Uint64 // read by a run
	_        [64]byte      // keeps callers off each other's cache lines
}

// read does what a run does.
func (h *handover) read() { h.seen.Store(h.newest.Load()) }

// An overlap counts active runs.
type overlap struct{ active atomic.Int32 }

// enter reports an error if more than most runs are active. Call leave as the run ends.
func (o *overlap) enter(t *testing.T, most int32) (leave func()) {
	if active := o.active.Add(1); active > most {
		t.Errorf("%d runs are active at once, %d is the most", active, most)
	}
	return func() { o.active.Add(-1) }
}

// yield lets other goroutines run up to most-1 times.
func yield(most int) {
	for range rand.IntN(most) {
		runtime.Gosched()
	}
}

// linger lets the users come to some random point, mostly near the first run's start.
func linger(running <-chan struct{}) {
	if rand.IntN(4) > 0 {
		<-running
	}
	yield(8)
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
	}
}

// eventually waits, without sleeping, until done reports true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for spins := 1; !done(); spins++ {
		if spins%16 == 0 {
			runtime.Gosched()
		}
		if spins%4096 == 0 && time.Now().After(deadline) {
			t.Errorf("%s: not in a minute", what)
			return
		}
	}
}

// rest waits until nothing is pending and no run is active. It asks Stats because that
// does nothing that a lost call waits for: it does not make the throttler reconsider
// what is due.
func rest(t *testing.T, throttler interface{ Stats() throttle.Stats }) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Microsecond) {
		stats := throttler.Stats()
		if !stats.Pending && !stats.Running {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what is pending does not run: %+v", stats)
		}
	}
}

// A hammerScene is a policy and what happens to a throttler of it.
type hammerScene struct {
	name     string
	policies []throttle.Policy // the first is the throttler's own; SetPolicy uses them in turn
	options  []throttle.Option
	flushes  bool // a goroutine flushes while calls are made
	drops    bool // no trailing edge: the last call may be dropped
	counts   bool // options has WithCallCount
	logs     bool // keep when each call was made
}

func hammerScenes() []hammerScene {
	const (
		short = 200 * time.Microsecond
		long  = time.Millisecond
	)
	counting := []throttle.Option{throttle.WithCallCount()}
	return []hammerScene{
		{name: "no limit", policies: []throttle.Policy{{}}, flushes: true},
		{name: "every", policies: []throttle.Policy{throttle.Every(long)}},
		{name: "every, flushed and changed", flushes: true,
			policies: []throttle.Policy{throttle.Every(long), throttle.Every(short)}},
		{name: "burst", policies: []throttle.Policy{{Interval: long, Burst: 3}}},
		{name: "from end", policies: []throttle.Policy{{Interval: short, From: throttle.FromEnd}}, flushes: true},
		{name: "trailing only", policies: []throttle.Policy{{Interval: long, Edges: throttle.Trailing}}, flushes: true},
		{name: "leading only", policies: []throttle.Policy{{Interval: short, Edges: throttle.Leading}},
			options: counting, counts: true, drops: true},
		{name: "debounce", policies: []throttle.Policy{throttle.Debounce(short, 0)}, logs: true},
		{name: "debounce with a bound", policies: []throttle.Policy{throttle.Debounce(short, long)}, logs: true},
		{name: "debounce, flushed and changed", flushes: true,
			policies: []throttle.Policy{throttle.Debounce(short, long), throttle.Every(short)}},
		{name: "counted", policies: []throttle.Policy{throttle.Every(short)},
			options: counting, counts: true, flushes: true},
		{name: "debounce, counted and changed", flushes: true,
			policies: []throttle.Policy{throttle.Debounce(short, long), throttle.Every(short)},
			options:  counting, counts: true},
	}
}

// TestThrottler_race checks G1 (no overlap), G2 (spacing), G3 (no lost call), the first
// half of G5 (never early) and G8 (the callback sees what callers did).
func TestThrottler_race(t *testing.T) {
	for _, scene := range hammerScenes() {
		t.Run(scene.name, func(t *testing.T) {
			h := newHammer(t, scene)
			for round := 0; round < rounds(40) && !t.Failed(); round++ {
				h.round(round)
			}
			if err := h.throttler.Shutdown(context.Background()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			h.checkRuns()
			h.checkCounts()
			t.Logf("%d calls, %d runs", h.callCount(), len(h.runs))
		})
	}
}

// hammerCallers is how many goroutines call at once. There are more of them than cores,
// so that some are preempted in the worst place.
const hammerCallers = 8

// A hammer is a throttler with its callback and its callers.
type hammer struct {
	t         *testing.T
	scene     hammerScene
	throttler *throttle.Throttler
	base      time.Time
	callers   [hammerCallers]hammerCaller

	mu      sync.Mutex
	guarded [hammerCallers]uint64 // the newest value of each caller, in rounds that use the mutex
	mutex   bool                  // this is such a round

	inside overlap

	// Plain on purpose: only the callback, the observer, and the test while no
	// run is active touch these. So the race detector checks that the end of a
	// run is synchronized before the start of the next.
	runs []hammerRun
}

// A hammerCaller is one calling goroutine.
type hammerCaller struct {
	handover // newest only in rounds that use atomics

	made  uint64 // calls
	value uint64 // last value handed over
	log   []hammerCall
}

// A hammerCall is when a call was made, by the caller's clock.
type hammerCall struct{ began, returned time.Duration }

// A hammerRun is when a run took place, by the callback's own clock (entered)
// and by the library's.
type hammerRun struct {
	entered, asked, due, started, ended time.Duration
	cause                               throttle.Cause
	calls                               uint64
}

func newHammer(t *testing.T, scene hammerScene) *hammer {
	h := &hammer{t: t, scene: scene, base: time.Now()}
	options := append([]throttle.Option{throttle.WithObserver(h.observe)}, scene.options...)
	h.throttler = throttle.Must(throttle.New(scene.policies[0], h.callback, options...))
	return h
}

func (h *hammer) now() time.Duration { return time.Since(h.base) }

func (h *hammer) callCount() (calls uint64) {
	for i := range h.callers {
		calls += h.callers[i].made
	}
	return calls
}

// callback reads what every caller has handed over.
func (h *hammer) callback() {
	entered := h.now()
	defer h.inside.enter(h.t, 1)()
	h.runs = append(h.runs, hammerRun{entered: entered})
	if h.mutex {
		h.mu.Lock()
		values := h.guarded
		h.mu.Unlock()
		for i, value := range values {
			h.callers[i].seen.Store(value)
		}
	} else {
		for i := range h.callers {
			h.callers[i].read()
		}
	}
	runtime.Gosched() // room for others to overlap
}

// observe completes the record that the callback has begun.
func (h *hammer) observe(seen throttle.Run) {
	r := &h.runs[len(h.runs)-1]
	if !seen.Asked.IsZero() {
		r.asked = seen.Asked.Sub(h.base)
	}
	r.due, r.started, r.ended = seen.Due.Sub(h.base), seen.Started.Sub(h.base), seen.Ended.Sub(h.base)
	r.cause, r.calls = seen.Cause, seen.Calls
}

// round lets all callers call for a while, and then waits until the throttler is at
// rest. The last call of a round can get lost for good: no call follows it.
func (h *hammer) round(round int) {
	// No lock: the callers start after this, and the call that makes a run pending
	// is synchronized before the run, which reads it.
	h.mutex = round%2 == 1
	var working sync.WaitGroup
	for i := range h.callers {
		working.Go(func() { h.call(i) })
	}
	if h.scene.flushes {
		working.Go(func() {
			for range 3 {
				runtime.Gosched()
				if err := h.throttler.Flush(context.Background()); err != nil {
					h.t.Errorf("Flush: %v", err)
				}
			}
		})
	}
	if len(h.scene.policies) > 1 {
		working.Go(func() {
			for i := range 4 {
				runtime.Gosched()
				if err := h.throttler.SetPolicy(h.scene.policies[(round+i)%len(h.scene.policies)]); err != nil {
					h.t.Errorf("SetPolicy: %v", err)
				}
			}
		})
	}
	working.Wait()
	rest(h.t, h.throttler)
	if h.scene.drops {
		return
	}
	for i := range h.callers {
		if caller := &h.callers[i]; caller.seen.Load() != caller.value {
			h.t.Errorf("round %d: the throttler is at rest, but no run has seen value %d of caller %d, only %d",
				round, caller.value, i, caller.seen.Load())
		}
	}
}

// call makes some calls of every kind as caller i.
func (h *hammer) call(i int) {
	caller := &h.callers[i]
	for n := rand.IntN(200); n >= 0; n-- {
		caller.value++
		if h.mutex {
			h.mu.Lock()
			h.guarded[i] = caller.value
			h.mu.Unlock()
		} else {
			caller.newest.Store(caller.value)
		}
		caller.made++
		began := time.Duration(0)
		if h.scene.logs {
			began = h.now()
		}
		switch dice := rand.IntN(1000); {
		case dice < 2 && !h.scene.drops:
			if err := h.throttler.Do(context.Background()); err != nil {
				h.t.Errorf("Do: %v", err)
			}
			if seen := caller.seen.Load(); seen < caller.value {
				h.t.Errorf("Do of caller %d returned after a run that saw %d, not %d", i, seen, caller.value)
			}
		case dice < 12 && !h.scene.logs: // a bound of its own would blur what the log shows
			h.throttler.CallWithin(time.Duration(rand.IntN(300)) * time.Microsecond)
		default:
			h.throttler.Call()
		}
		if h.scene.logs {
			caller.log = append(caller.log, hammerCall{began, h.now()})
		}
		if n%16 == 0 {
			runtime.Gosched() // a caller that spins would starve the runs
		}
	}
}

// checkRuns compares the record of all runs with G1, G2 and G5.
//
// A run's start (started) is when the library last read the clock before the callback.
// The callback's own first reading (entered) is later, because the goroutine may be
// preempted between the two. So the test measures entered from the run before as the
// library saw it, without tolerance. A library that reported a wrong start would be
// found out because entered is before started, or because the two lie far apart.
func (h *hammer) checkRuns() {
	interval := h.scene.policies[0].Interval
	for _, policy := range h.scene.policies {
		interval = min(interval, policy.Interval)
	}
	fromEnd := h.scene.policies[0].From == throttle.FromEnd
	burst := max(h.scene.policies[0].Burst, 1)
	delays := make([]time.Duration, 0, len(h.runs))
	for n, r := range h.runs {
		if r.due > r.started || r.started > r.entered || r.entered > r.ended {
			h.t.Errorf("run %d was due at %v, started at %v, entered at %v, ended at %v", n, r.due, r.started, r.entered, r.ended)
		}
		if r.asked > r.due {
			h.t.Errorf("run %d was due at %v, before it was asked for at %v", n, r.due, r.asked)
		}
		delays = append(delays, r.entered-r.started)
		if n < burst || r.cause == throttle.CauseFlush {
			continue
		}
		if n > 0 && r.entered < h.runs[n-1].ended {
			h.t.Errorf("run %d entered at %v, before the end of the run before at %v", n, r.entered, h.runs[n-1].ended)
		}
		// Of burst+1 runs in a row, the last starts at least an interval after the
		// first: the bucket holds no more tokens.
		before := h.runs[n-burst].started
		if fromEnd {
			before = h.runs[n-1].ended
		}
		if r.entered < before+interval {
			h.t.Errorf("run %d (%s) entered at %v, %v after %v; %v is the least", n, r.cause, r.entered, r.entered-before, before, interval)
		}
	}
	if delay := median(delays); delay > 500*time.Microsecond {
		h.t.Errorf("between a run's start and the callback's first reading lie a median of %v: Started is wrong", delay)
	}
	if h.scene.logs {
		h.checkQuiet()
	}
}

// checkQuiet checks that every run was due no earlier than Quiet after each call that
// had returned by then, unless MaxWait made it due.
func (h *hammer) checkQuiet() {
	policy := h.scene.policies[0]
	var quieted, bounded int
	next := [hammerCallers]int{} // the first call in each log that had not returned when the run was due
	for n, r := range h.runs {
		bound := policy.MaxWait > 0 && r.due == r.asked+policy.MaxWait
		if bound {
			bounded++
		} else {
			quieted++
		}
		for i := range h.callers {
			log := h.callers[i].log
			for next[i] < len(log) && log[next[i]].returned <= r.due {
				next[i]++
			}
			if next[i] == 0 || bound {
				continue
			}
			if call := log[next[i]-1]; r.due < call.began+policy.Quiet {
				h.t.Errorf("run %d was due at %v, %v after the begin of a call; the quiet time is %v",
					n, r.due, r.due-call.began, policy.Quiet)
			}
		}
	}
	h.t.Logf("%d runs waited for quiet, %d for the bound", quieted, bounded) // how many of each is the scheduler's choice
}

// checkCounts compares the figures of Stats with what callers and callback counted.
func (h *hammer) checkCounts() {
	stats := h.throttler.Stats()
	if got, want := stats.Runs, uint64(len(h.runs)); got != want {
		h.t.Errorf("Stats counts %d runs, the callback %d", got, want)
	}
	if !h.scene.counts {
		return
	}
	if got, want := stats.Calls, h.callCount(); got != want {
		h.t.Errorf("Stats counts %d calls, %d were made", got, want)
	}
	var covered uint64
	for _, r := range h.runs {
		covered += r.calls
	}
	if got, want := covered+stats.Dropped, h.callCount(); got != want {
		h.t.Errorf("runs covered %d calls and %d were dropped, %d were made", covered, stats.Dropped, want)
	}
}

// median returns the middle one of durations, which it sorts, 0 if there is none.
func median(durations []time.Duration) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	slices.Sort(durations)
	return durations[len(durations)/2]
}
