package throttle_test

// This file holds the hammer: real time, many goroutines, and more than a
// million calls, made for the race detector. What it asserts holds on a machine
// of any speed, because it compares instants with each other and never with
// how long something should have taken.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
)

// A hammerScene is one way to wear a throttler down.
type hammerScene struct {
	name     string
	policies []throttle.Policy // the first is the throttler's own; SetPolicy goes round all of them
	options  []throttle.Option
	flushes  bool // somebody flushes while calls are made
	drops    bool // no trailing edge: calls are dropped, so nothing can be said about the last one
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

// TestHammer holds G1 (no overlap), G2 (spacing), G3 (no lost call), the first
// half of G5 (never early) and G8 (the callback sees what callers did), with
// everything that can happen at once happening at once.
func TestHammer(t *testing.T) {
	scenes := hammerScenes()
	calls, rounds := 1_200_000/len(scenes), 100
	if testing.Short() {
		calls, rounds = 10_000, 5
	}
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			h := newHammer(t, scene)
			for round := 0; (round < rounds || h.callCount() < uint64(calls)) && !t.Failed(); round++ {
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

// hammerCallers is how many goroutines call at once, more than any machine that
// runs this has idle cores for: preemption in the worst place is what is wanted.
const hammerCallers = 8

// A hammer is a throttler with its callback and those who call it.
type hammer struct {
	t         *testing.T
	scene     hammerScene
	throttler *throttle.Throttler
	base      time.Time
	callers   [hammerCallers]hammerCaller

	mu      sync.Mutex
	guarded [hammerCallers]uint64 // the newest value of each caller, in rounds that use the mutex
	mutex   bool                  // this is such a round

	inside atomic.Int32 // runs that are active

	// Plain on purpose: only the callback, the observer, and the test while no
	// run is active touch these. The race detector thus checks that the end of
	// a run is synchronized before the start of the next.
	runs []hammerRun
}

// A hammerCaller is what one calling goroutine hands over, and what the callback
// has seen of it.
type hammerCaller struct {
	newest atomic.Uint64 // the newest value, in rounds that use atomics
	seen   atomic.Uint64 // the newest value that a run has read
	made   uint64        // calls
	value  uint64        // last value handed over
	log    []hammerCall
	_      [64]byte // keeps callers off each other's cache lines
}

// A hammerCall is when a call was made, as the caller's clock had it.
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
	if active := h.inside.Add(1); active != 1 {
		h.t.Errorf("%d runs are active at once", active)
	}
	defer h.inside.Add(-1)
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
			h.callers[i].seen.Store(h.callers[i].newest.Load())
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

// round lets all callers loose for a while and, once they have stopped, waits
// for the throttler to come to rest. The last call of a round is the one that
// can get lost for good: nobody calls after it.
func (h *hammer) round(round int) {
	// All is still here, and the callers' goroutines start after this: the call
	// that makes a run pending is synchronized before the run, which reads it.
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

// rest waits until nothing is pending and no run is active. Stats is the one
// method that can tell without doing what a lost call waits for: it does not
// make the throttler reconsider what is due.
func rest(t *testing.T, throttler *throttle.Throttler) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Microsecond) {
		stats := throttler.Stats()
		if !stats.Pending && !stats.Running {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what is pending never runs: %+v", stats)
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
		case dice < 12 && !h.scene.logs: // a bound of its own would blur what the log is for
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

// checkRuns holds the record of all runs against G1, G2 and G5.
//
// A run's start is when the library read the clock last before the callback
// (started); the callback's own first reading (entered) is later, by as much as
// the goroutine may be preempted between the two. So what is compared is how
// far entered is from the run before as the library saw it: that admits no
// tolerance, and a library that told a wrong start would give itself away by
// entered before started, or by the distance between the two.
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
		// Of burst+1 runs in a row the last is at least an interval after the
		// first, or the first had a token that the bucket never held.
		before := h.runs[n-burst].started
		if fromEnd {
			before = h.runs[n-1].ended
		}
		if r.entered < before+interval {
			h.t.Errorf("run %d (%s) entered at %v, %v after %v; %v is the least", n, r.cause, r.entered, r.entered-before, before, interval)
		}
	}
	if delay := median(delays); delay > 500*time.Microsecond {
		h.t.Errorf("between a run's start and the callback's first reading lie %v in the median: the start is not told truly", delay)
	}
	if h.scene.logs {
		h.checkQuiet()
	}
}

// checkQuiet tells that no run was due before the quiet time of a call was over
// that had returned by then, unless MaxWait made it due.
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

// checkCounts compares what the throttler has counted with what was done.
func (h *hammer) checkCounts() {
	stats := h.throttler.Stats()
	if got, want := stats.Runs, uint64(len(h.runs)); got != want {
		h.t.Errorf("Stats tells of %d runs, the callback of %d", got, want)
	}
	if !h.scene.counts {
		return
	}
	if got, want := stats.Calls, h.callCount(); got != want {
		h.t.Errorf("Stats tells of %d calls, %d were made", got, want)
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

// TestLastCallIsCoveredWhenItMeetsAStart holds G3 and G8 where they are most
// easily broken: two calls, one of which makes a run start while the other finds
// it still pending. Each round both hand over a value, call once, and then only
// wait. A call that is lost in this stays lost, since nobody calls again.
func TestLastCallIsCoveredWhenItMeetsAStart(t *testing.T) {
	const interval = 20 * time.Microsecond
	for _, test := range []struct {
		name    string
		policy  throttle.Policy
		options []throttle.Option
	}{
		{name: "no limit"},
		{name: "every", policy: throttle.Every(interval)},
		{name: "from end", policy: throttle.Policy{Interval: interval, From: throttle.FromEnd}},
		{name: "trailing only", policy: throttle.Policy{Interval: interval, Edges: throttle.Trailing}},
		{name: "debounce", policy: throttle.Debounce(interval, 0)},
		{name: "debounce with a bound", policy: throttle.Debounce(interval, 2*interval)},
		{name: "counted", policy: throttle.Every(interval), options: []throttle.Option{throttle.WithCallCount()}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var newest, seen [2]atomic.Uint64
			throttler := throttle.Must(throttle.New(test.policy, func() {
				for i := range newest {
					seen[i].Store(newest[i].Load())
				}
			}, test.options...))
			defer throttler.Close()
			enough := time.Now().Add(budget(400 * time.Millisecond))
			var calling sync.WaitGroup
			var arrived atomic.Uint64 // at all rounds, by both
			var last atomic.Uint64    // round, set before the first caller's arrival at it
			for i := range newest {
				calling.Go(func() {
					for round := uint64(1); ; round++ {
						if i == 0 && (time.Now().After(enough) || t.Failed()) {
							last.Store(round)
						}
						arrived.Add(1)
						eventually(t, "the other caller", func() bool { return arrived.Load() >= 2*round })
						for range rand.IntN(40) * i { // one calls at once, the other about when the run starts
							newest[i].Load()
						}
						newest[i].Store(round)
						throttler.Call()
						eventually(t, fmt.Sprintf("the run for call %d", round), func() bool { return seen[i].Load() >= round })
						if last.Load() == round {
							return
						}
					}
				})
			}
			calling.Wait()
			t.Logf("%d rounds", newest[0].Load())
		})
	}
}

// budget returns how long a test goes on that gains by going on: d, or a tenth
// with -short.
func budget(d time.Duration) time.Duration {
	if testing.Short() {
		return d / 10
	}
	return d
}

// eventually waits, without sleeping, until done reports true.
func eventually(t *testing.T, what string, done func() bool) {
	deadline := time.Now().Add(10 * time.Second)
	for spins := 1; !done(); spins++ {
		if spins%16 == 0 {
			runtime.Gosched()
		}
		if spins%4096 == 0 && time.Now().After(deadline) {
			t.Errorf("waited for %s in vain", what)
			return
		}
	}
}
