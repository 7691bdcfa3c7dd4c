package linearizability_test

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

// A scene is a kind of Throttler to make histories with.
type scene struct {
	name        string
	policy      throttle.Policy
	options     []throttle.Option
	leadingOnly bool
}

// A recorder makes one history. Every run of its Throttler fails with an error that contains
// its number, so waiters learn which run answered them.
//
// Time is counted, not measured. Reading a clock is not a synchronizing operation: what a
// goroutine does afterwards may take effect before, and then the check would refuse a history
// because of the clock. The increments of an atomic counter have one total order with all
// operations of the Throttler.
type recorder struct {
	t         *testing.T
	scene     scene
	throttler *throttle.Throttler
	endParent context.CancelFunc // ends the Throttler's parent context
	patience  context.Context    // ends when the test stops waiting

	time     atomic.Int64
	canceled atomic.Int64 // how many answers were ErrCanceled so far
	goexit   atomic.Int64 // the run that ended its goroutine; at most one does, because ErrGoexit has no number

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	runs []recordedRun
}

// A recordedRun holds the times when the callback began, and when the observer, which is the
// last part of a run, was about to return.
type recordedRun struct {
	entered, returning int64
	again              bool
}

// The clients of a history that are not callers. The callers follow.
const (
	runStarting = iota
	runEnding
	firstCaller
)

// later is the end of an operation if nobody knows when it ended.
const later int64 = math.MaxInt64

func (r *recorder) now() int64 { return r.time.Add(1) }

// play makes a history with the given number of callers.
func play(t *testing.T, scene scene, callers int) []porcupine.Operation {
	t.Helper()
	parent, endParent := context.WithCancel(context.Background())
	defer endParent()
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r := &recorder{t: t, scene: scene, endParent: endParent, patience: patience}
	options := append([]throttle.Option{
		throttle.WithContext(parent),
		throttle.WithErrorHandler(func(error) {}), // else each error is logged
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

// A runError is the error of a run. Its value is the number of the run.
type runError int

func (e runError) Error() string { return fmt.Sprintf("run %d", int(e)) }

// callback is the callback of the Throttler. It locks so that runs that overlap are not a data
// race: the model must refuse them.
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

// observe is the observer of the Throttler.
func (r *recorder) observe(seen throttle.Run) {
	run := r.classify(seen.Err).run
	if run == 0 {
		return // an error that the callback did not return, which classify has reported
	}
	pause()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[run-1].returning = r.now()
}

// pause sometimes lets other goroutines go first.
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

// An ending is what ends the Throttler of a history.
type ending int

const (
	byNobody ending = iota
	byClose
	byShutdown
	byParent
	endings
)

// rest waits until the Throttler says that nothing is pending or running, and that it is closed
// if its parent context has ended. It uses Stats, because any other method would make the
// Throttler look at what is due again, and so might hide a lost call.
func (r *recorder) rest(how ending) {
	for {
		stats := r.throttler.Stats()
		if !stats.Pending && !stats.Running && (stats.Closed || how != byParent) {
			return
		}
		if r.patience.Err() != nil {
			r.t.Errorf("the Throttler still has work: %+v", stats)
			return
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// history returns all recorded operations, ordered by their begin.
//
// The start of a run comes after the previous callback began, and before its own. Its end comes
// after its observer was about to return. A caller that knows that the run is over records
// that as an operation.
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
	how  ending // the ending that it causes, if any
	done []porcupine.Operation
}

// work takes random steps, and in between causes the ending.
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

// step does one random thing.
func (c *caller) step() {
	switch dice := rand.IntN(100); {
	case dice < 28:
		c.call(c.throttler.Call)
	case dice < 34:
		c.call(func() { c.throttler.CallWithin(time.Duration(rand.IntN(30)) * time.Microsecond) })
	case dice < 50:
		c.wait(c.patience, do, c.throttler.Do)
	case dice < 56:
		c.waitBriefly(do, c.throttler.Do)
	case dice < 66:
		c.wait(c.patience, flush, c.throttler.Flush)
	case dice < 69:
		c.waitBriefly(flush, c.throttler.Flush)
	case dice < 75:
		c.wait(c.patience, wait, c.throttler.Wait)
	case dice < 77:
		c.waitBriefly(wait, c.throttler.Wait)
	case dice < 81:
		c.pauseAndResume()
	case dice < 88:
		c.cancel()
	case dice < 96:
		c.stats()
	default:
		c.record(request{kind: setPolicy}, func() answer {
			return answer{yes: c.throttler.SetPolicy(c.scene.policy) == nil}
		})
	}
}

// end causes the ending. Often it makes a call right before, so that a run has started but not
// entered its callback yet, and looks at what is pending.
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
		// The Throttler gets this in another goroutine, at any time.
		began := c.now()
		c.endParent()
		c.note(request{kind: closing}, answer{}, began, later)
	case byNobody, endings:
	}
}

// record calls f and records it as q.
func (c *caller) record(q request, f func() answer) answer {
	began := c.now()
	a := f()
	c.note(q, a, began, c.now())
	return a
}

func (c *caller) note(q request, a answer, began, ended int64) {
	c.done = append(c.done, porcupine.Operation{ClientId: c.id, Input: q, Output: a, Call: began, Return: ended})
}

// know records that q is true from now on.
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

// pauseAndResume takes a few steps that do not wait while the Throttler is paused. Other
// callers that wait meanwhile go on after Resume.
func (c *caller) pauseAndResume() {
	c.record(request{kind: pausing}, func() answer {
		c.throttler.Pause()
		return answer{}
	})
	for range rand.IntN(4) {
		pause()
		switch rand.IntN(4) {
		case 0:
			c.cancel()
		case 1:
			c.stats()
		default:
			c.call(c.throttler.Call)
		}
	}
	c.record(request{kind: resuming}, func() answer {
		c.throttler.Resume()
		return answer{}
	})
}

func (c *caller) cancel() {
	c.record(request{kind: cancel}, func() answer { return answer{yes: c.throttler.Cancel()} })
}

func (c *caller) stats() {
	c.record(request{kind: stats}, func() answer {
		s := c.throttler.Stats()
		return answer{glance: glance{runs: int(s.Runs), pending: s.Pending, running: s.Running, closed: s.Closed, paused: s.Paused}}
	})
}

// wait records a method that waits, and what the caller knows after its return.
func (c *caller) wait(ctx context.Context, kind string, f func(context.Context) error) {
	q := request{kind: kind, spent: ctx.Err() != nil}
	a := c.record(q, func() answer { return c.classify(f(ctx)) })
	if ctx.Err() == nil { // else it may have returned the outcome without waiting for the run's end
		c.heard(a)
	}
}

// heard records what the caller knows from the answer a.
func (c *caller) heard(a answer) {
	switch a.outcome {
	case byRun:
		c.know(request{kind: heardRun, run: a.run})
	case canceled:
		c.know(request{kind: heardCanceled, number: a.number})
	case closed:
		c.know(request{kind: heardClosed})
	case paused:
		c.know(request{kind: heardPaused})
	}
}

// waitBriefly waits with a context that has ended or will end soon.
func (c *caller) waitBriefly(kind string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(c.patience, time.Duration(rand.IntN(40)-5)*time.Microsecond)
	defer cancel()
	c.wait(ctx, kind, f)
}

// shutdown records Shutdown as two operations, its begin and its end, and records that nothing
// runs afterwards.
func (c *caller) shutdown() {
	began := c.now()
	a := c.classify(c.throttler.Shutdown(c.patience))
	returned := c.now()
	c.note(request{kind: draining}, a, began, returned)
	c.note(request{kind: drained}, a, began, returned)
	c.heard(a)
	c.know(request{kind: atRest})
}

// classify returns the answer for err.
func (r *recorder) classify(err error) answer {
	var run runError
	switch {
	case errors.As(err, &run):
		return answer{outcome: byRun, run: int(run)}
	case err == nil:
		return answer{outcome: nothing}
	case errors.Is(err, throttle.ErrGoexit):
		return answer{outcome: byRun, run: int(r.goexit.Load())}
	case errors.Is(err, throttle.ErrCanceled):
		number := int(r.canceled.Add(1) - 1)
		if number >= mostCanceled {
			r.t.Errorf("one history has more than %d answers ErrCanceled, which the model cannot check", mostCanceled)
		}
		return answer{outcome: canceled, number: number}
	case errors.Is(err, throttle.ErrPaused) && errors.Is(err, throttle.ErrClosed):
		return answer{outcome: paused}
	case errors.Is(err, throttle.ErrClosed):
		return answer{outcome: closed}
	case errors.Is(err, throttle.ErrThrottled):
		return answer{outcome: throttled}
	case errors.Is(err, context.DeadlineExceeded) && r.patience.Err() == nil:
		return answer{outcome: abandoned}
	default:
		r.t.Errorf("a method returned %v, or waited too long", err)
		return answer{outcome: unknown}
	}
}
