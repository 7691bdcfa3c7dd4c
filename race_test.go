package throttle_test

// The tests of this file, race_group_test.go and race_coalescer_test.go run in real
// time, for the race detector, with everything that can happen at once happening at
// once. They compare instants and sums with each other, and never how long something
// takes with how long it should take, so they pass on a machine of any speed.

import (
	"context"
	"errors"
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

// rounds returns how many rounds a race test plays: short with -short, which is a few
// times what it takes to see the faults that the test is for, and ten times that
// without.
func rounds(short int) int {
	if testing.Short() {
		return short
	}
	return 10 * short
}

// playRounds plays as many rounds, or fewer if one of them fails.
func playRounds(t *testing.T, count int, round func(t *testing.T)) {
	t.Helper()
	for range count {
		if round(t); t.Failed() {
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
	policies []throttle.Policy // the first is the throttler's own; SetPolicy goes round all of them
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
			for round := 0; round < rounds(10) && !t.Failed(); round++ {
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

// hammerCallers is how many goroutines call at once. They are to be more than the idle
// cores, so that some are preempted in the worst place.
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
		h.t.Errorf("between a run's start and the callback's first reading lie %v in the median: the start is not told truly", delay)
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

// A life is one throttler and the goroutines that use it until it ends.
type life struct {
	t         *testing.T
	throttler *throttle.Throttler
	counts    bool // calls are counted
	users     sync.WaitGroup
	callers   [2]handover   // one calls, one calls and waits
	running   chan struct{} // closed when the first run has begun
	entered   atomic.Uint64 // runs whose callback was entered
	inside    overlap
	covered   atomic.Uint64 // calls, as the observer counts them
	cause     error         // of the parent's end, if that ends the throttler
}

// newLife returns a throttler of a random kind, in use.
func newLife(t *testing.T, options ...throttle.Option) *life {
	const interval = 30 * time.Microsecond
	policies := []throttle.Policy{
		{},
		throttle.Every(interval),
		throttle.Every(time.Hour), // only a flush runs what is pending
		throttle.Debounce(interval, 2*interval),
		throttle.Debounce(time.Hour, 0),
		{Interval: interval, Edges: throttle.Trailing},
		{Interval: interval, From: throttle.FromEnd},
		{Interval: interval, MaxInterval: interval},
		{Interval: interval, Burst: 2},
	}
	l := &life{t: t, running: make(chan struct{})}
	options = append(options, throttle.WithObserver(func(r throttle.Run) { l.covered.Add(r.Calls) }))
	if l.counts = rand.IntN(2) == 0; l.counts {
		options = append(options, throttle.WithCallCount())
	}
	policy := policies[rand.IntN(len(policies))]
	if rand.IntN(2) == 0 {
		l.throttler = throttle.Must(throttle.New(policy, l.callback, options...))
	} else {
		l.throttler = throttle.Must(throttle.New(policy, l.callbackWithContext, options...))
	}
	return l
}

func (l *life) callback() {
	if l.entered.Add(1) == 1 {
		close(l.running)
	}
	defer l.inside.enter(l.t, 1)()
	for i := range l.callers {
		l.callers[i].read()
	}
	yield(3) // so that the end of the run, too, meets the end of the throttler
}

func (l *life) callbackWithContext(ctx context.Context) error {
	l.callback()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, throttle.ErrClosed) && !errors.Is(cause, l.cause) {
		l.t.Errorf("the run's context ended because of %v", cause)
	}
	return nil
}

// use starts the users. They go on for a while, at most until they get ErrClosed.
func (l *life) use() {
	const calls = 40
	l.users.Go(func() {
		caller := &l.callers[0]
		for value := uint64(1); value <= calls; value++ {
			caller.newest.Store(value)
			if value == calls || rand.IntN(8) == 0 {
				l.throttler.CallWithin(0) // so that there is a first run, whatever the policy
			} else {
				l.throttler.Call()
			}
			caller.returned.Store(value)
			if value%8 == 0 {
				runtime.Gosched()
			}
		}
	})
	l.users.Go(func() {
		caller := &l.callers[1]
		for value := uint64(1); value <= calls; value++ {
			caller.newest.Store(value)
			err := l.throttler.Do(context.Background())
			switch {
			case err == nil:
				if seen := caller.seen.Load(); seen < value {
					l.t.Errorf("Do returned nil, but its run has seen %d, not %d", seen, value)
				}
				caller.returned.Store(value)
			case !errors.Is(err, throttle.ErrClosed):
				l.t.Errorf("Do returned %v", err)
				return
			case l.cause != nil && !errors.Is(err, l.cause):
				l.t.Errorf("Do returned %v, which does not wrap %v", err, l.cause)
				return
			default:
				return
			}
		}
	})
	l.users.Go(func() {
		for range rand.IntN(4) {
			if err := l.throttler.Flush(context.Background()); err != nil && !errors.Is(err, throttle.ErrClosed) {
				l.t.Errorf("Flush returned %v", err)
			}
			runtime.Gosched()
		}
	})
}

// checkRest checks that the throttler does nothing once Shutdown has returned nil,
// whatever its users still do.
func (l *life) checkRest() {
	entered, stats := l.entered.Load(), l.throttler.Stats()
	if stats.Runs != entered || stats.Running || stats.Pending || !stats.Closed || !stats.Next.IsZero() {
		l.t.Errorf("after Shutdown and %d runs: %+v", entered, stats)
	}
	l.users.Wait()
	if later := l.throttler.Stats(); later.Runs != entered || later.Calls != stats.Calls || l.entered.Load() != entered {
		l.t.Errorf("after Shutdown and %d runs: %+v, and when all users had gone %+v", entered, stats, later)
	}
}

// TestThrottler_Shutdown_race checks G7 for Shutdown: a call that races with it is
// either covered by a run that ends before Shutdown does, or has no effect.
func TestThrottler_Shutdown_race(t *testing.T) {
	playRounds(t, rounds(200), func(t *testing.T) {
		l := newLife(t)
		l.use()
		linger(l.running)
		var earlier [len(l.callers)]uint64
		for i := range l.callers {
			earlier[i] = l.callers[i].returned.Load()
		}
		if err := l.throttler.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		for i := range l.callers {
			if seen := l.callers[i].seen.Load(); seen < earlier[i] {
				t.Errorf("Shutdown returned, but only %d has been seen, not %d, whose call came before", seen, earlier[i])
			}
		}
		if accepted := l.throttler.Stats().Calls; accepted != l.covered.Load() {
			t.Errorf("Shutdown returned, with %d calls accepted and %d covered", accepted, l.covered.Load())
		}
		l.checkRest()
	})
}

// TestThrottler_Close_race checks G7 for Close and for the parent's end.
func TestThrottler_Close_race(t *testing.T) {
	gone := errors.New("the parent is gone")
	for _, test := range []struct {
		name string
		end  func(l *life, stop context.CancelCauseFunc)
	}{
		{"Close", func(l *life, _ context.CancelCauseFunc) { _ = l.throttler.Close() }},
		{"Close twice", func(l *life, _ context.CancelCauseFunc) {
			l.users.Go(func() { _ = l.throttler.Close() })
			_ = l.throttler.Close()
		}},
		{"parent", func(_ *life, stop context.CancelCauseFunc) { stop(gone) }},
		{"Shutdown out of time", func(l *life, _ context.CancelCauseFunc) {
			ended, end := context.WithCancel(context.Background())
			end()
			if err := l.throttler.Shutdown(ended); !errors.Is(err, context.Canceled) {
				l.t.Errorf("Shutdown returned %v", err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			playRounds(t, rounds(100), func(t *testing.T) {
				parent, stop := context.WithCancelCause(context.Background())
				defer stop(nil)
				l := newLife(t, throttle.WithContext(parent))
				if test.name == "parent" {
					l.cause = gone
				}
				l.use()
				linger(l.running)
				test.end(l, stop)
				entered, stats := l.entered.Load(), l.throttler.Stats()
				l.users.Wait()
				if err := l.throttler.Shutdown(context.Background()); err != nil {
					t.Errorf("Shutdown after the end returned %v", err)
				}
				// A run that had started may still have been on its way into
				// the callback. The parent's end does not wait until the
				// throttler has noticed, so Stats may lack this one run.
				switch later := l.throttler.Stats().Runs; {
				case l.entered.Load() > entered+1:
					t.Errorf("%d runs entered after the end", l.entered.Load()-entered)
				case l.entered.Load() != later:
					t.Errorf("%d runs entered, Stats counts %d", l.entered.Load(), later)
				case later != stats.Runs && l.cause == nil || later > stats.Runs+1:
					t.Errorf("%d runs started after the end", later-stats.Runs)
				}
				l.checkRest()
			})
		})
	}
}

// TestThrottler_Cancel_race checks that a call which meets Cancel has one fate: either
// Cancel reports that it was pending and no run covers it, or a run does.
func TestThrottler_Cancel_race(t *testing.T) {
	const interval = 30 * time.Microsecond
	for _, test := range []struct {
		name   string
		policy throttle.Policy
	}{
		{"debounce", throttle.Debounce(interval, 0)},
		{"trailing only", throttle.Policy{Interval: interval, Edges: throttle.Trailing}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var runs atomic.Uint64
			throttler := throttle.Must(throttle.New(test.policy, func() { runs.Add(1) }))
			defer throttler.Close()
			var canceled, ran int
			playRounds(t, rounds(200), func(t *testing.T) {
				before := runs.Load()
				done := make(chan error)
				go func() { done <- throttler.Do(context.Background()) }()
				eventually(t, "the call to be noticed", func() bool {
					stats := throttler.Stats()
					return stats.Pending || stats.Runs > before || stats.Running
				})
				for enough := time.Now().Add(time.Duration(rand.Int64N(int64(2 * interval)))); time.Now().Before(enough); {
					runtime.Gosched()
				}
				wasPending := throttler.Cancel()
				err := <-done
				rest(t, throttler)
				covered := runs.Load() - before
				switch {
				case wasPending && errors.Is(err, throttle.ErrCanceled) && covered == 0:
					canceled++
				case !wasPending && err == nil && covered == 1:
					ran++
				default:
					t.Errorf("Cancel returned %t, Do %v, and %d runs took place", wasPending, err, covered)
				}
			})
			t.Logf("%d canceled, %d ran", canceled, ran)
		})
	}
}

// TestThrottler_Do_race has everything that can end a wait happen at once. Every Do and
// Flush returns, with an error that one of these causes explains, and nothing is left.
// Every run's error reaches the goroutines that waited for the run, or the handler. It
// reaches both only if Flush found a run whose error the handler had already.
func TestThrottler_Do_race(t *testing.T) {
	playRounds(t, rounds(100), func(t *testing.T) {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		leaving, leave := context.WithCancel(context.Background())
		defer leave()
		var errs runErrors
		throttler := throttle.Must(throttle.New(throttle.Policy{
			Interval: time.Duration(rand.IntN(50)) * time.Microsecond,
			Retry:    throttle.Backoff{Initial: 10 * time.Microsecond},
		}, func(context.Context) error { return runError(errs.runs.Add(1)) },
			throttle.WithContext(parent), throttle.WithErrorHandler(errs.handle)))
		var working sync.WaitGroup
		explain := func(method string, err error, reasons ...error) {
			if errs.add(method, err) {
				return
			}
			for _, reason := range reasons {
				if errors.Is(err, reason) {
					return
				}
			}
			t.Errorf("%s returned %v", method, err)
		}
		for range 4 {
			working.Go(func() {
				for range 10 {
					explain("Do", throttler.Do(leaving), context.Canceled, throttle.ErrCanceled, throttle.ErrClosed)
				}
			})
		}
		for _, disturb := range []func(){
			func() { throttler.Cancel() },
			func() {
				explain("Flush", throttler.Flush(leaving), nil, context.Canceled, throttle.ErrCanceled, throttle.ErrClosed)
			},
			func() { explain("SetPolicy", throttler.SetPolicy(throttle.Policy{}), nil, throttle.ErrClosed) },
			func() {
				explain("Shutdown", throttler.Shutdown(leaving), nil, context.Canceled, throttle.ErrCanceled, throttle.ErrClosed)
			},
			func() { explain("Close", throttler.Close(), nil) },
			leave,
			stop,
		} {
			if rand.IntN(3) > 0 {
				working.Go(func() {
					yield(5)
					disturb()
				})
			}
		}
		working.Wait()
		// The parent's end may reach the throttler only now.
		explain("Shutdown", throttler.Shutdown(context.Background()), nil, throttle.ErrClosed)
		if stats := throttler.Stats(); stats.Running || stats.Pending || !stats.Closed {
			t.Errorf("after Shutdown: %+v", stats)
		}
		errs.check(t)
	})
}

// A runError is the error of the run of this number.
type runError int32

func (e runError) Error() string { return fmt.Sprintf("error of run %d", int32(e)) }

// runErrors records where the error of each run has arrived.
type runErrors struct {
	runs atomic.Int32 // so far, each of which has failed

	mu      sync.Mutex // guards the field below
	arrived map[runError]map[string]bool
}

func (r *runErrors) handle(err error) { r.add("handler", err) }

// add records that err has arrived at receiver, and reports whether it is a run's.
func (r *runErrors) add(receiver string, err error) bool {
	var run runError
	if !errors.As(err, &run) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.arrived == nil {
		r.arrived = make(map[runError]map[string]bool)
	}
	if r.arrived[run] == nil {
		r.arrived[run] = make(map[string]bool)
	}
	r.arrived[run][receiver] = true
	return true
}

func (r *runErrors) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for run := runError(1); run <= runError(r.runs.Load()); run++ {
		if arrived := r.arrived[run]; len(arrived) == 0 || arrived["handler"] && arrived["Do"] {
			t.Errorf("%v arrived at %v", run, arrived)
		}
	}
}
