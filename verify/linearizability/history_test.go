package linearizability_test

// This file holds how a real-time history is made and recorded: goroutines that do
// all that can be done to one Throttler, and the Throttler's callback.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/throttle-go/throttle"
)

// A scene is the kind of Throttler that a history is made with.
type scene struct {
	name        string
	policy      throttle.Policy
	options     []throttle.Option
	leadingOnly bool
}

// A recorder makes one history. Every run of its Throttler fails, with an error
// that tells its number: so whoever waits learns which run has answered.
//
// Time is counted, not measured. A reading of the clock is no synchronizing
// operation: what a goroutine does after it may take effect before, and then a
// history would be refused for the clock's fault. A counter's increments are in one
// total order with all that the Throttler does.
type recorder struct {
	t         *testing.T
	scene     scene
	throttler *throttle.Throttler
	endParent context.CancelFunc // ends the Throttler's parent context
	patience  context.Context    // ends when nothing more is to be expected

	time     atomic.Int64
	canceled atomic.Int64 // answers ErrCanceled so far
	goexit   atomic.Int64 // the run that ended its goroutine: ErrGoexit tells no number, so there is one at most

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	runs []recordedRun
}

// A recordedRun is when the callback was seen entered and the observer, which is the
// last that belongs to a run, about to return.
type recordedRun struct {
	entered, returning int64
	again              bool
}

// The clients of a history that are no goroutines of its own. The others follow.
const (
	runStarting = iota
	runEnding
	firstCaller
)

// later is when an operation ends of whose end nobody knows.
const later int64 = math.MaxInt64

func (r *recorder) now() int64 { return r.time.Add(1) }

// play makes and returns a history of that many callers.
func play(t *testing.T, scene scene, callers int) []porcupine.Operation {
	t.Helper()
	parent, endParent := context.WithCancel(context.Background())
	defer endParent()
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r := &recorder{t: t, scene: scene, endParent: endParent, patience: patience}
	options := append([]throttle.Option{
		throttle.WithContext(parent),
		throttle.WithErrorHandler(func(error) {}), // or each would be logged
		throttle.WithObserver(r.observe),
	}, scene.options...)
	r.throttler = throttle.Must(throttle.New(scene.policy, r.callback, options...))
	defer r.throttler.Close()

	how := ending(rand.IntN(int(endings)))
	all := make([]*caller, callers)
	for i := range all {
		all[i] = &caller{recorder: r, id: firstCaller + i}
	}
	all[0].how = how
	var working sync.WaitGroup
	for _, c := range all {
		working.Go(c.work)
	}
	working.Wait()
	r.rest(how)
	all[0].know(request{kind: atRest})
	return r.history(all)
}

// A runError is the error of a run: its number.
type runError int

func (e runError) Error() string { return fmt.Sprintf("run %d", int(e)) }

// callback is the Throttler's. Two that overlap are for the model to refuse, hence
// the lock.
func (r *recorder) callback() error {
	again := !r.scene.leadingOnly && rand.IntN(5) == 0
	r.mu.Lock()
	r.runs = append(r.runs, recordedRun{entered: r.now(), again: again})
	run := len(r.runs)
	r.mu.Unlock()

	pause()
	switch {
	case again:
		return fmt.Errorf("%w: %w", runError(run), throttle.RetryIn(time.Duration(rand.IntN(50))*time.Microsecond))
	case rand.IntN(8) == 0:
		panic(runError(run))
	case rand.IntN(8) == 0 && r.goexit.CompareAndSwap(0, int64(run)):
		runtime.Goexit()
	}
	return runError(run)
}

// observe is the Throttler's observer.
func (r *recorder) observe(seen throttle.Run) {
	run := r.classify(seen.Err).run
	if run == 0 {
		return // not what the callback has returned, and reported as such
	}
	pause()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[run-1].returning = r.now()
}

// pause lets others go first, or not.
func pause() {
	switch rand.IntN(6) {
	case 0:
		time.Sleep(time.Duration(rand.IntN(20)) * time.Microsecond)
	case 1, 2:
		runtime.Gosched()
	case 3:
		for range rand.IntN(2000) {
			_ = rand.Int()
		}
	}
}

// An ending is how a history comes to its Throttler's end.
type ending int

const (
	byNobody ending = iota
	byClose
	byShutdown
	byParent
	endings
)

// rest waits until the Throttler says that it is at rest, and closed if its parent
// context has ended. Stats alone can tell without doing what a lost call waits for:
// it does not make the Throttler reconsider what is due.
func (r *recorder) rest(how ending) {
	for {
		stats := r.throttler.Stats()
		if !stats.Pending && !stats.Running && (stats.Closed || how != byParent) {
			return
		}
		if r.patience.Err() != nil {
			r.t.Errorf("the Throttler does not come to rest: %+v", stats)
			return
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// history returns all that was recorded, in the order of begin.
//
// A run starts when the Throttler says so, sometime after the run before was seen
// entered and before itself is. It ends sometime after its observer has begun to
// return; whoever needs it to be over says so in an operation of his own.
func (r *recorder) history(callers []*caller) []porcupine.Operation {
	var all []porcupine.Operation
	for _, c := range callers {
		all = append(all, c.done...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var before int64
	for i, run := range r.runs {
		over := later
		if i+1 < len(r.runs) {
			over = max(run.returning, r.runs[i+1].entered)
		}
		start, end := request{kind: runStarts, run: i + 1}, request{kind: runEnds, run: i + 1, again: run.again}
		all = append(all,
			porcupine.Operation{ClientId: runStarting, Input: start, Output: answer{}, Call: before, Return: run.entered},
			porcupine.Operation{ClientId: runEnding, Input: end, Output: answer{}, Call: run.returning, Return: over})
		before = run.entered
	}
	slices.SortFunc(all, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	return all
}

// A caller is a goroutine that uses the Throttler.
type caller struct {
	*recorder
	id   int
	how  ending // it brings this about; nothing, if zero
	done []porcupine.Operation
}

// work does something of everything, and in its midst brings about the end.
func (c *caller) work() {
	steps := 6 + rand.IntN(8)
	for last := 1 + rand.IntN(steps); steps > 0; steps-- {
		pause()
		if steps == last {
			c.end()
		}
		c.step()
	}
}

// step does one thing.
func (c *caller) step() {
	switch dice := rand.IntN(100); {
	case dice < 30:
		c.call(c.throttler.Call)
	case dice < 36:
		c.call(func() { c.throttler.CallWithin(time.Duration(rand.IntN(30)) * time.Microsecond) })
	case dice < 54:
		c.wait(c.patience, do, c.throttler.Do)
	case dice < 60:
		c.waitBriefly(do, c.throttler.Do)
	case dice < 72:
		c.wait(c.patience, flush, c.throttler.Flush)
	case dice < 75:
		c.waitBriefly(flush, c.throttler.Flush)
	case dice < 85:
		c.cancel()
	case dice < 95:
		c.stats()
	default:
		c.record(request{kind: setPolicy}, func() answer {
			return answer{yes: c.throttler.SetPolicy(c.scene.policy) == nil}
		})
	}
}

// end brings about the Throttler's end. Often a call comes right before it, whose
// run then has started but not entered the callback, and a look at what is pending.
func (c *caller) end() {
	if c.how != byNobody && rand.IntN(2) == 0 {
		c.call(c.throttler.Call)
		switch rand.IntN(3) {
		case 0:
			c.cancel()
		case 1:
			c.stats()
		}
	}
	switch c.how {
	case byClose:
		c.record(request{kind: closing}, func() answer {
			c.throttler.Close()
			return answer{}
		})
	case byShutdown:
		c.shutdown()
	case byParent:
		// The Throttler hears of it in a goroutine of its own.
		began := c.now()
		c.endParent()
		c.note(request{kind: closing}, answer{}, began, later)
	case byNobody, endings:
	}
}

// record does f and records it as q.
func (c *caller) record(q request, f func() answer) answer {
	began := c.now()
	a := f()
	c.note(q, a, began, c.now())
	return a
}

func (c *caller) note(q request, a answer, began, ended int64) {
	c.done = append(c.done, porcupine.Operation{ClientId: c.id, Input: q, Output: a, Call: began, Return: ended})
}

// know records that q holds from now on.
func (c *caller) know(q request) {
	now := c.now()
	c.note(q, answer{}, now, now)
}

func (c *caller) call(f func()) {
	c.record(request{kind: call}, func() answer {
		f()
		return answer{}
	})
}

func (c *caller) cancel() {
	c.record(request{kind: cancel}, func() answer { return answer{yes: c.throttler.Cancel()} })
}

func (c *caller) stats() {
	c.record(request{kind: stats}, func() answer {
		s := c.throttler.Stats()
		return answer{glance: glance{runs: int(s.Runs), pending: s.Pending, running: s.Running, closed: s.Closed}}
	})
}

// wait records a method that waits, and what is known once it has returned.
func (c *caller) wait(ctx context.Context, kind string, f func(context.Context) error) {
	q := request{kind: kind, spent: ctx.Err() != nil}
	a := c.record(q, func() answer { return c.classify(f(ctx)) })
	if ctx.Err() == nil { // else it may have returned what was decided, without waiting for the run's end
		c.heard(a)
	}
}

// heard records what one who was told a knows from then on.
func (c *caller) heard(a answer) {
	switch a.outcome {
	case byRun:
		c.know(request{kind: heardRun, run: a.run})
	case canceled:
		c.know(request{kind: heardCanceled, told: a.told})
	case closed:
		c.know(request{kind: heardClosed})
	}
}

// waitBriefly waits with a context that has ended already, or soon will.
func (c *caller) waitBriefly(kind string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(c.patience, time.Duration(rand.IntN(40)-5)*time.Microsecond)
	defer cancel()
	c.wait(ctx, kind, f)
}

// shutdown records Shutdown as two operations, its begin and its end, and that
// nothing runs then.
func (c *caller) shutdown() {
	began := c.now()
	a := c.classify(c.throttler.Shutdown(c.patience))
	returned := c.now()
	c.note(request{kind: draining}, a, began, returned)
	c.note(request{kind: drained}, a, began, returned)
	c.heard(a)
	c.know(request{kind: atRest})
}

// classify returns the answer that err is.
func (r *recorder) classify(err error) answer {
	run, ok := errors.AsType[runError](err)
	switch {
	case ok:
		return answer{outcome: byRun, run: int(run)}
	case err == nil:
		return answer{outcome: nothing}
	case errors.Is(err, throttle.ErrGoexit):
		return answer{outcome: byRun, run: int(r.goexit.Load())}
	case errors.Is(err, throttle.ErrCanceled):
		told := int(r.canceled.Add(1) - 1)
		if told >= mostCanceled {
			r.t.Errorf("more than %d answers ErrCanceled in one history: the model cannot check them", mostCanceled)
		}
		return answer{outcome: canceled, told: told}
	case errors.Is(err, throttle.ErrClosed):
		return answer{outcome: closed}
	case errors.Is(err, throttle.ErrThrottled):
		return answer{outcome: throttled}
	case errors.Is(err, context.DeadlineExceeded) && r.patience.Err() == nil:
		return answer{outcome: abandoned}
	default:
		r.t.Errorf("a method that waits has returned %v, or waited in vain", err)
		return answer{outcome: unknown}
	}
}
