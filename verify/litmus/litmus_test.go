package litmus_test

// This file holds the litmus test of G8, on real cores: a goroutine stores a value
// and then calls, which may be no more than a load that sees "a run is pending";
// the start of that run clears "pending", and then the callback loads the value.
// Each side writes one word and reads the other's, which is the shape that store
// buffers and compilers break. Four outcomes can be told apart:
//
//	                                  the starting run loads
//	                                  the new value   the old one
//	the call makes a run of its own   met             own
//	the call coalesces                coalesced       lost, which is forbidden
//
// The hammer and its TestLastCallIsCoveredWhenItMeetsAStart look for lost calls
// too, with calls at random about a start. Here one call meets one start, of which
// the test knows what brings it about; the outcome of one round tells whether the
// call of the next has to be earlier or later, so that many come within some
// nanoseconds of the start. And the test shows that it can see: it counts the
// outcomes, and controls that are wrong on purpose must lose calls in the same loop.

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

var budgetFlag = flag.Duration("litmus", 0, "run the litmus test this long, instead of two seconds times effort, a minute at most")

// TestCallThatMeetsAStartIsCovered holds G8 at the point where it is decided, for
// each kind of the fast path's word, each way to hand a value over, and each way in
// which a run starts.
func TestCallThatMeetsAStartIsCovered(t *testing.T) {
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
					over := time.Now().Add(budget() / (3 * 3 * 2)) // as many as there are of these tests
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
		t.Error("the calls do not meet the starts")
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

// TestLitmusSeesALostCall holds that the loop of the litmus test loses calls when
// the order is wrong that G8 asks for, for longer and for shorter. It takes some
// milliseconds; a minute is for machines on which others compete for the cores.
//
// On two cores that others compete for, the loop sees an error of 100 ns at least every
// few seconds, and one of 30 ns every ten or so. One that lasts no longer than a load
// and a store was seen once in a hundred seconds, and so is no control.
func TestLitmusSeesALostCall(t *testing.T) {
	needsTwoCores(t)
	patient := budget() >= 30*time.Second
	for _, control := range []struct {
		name     string
		dawdle   func()
		demanded bool
	}{
		{name: "wide", dawdle: runtime.Gosched, demanded: true},
		{name: "narrow", dawdle: func() { spin(300) }, demanded: patient}, // some 100 ns
	} {
		atMost := time.Second
		if control.demanded {
			atMost = time.Minute
		}
		for name, memory := range memories() {
			t.Run(control.name+"/"+name, func(t *testing.T) {
				l := newLitmus(t, starters()[0], memory)
				l.subject = &careless{load: memory.load, dawdle: control.dawdle, run: l.run}
				began := time.Now()
				l.play(func() bool {
					return l.outcomes.lost > 0 && time.Since(began) > 100*time.Millisecond || time.Since(began) > atMost
				})
				t.Logf("%+v, after %v", l.outcomes, time.Since(began))
				if l.outcomes.lost == 0 && control.demanded {
					t.Error("no call was lost")
				}
			})
		}
	}
}

// careless is the control: a throttle whose start loads the value before it clears
// "pending", and not after, and dawdles in between. It has no window: a run starts
// when the one before ends.
type careless struct {
	load    func() uint64
	dawdle  func()
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
		c.dawdle()
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
