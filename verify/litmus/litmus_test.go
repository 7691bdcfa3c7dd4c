package litmus_test

// The litmus test of G8 on real cores. A goroutine stores a value and then calls; the call
// may be no more than a load that sees "a run is pending". The start of that run clears
// "pending", and then the callback loads the value. Each side writes one word and reads the
// other's word, which is the pattern that store buffers and compilers break. There are four
// outcomes:
//
//	                                  the starting run loads
//	                                  the new value   the old one
//	the call makes a run of its own   met             own
//	the call coalesces                coalesced       lost, which is forbidden
//
// In each round one call meets one start that the test causes. The outcome of a round tells
// whether the next call must come earlier or later, so many calls come within nanoseconds of
// the start. The test also shows that it can see a lost call: it counts the outcomes, and
// controls that are wrong on purpose must lose calls in the same loop.

import (
	"context"
	"flag"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/effort"
)

var budgetFlag = flag.Duration("litmus", 0, "how long the litmus test runs; by default two seconds times the effort, at most a minute")

// TestThrottler_CallMeetsStart checks G8 at the instant that decides it, for each kind of
// fast-path word, each way to pass a value, and each way in which a run starts.
func TestThrottler_CallMeetsStart(t *testing.T) {
	needsTwoCores(t)
	counting := []throttle.Option{throttle.WithCallCount()}
	var total outcomes
	for _, starter := range starters() {
		for _, word := range []struct {
			name    string
			policy  throttle.Policy
			options []throttle.Option
		}{
			{name: "plain", policy: throttle.Every(starter.interval)},
			{name: "counted", policy: throttle.Every(starter.interval), options: counting},
			{name: "timed", policy: throttle.Debounce(starter.interval, 0)},
		} {
			for name, memory := range memories() {
				t.Run(starter.name+"/"+word.name+"/"+name, func(t *testing.T) {
					l := newLitmus(t, starter, memory)
					throttler := throttle.Must(throttle.New(word.policy, func() { l.run(memory.load()) }, word.options...))
					defer throttler.Close()
					l.subject = throttler
					over := time.Now().Add(budget() / (3 * 3 * 2)) // the number of these subtests
					l.play(func() bool { return time.Now().After(over) })
					t.Logf("%+v", l.outcomes)
					if l.outcomes.lost > 0 {
						t.Errorf("%d calls coalesced into a run that had loaded an older value", l.outcomes.lost)
					}
					total.add(l.outcomes)
				})
			}
		}
	}
	t.Logf("in all: %+v", total)
	if total.coalesced == 0 || total.met+total.own == 0 {
		t.Error("no call met a start")
	}
}

// budget returns how long the litmus test runs.
func budget() time.Duration {
	if *budgetFlag > 0 {
		return *budgetFlag
	}
	return min(time.Duration(effort.Factor())*2*time.Second, time.Minute)
}

func needsTwoCores(t *testing.T) {
	t.Helper()
	if runtime.GOMAXPROCS(0) < 2 || runtime.NumCPU() < 2 {
		t.Skip("needs two cores")
	}
}

// TestLitmus_Control checks that the loop of the litmus test loses calls if the order that
// G8 demands is wrong, for a longer and for a shorter time. It takes milliseconds; it may take
// a minute where other programs compete for the cores.
//
// On two busy cores, the loop sees an error that lasts 100 ns at least every few seconds, and
// one that lasts 30 ns about every ten. It saw an error that lasts only a load and a store
// once in a hundred seconds, which is too seldom for a control.
func TestLitmus_Control(t *testing.T) {
	needsTwoCores(t)
	patient := budget() >= 30*time.Second
	for _, control := range []struct {
		name     string
		linger   func()
		required bool
	}{
		{name: "wide", linger: runtime.Gosched, required: true},
		{name: "narrow", linger: func() { spin(300) }, required: patient}, // about 100 ns
	} {
		atMost := time.Second
		if control.required {
			atMost = time.Minute
		}
		for name, memory := range memories() {
			t.Run(control.name+"/"+name, func(t *testing.T) {
				l := newLitmus(t, starters()[0], memory)
				l.subject = &careless{load: memory.load, linger: control.linger, run: l.run}
				began := time.Now()
				l.play(func() bool {
					return l.outcomes.lost > 0 && time.Since(began) > 100*time.Millisecond || time.Since(began) > atMost
				})
				t.Logf("%+v, after %v", l.outcomes, time.Since(began))
				if l.outcomes.lost == 0 && control.required {
					t.Error("no call was lost")
				}
			})
		}
	}
}

// careless is the control: a throttle whose start loads the value before it clears "pending"
// instead of after, and lingers in between. It has no window: a run starts as soon as the
// previous one ends.
type careless struct {
	load    func() uint64
	linger  func()
	run     func(value uint64)
	pending atomic.Bool

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	running bool
}

func (c *careless) Call() {
	if c.pending.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		c.pending.Store(true)
		return
	}
	c.running = true
	go c.work()
}

func (c *careless) work() {
	for again := true; again; {
		value := c.load()
		c.linger()
		c.pending.Store(false) // too late
		c.run(value)
		c.mu.Lock()
		c.running = c.pending.Load()
		again = c.running
		c.mu.Unlock()
	}
}

func (c *careless) CallWithin(time.Duration) { c.Call() }

func (c *careless) Flush(context.Context) error { return nil }

func (c *careless) Stats() throttle.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return throttle.Stats{Pending: c.pending.Load(), Running: c.running}
}
