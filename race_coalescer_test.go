package throttle_test

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

// A total counts and adds values.
type total struct {
	values uint64 // how many
	sum    uint64 // of their numbers
}

func (v total) add(other total) total { return total{v.values + other.values, v.sum + other.sum} }

// A valueHammer is the callback of a Coalescer of totals, and its callers. A third of
// its runs fail.
type valueHammer struct {
	t      *testing.T
	inside overlap

	// Plain on purpose: runs are synchronized with each other, and so are
	// merges and calls with runs.
	runs      int
	delivered total
	merges    int

	mu      sync.Mutex // guards the fields below
	lost    total
	reports map[*throttle.LostError]bool // each reaches all that wait for its value
}

func newValueHammer(t *testing.T) *valueHammer {
	return &valueHammer{t: t, reports: make(map[*throttle.LostError]bool)}
}

func (h *valueHammer) run(_ context.Context, value total) error {
	defer h.inside.enter(h.t, 1)()
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
func (h *valueHammer) merge(older, newer total) total {
	h.merges++
	return older.add(newer)
}

func (h *valueHammer) report(err error) {
	var lost *throttle.LostError
	if !errors.As(err, &lost) {
		return
	}
	value, _ := lost.Value.(total)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.reports[lost] {
		h.reports[lost] = true
		h.lost = h.lost.add(value)
	}
}

// callAll has all callers hand over their values, and returns the total of these.
func (h *valueHammer) callAll(c *throttle.Coalescer[total, total]) total {
	const callers = hammerCallers
	values := uint64(rounds(5_000))
	var working sync.WaitGroup
	for caller := range uint64(callers) {
		working.Go(func() {
			for n := range values {
				value := total{1, caller*values + n}
				var err error
				switch n % 1024 {
				case 0:
					err = c.CallWithin(value, 0)
				case 512:
					h.report(c.Do(context.Background(), value)) // another error of the run does not matter
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
	return total{all, all * (all - 1) / 2}
}

// valuePolicies are the policies of a valueHammer.
func valuePolicies() map[string]throttle.Policy {
	const interval = 20 * time.Microsecond
	retry := throttle.Backoff{Initial: 10 * time.Microsecond}
	return map[string]throttle.Policy{
		"interval": {Interval: interval, Retry: retry},
		"batches":  {Interval: interval, Quiet: interval, MaxWait: 10 * interval, MaxCalls: 100, Retry: retry},
	}
}

// TestCoalescer_race checks that every value is delivered once, although runs fail.
func TestCoalescer_race(t *testing.T) {
	for name, policy := range valuePolicies() {
		t.Run(name, func(t *testing.T) {
			h := newValueHammer(t)
			c := throttle.Must(throttle.NewCoalescer(policy, throttle.Merge(h.merge), h.run, throttle.WithErrorHandler(h.report)))
			handed := h.callAll(c)
			rest(t, c)
			finish(c)
			if h.delivered != handed || h.lost != (total{}) {
				t.Errorf("of %+v were delivered %+v and lost %+v", handed, h.delivered, h.lost)
			}
			if calls := c.Stats().Calls; calls != handed.values {
				t.Errorf("%d calls are counted, %d were made", calls, handed.values)
			}
			t.Logf("%d runs, %d merges", h.runs, h.merges)
		})
	}
}

// TestCoalescer_Cancel_race cancels while values are handed over. A run that Cancel
// meets is not repeated, so its value may be lost.
func TestCoalescer_Cancel_race(t *testing.T) {
	h := newValueHammer(t)
	c := throttle.Must(throttle.NewCoalescer(valuePolicies()["interval"], throttle.Merge(h.merge), h.run, throttle.WithErrorHandler(h.report)))
	var canceled total
	var over atomic.Bool
	var canceling sync.WaitGroup
	canceling.Go(func() {
		for !over.Load() {
			for _, dropped := range c.Cancel() {
				canceled = canceled.add(dropped)
			}
			time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
		}
	})
	handed := h.callAll(c)
	over.Store(true)
	canceling.Wait()
	rest(t, c)
	finish(c)
	if sum := h.delivered.add(canceled).add(h.lost); sum != handed {
		t.Errorf("of %+v were delivered %+v, canceled %+v and lost %+v", handed, h.delivered, canceled, h.lost)
	}
	t.Logf("%d values delivered in %d runs, %d canceled, %d lost", h.delivered.values, h.runs, canceled.values, h.lost.values)
}

// A coalescerLife is one Coalescer and the goroutines that use it until it ends. It
// logs all values.
type coalescerLife struct {
	t         *testing.T
	coalescer *batcher
	values    *reference.ValueLog // unordered: several goroutines number their values at once
	users     sync.WaitGroup
	running   chan struct{} // closed when the first run has begun
	runs      int
	newest    [4]int // delivered value of each caller
}

const lifeValues = 40 // of each caller

// newCoalescerLife returns a Coalescer of a random kind.
func newCoalescerLife(t *testing.T, options ...throttle.Option) *coalescerLife {
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
		{MaxCalls: 3, Retry: throttle.Backoff{Initial: interval / 3, MaxAttempts: 2}},
	}
	if bound := rand.IntN(3); bound > 0 {
		options = append(options, throttle.WithMaxPending(4*bound))
	}
	merger := lists()
	if rand.IntN(2) == 0 {
		merger.Join = nil
	}
	l := &coalescerLife{t: t, values: reference.NewValueLog(false), running: make(chan struct{})}
	l.coalescer = throttle.Must(throttle.NewCoalescer(policies[rand.IntN(len(policies))], merger, l.run,
		append(options, throttle.WithErrorHandler(l.values.Report))...))
	return l
}

func (l *coalescerLife) run(_ context.Context, value []int) error {
	l.runs++
	if l.runs == 1 {
		close(l.running)
	}
	yield(3) // so that the end of the run, too, meets the end of the Coalescer
	l.values.Taken(value)
	var rest []int
	switch l.runs % 6 {
	case 0:
		return errFailed
	case 3:
		rest = value[len(value)/2:]
		value = value[:len(value)/2]
	}
	for _, number := range value {
		caller := number % len(l.newest)
		if number <= l.newest[caller] {
			l.t.Errorf("value %d is delivered after %d", number, l.newest[caller])
		}
		l.newest[caller] = number
	}
	l.values.Delivered(value)
	if rest != nil {
		return throttle.Unfinished(rest, errFailed)
	}
	return nil
}

// use starts the users. They go on until they have handed over all values.
func (l *coalescerLife) use() {
	for caller := range l.newest {
		l.users.Go(func() {
			for n := range lifeValues {
				number := n*len(l.newest) + caller + len(l.newest)
				l.values.Add(number)
				switch {
				case caller == 0:
					l.values.Done(number, l.coalescer.Do(context.Background(), []int{number}), false)
				case n%8 == 4:
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(50))*time.Microsecond)
					l.values.Called(number, l.coalescer.Send(ctx, []int{number}))
					cancel()
				case n%8 == 0:
					l.values.Called(number, l.coalescer.CallWithin([]int{number}, 0))
					runtime.Gosched()
				default:
					l.values.Called(number, l.coalescer.Call([]int{number}))
				}
			}
		})
	}
	l.users.Go(func() {
		for range rand.IntN(4) {
			l.values.Report(l.coalescer.Flush(context.Background()))
			runtime.Gosched()
		}
	})
}

// check waits until all values are handed over, and checks that each has one fate.
func (l *coalescerLife) check() {
	l.users.Wait()
	l.values.Report(l.coalescer.Shutdown(context.Background()))
	if dropped := l.coalescer.Cancel(); len(dropped) > 0 {
		l.t.Errorf("%v is left", dropped)
	}
	l.values.Finish()
	if problem := l.values.Problem(); problem != "" {
		l.t.Error(problem)
	}
}

// TestCoalescer_Close_race ends a Coalescer while values are handed over, and checks
// that each value has one fate.
func TestCoalescer_Close_race(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(l *coalescerLife, stop context.CancelFunc)
	}{
		{"Close", func(l *coalescerLife, _ context.CancelFunc) { _ = l.coalescer.Close() }},
		{"Shutdown", func(l *coalescerLife, _ context.CancelFunc) {
			l.values.Report(l.coalescer.Shutdown(context.Background()))
		}},
		{"Shutdown out of time", func(l *coalescerLife, _ context.CancelFunc) {
			ctx, end := context.WithTimeout(context.Background(), time.Duration(rand.IntN(50))*time.Microsecond)
			defer end()
			l.values.Report(l.coalescer.Shutdown(ctx))
		}},
		{"parent", func(l *coalescerLife, stop context.CancelFunc) {
			stop()
			// Nothing waits for the goroutine that then closes and reports what is lost.
			l.users.Wait()
			eventually(l.t, "the report", func() bool { return l.values.Settled() == lifeValues*len(l.newest) })
		}},
		{"Cancel, then Close", func(l *coalescerLife, _ context.CancelFunc) {
			l.values.Canceled(l.coalescer.Cancel())
			_ = l.coalescer.Close()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var counts sync.Map
			playRounds(t, rounds(40), func(t *testing.T) {
				parent, stop := context.WithCancel(context.Background())
				defer stop()
				l := newCoalescerLife(t, throttle.WithContext(parent))
				l.use()
				linger(l.running)
				test.end(l, stop)
				l.check()
				for fate, count := range l.values.Counts() {
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

// TestKeyedCoalescer_race hands over values for a few keys, while others cancel, remove and
// flush keys, and then ends the KeyedCoalescer in some way. Each value has one fate.
func TestKeyedCoalescer_race(t *testing.T) {
	const keys = 5
	playRounds(t, rounds(40), func(t *testing.T) {
		values := reference.NewValueLog(false)
		var runs atomic.Int32
		c := throttle.Must(throttle.NewKeyedCoalescer(
			throttle.Policy{Interval: 20 * time.Microsecond, MaxCalls: 4, Retry: throttle.Backoff{Initial: 10 * time.Microsecond, MaxAttempts: 2}},
			throttle.Batch[int](), func(_ context.Context, key int, batch []int) error {
				for _, number := range batch {
					if number%keys != key {
						t.Errorf("a run of key %d gets value %d", key, number)
					}
				}
				values.Taken(batch)
				switch runs.Add(1) % 7 {
				case 0:
					return errFailed
				case 3:
					panic("scripted")
				case 5:
					rest := batch[len(batch)/2:]
					values.Delivered(batch[:len(batch)/2])
					return throttle.Unfinished(rest, errFailed)
				}
				values.Delivered(batch)
				return nil
			}, throttle.WithErrorHandler(values.Report), throttle.WithMaxPending(8), throttle.WithMaxConcurrent(3)))
		var users sync.WaitGroup
		for user := range 4 {
			users.Go(func() {
				for n := range lifeValues {
					number := 1 + n*4 + user
					key := number % keys
					values.Add(number)
					switch {
					case user == 0:
						values.Done(number, c.Do(context.Background(), key, number), false)
					case n%3 == 0:
						values.Called(number, c.Send(context.Background(), key, number))
					default:
						values.Called(number, c.Call(key, number))
						runtime.Gosched()
					}
				}
			})
		}
		users.Go(func() {
			for n := range lifeValues / 4 {
				switch key := n % keys; n % 4 {
				case 0:
					values.Canceled(c.Cancel(key))
				case 1:
					values.Canceled(c.Remove(key))
				case 2:
					values.Report(c.Flush(context.Background(), key))
				default:
					c.Pause()
					c.Resume()
				}
				runtime.Gosched()
			}
		})
		switch rand.IntN(4) {
		case 0:
			_ = c.Close()
		case 1:
			ctx, end := context.WithTimeout(context.Background(), time.Duration(rand.IntN(500))*time.Microsecond)
			values.Report(c.Shutdown(ctx))
			end()
		}
		users.Wait()
		values.Report(c.Shutdown(context.Background()))
		values.Finish()
		if problem := values.Problem(); problem != "" {
			t.Error(problem)
		}
		if stats := c.Stats(); stats.Values != 0 || stats.Batches != 0 || c.Len() != 0 {
			t.Errorf("%d values in %d batches are left, with %d keys", stats.Values, stats.Batches, c.Len())
		}
	})
}
