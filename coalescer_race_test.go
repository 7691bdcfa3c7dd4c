package throttle_test

// This file hands over values in real time, from many goroutines, made for the
// race detector. What it asserts are sums: each value arrives somewhere, once, on
// a machine of any speed.

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// A haul is what came of many values.
type haul struct {
	values uint64 // how many
	sum    uint64 // of their numbers
}

func (h haul) add(other haul) haul { return haul{h.values + other.values, h.sum + other.sum} }

// A hauler is the callback of a Coalescer of hauls, of whose runs a third fail.
type hauler struct {
	t      *testing.T
	inside atomic.Int32 // runs that are active

	// Plain on purpose: runs are synchronized with each other, and merges and
	// hand-overs with them.
	runs      int
	delivered haul
	merges    int

	mu      sync.Mutex // guards the fields below
	lost    haul
	reports map[*throttle.LostError]bool // which all who wait for a value are told
}

func newHauler(t *testing.T) *hauler {
	return &hauler{t: t, reports: make(map[*throttle.LostError]bool)}
}

func (h *hauler) haul(_ context.Context, value haul) error {
	if active := h.inside.Add(1); active != 1 {
		h.t.Errorf("%d runs are active at once", active)
	}
	defer h.inside.Add(-1)
	if value.values == 0 {
		h.t.Error("a run has nothing to take")
	}
	h.runs++
	runtime.Gosched() // room for others to overlap
	switch h.runs % 12 {
	case 0:
		return errFailed
	case 3:
		panic("scripted")
	case 6:
		runtime.Goexit()
	case 9:
		return throttle.RetryIn(10 * time.Microsecond)
	}
	h.delivered = h.delivered.add(value)
	return nil
}

// merge has a counter without a lock: it is never called twice at once.
func (h *hauler) merge(older, newer haul) haul {
	h.merges++
	return older.add(newer)
}

func (h *hauler) hear(err error) {
	lost, ok := errors.AsType[*throttle.LostError](err)
	if !ok {
		return
	}
	value, _ := lost.Value.(haul)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.reports[lost] {
		h.reports[lost] = true
		h.lost = h.lost.add(value)
	}
}

// handOverAll has eight goroutines hand over values until all are handed over,
// and returns what they amount to.
func (h *hauler) handOverAll(c *throttle.Coalescer[haul]) (handed haul) {
	const callers = 8
	values := uint64(100_000)
	if testing.Short() {
		values = 5_000
	}
	var working sync.WaitGroup
	for caller := range uint64(callers) {
		working.Go(func() {
			for n := range values {
				value := haul{1, caller*values + n}
				var err error
				switch n % 1024 {
				case 0:
					err = c.CallWithin(value, 0)
				case 512:
					h.hear(c.Do(context.Background(), value)) // the run's error is no matter
				default:
					err = c.Call(value)
				}
				if n%64 == 0 {
					runtime.Gosched() // a caller that spins would starve the runs
				}
				if err != nil {
					h.t.Errorf("Call returned %v", err)
					return
				}
			}
		})
	}
	working.Wait()
	all := callers * values
	return haul{all, all * (all - 1) / 2}
}

// haulers are the policies of those who haul.
func haulers() map[string]throttle.Policy {
	const interval = 20 * time.Microsecond
	retry := throttle.Backoff{Initial: 10 * time.Microsecond}
	return map[string]throttle.Policy{
		"interval": {Interval: interval, Retry: retry},
		"batches":  {Interval: interval, Quiet: interval, MaxWait: 10 * interval, MaxCalls: 100, Retry: retry},
	}
}

// TestCoalescerDeliversEveryValueThoughRunsFail hammers a Coalescer.
func TestCoalescerDeliversEveryValueThoughRunsFail(t *testing.T) {
	for name, policy := range haulers() {
		t.Run(name, func(t *testing.T) {
			h := newHauler(t)
			c := throttle.Must(throttle.NewCoalescer(policy, h.merge, h.haul, throttle.WithErrorHandler(h.hear)))
			handed := h.handOverAll(c)
			restCoalescer(t, c)
			finish(c)
			if h.delivered != handed || h.lost != (haul{}) {
				t.Errorf("of %+v were delivered %+v and lost %+v", handed, h.delivered, h.lost)
			}
			if calls := c.Stats().Calls; calls != handed.values {
				t.Errorf("%d calls are counted, %d were made", calls, handed.values)
			}
			t.Logf("%d runs, %d merges", h.runs, h.merges)
		})
	}
}

// TestCoalescerDeliversOrReturnsEveryValue has somebody cancel meanwhile. A run
// that Cancel meets is not repeated, so that its value may be lost.
func TestCoalescerDeliversOrReturnsEveryValue(t *testing.T) {
	h := newHauler(t)
	c := throttle.Must(throttle.NewCoalescer(haulers()["interval"], h.merge, h.haul, throttle.WithErrorHandler(h.hear)))
	var canceled haul
	var over atomic.Bool
	var canceling sync.WaitGroup
	canceling.Go(func() {
		for !over.Load() {
			dropped, ok := c.Cancel()
			if ok != (dropped.values > 0) {
				t.Errorf("Cancel returned %+v, %t", dropped, ok)
			}
			canceled = canceled.add(dropped)
			time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
		}
	})
	handed := h.handOverAll(c)
	over.Store(true)
	canceling.Wait()
	restCoalescer(t, c)
	finish(c)
	if sum := h.delivered.add(canceled).add(h.lost); sum != handed {
		t.Errorf("of %+v were delivered %+v, canceled %+v and lost %+v", handed, h.delivered, canceled, h.lost)
	}
	t.Logf("%d values delivered in %d runs, %d canceled, %d lost", h.delivered.values, h.runs, canceled.values, h.lost.values)
}

// restCoalescer waits until nothing is pending and no run is active.
func restCoalescer[T any](t *testing.T, c *throttle.Coalescer[T]) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Microsecond) {
		stats := c.Stats()
		if !stats.Pending && !stats.Running {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what is pending never runs: %+v", stats)
		}
	}
}

// A carriage is one Coalescer and those who use it until it ends. Its values
// are logged.
type carriage struct {
	t         *testing.T
	coalescer *batcher
	values    *reference.ValueLog // numbers are drawn by several at once, and so not in order
	users     sync.WaitGroup
	running   chan struct{} // closed when the first run has begun
	runs      int
	newest    [4]int // value of each caller that was delivered
}

const carriageValues = 40 // of each caller

// newCarriage returns a Coalescer of a random kind.
func newCarriage(t *testing.T, options ...throttle.Option) *carriage {
	const interval = 30 * time.Microsecond
	retry := throttle.Backoff{Initial: interval / 3}
	policies := []throttle.Policy{
		{},
		{Retry: retry},
		{Interval: interval, Retry: retry},
		{Interval: time.Hour, Retry: retry}, // only a flush runs what is pending
		{Quiet: interval, MaxWait: 2 * interval, MaxCalls: 10},
		{Interval: interval, Edges: throttle.Leading, Retry: retry},
		{Interval: interval, From: throttle.FromEnd},
	}
	x := &carriage{t: t, values: reference.NewValueLog(false), running: make(chan struct{})}
	x.coalescer = throttle.Must(throttle.NewCoalescer(policies[rand.IntN(len(policies))], throttle.Append, x.run,
		append(options, throttle.WithErrorHandler(x.values.Report))...))
	return x
}

func (x *carriage) run(_ context.Context, value []int) error {
	x.runs++
	if x.runs == 1 {
		close(x.running)
	}
	for range rand.IntN(3) {
		runtime.Gosched() // the end of the run, too, is to meet the end of the Coalescer
	}
	x.values.Taken(value)
	if x.runs%3 == 0 {
		return errFailed
	}
	for _, number := range value {
		caller := number % len(x.newest)
		if number <= x.newest[caller] {
			x.t.Errorf("value %d is delivered after %d", number, x.newest[caller])
		}
		x.newest[caller] = number
	}
	x.values.Delivered(value)
	return nil
}

// use starts the users, which go on until they have handed over all.
func (x *carriage) use() {
	for caller := range x.newest {
		x.users.Go(func() {
			for n := range carriageValues {
				number := n*len(x.newest) + caller + len(x.newest)
				x.values.Add(number)
				switch {
				case caller == 0:
					x.values.Done(number, x.coalescer.Do(context.Background(), []int{number}), false)
				case n%8 == 0:
					x.values.Called(number, x.coalescer.CallWithin([]int{number}, 0))
					runtime.Gosched()
				default:
					x.values.Called(number, x.coalescer.Call([]int{number}))
				}
			}
		})
	}
	x.users.Go(func() {
		for range rand.IntN(4) {
			x.values.Report(x.coalescer.Flush(context.Background()))
			runtime.Gosched()
		}
	})
}

// linger lets the users come to some random point, mostly that of a run's start.
func (x *carriage) linger() {
	if rand.IntN(4) > 0 {
		<-x.running
	}
	for range rand.IntN(6) {
		runtime.Gosched()
	}
}

// known returns of how many values the fate is known.
func (x *carriage) known() int {
	return x.values.Settled()
}

// check tells that each value, of which all have been handed over, has one fate.
func (x *carriage) check() {
	x.users.Wait()
	x.values.Report(x.coalescer.Shutdown(context.Background()))
	if dropped, ok := x.coalescer.Cancel(); ok {
		x.t.Errorf("%v is left", dropped)
	}
	x.values.Finish()
	if problem := x.values.Problem(); problem != "" {
		x.t.Error(problem)
	}
}

// TestEveryValueHasOneFateWhenTheCoalescerEnds ends it while values are handed
// over.
func TestEveryValueHasOneFateWhenTheCoalescerEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(x *carriage, stop context.CancelFunc)
	}{
		{"Close", func(x *carriage, _ context.CancelFunc) { _ = x.coalescer.Close() }},
		{"Shutdown", func(x *carriage, _ context.CancelFunc) { x.values.Report(x.coalescer.Shutdown(context.Background())) }},
		{"Shutdown out of time", func(x *carriage, _ context.CancelFunc) {
			ctx, end := context.WithTimeout(context.Background(), time.Duration(rand.IntN(50))*time.Microsecond)
			defer end()
			x.values.Report(x.coalescer.Shutdown(ctx))
		}},
		{"parent", func(x *carriage, stop context.CancelFunc) {
			stop()
			// Who closes then, and tells what is lost, is waited for by nobody.
			x.users.Wait()
			eventually(x.t, "the report", func() bool { return x.known() == carriageValues*len(x.newest) })
		}},
		{"Cancel, then Close", func(x *carriage, _ context.CancelFunc) {
			dropped, ok := x.coalescer.Cancel()
			x.values.Canceled(dropped, ok)
			_ = x.coalescer.Close()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var counts sync.Map
			lives(t, func(t *testing.T) {
				parent, stop := context.WithCancel(context.Background())
				defer stop()
				x := newCarriage(t, throttle.WithContext(parent))
				x.use()
				x.linger()
				test.end(x, stop)
				x.check()
				for fate, count := range x.values.Counts() {
					sum, _ := counts.LoadOrStore(fate, new(int))
					*sum.(*int) += count //nolint:errcheck,forcetypeassert // stored above
				}
			})
			counts.Range(func(fate, count any) bool {
				t.Logf("%d %s", *count.(*int), fate) //nolint:errcheck,forcetypeassert // stored above
				return true
			})
		})
	}
}
