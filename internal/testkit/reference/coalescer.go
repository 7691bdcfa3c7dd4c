package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/throttle-go/throttle"
)

// A CoalescerReport is the result of PlayCoalescer.
type CoalescerReport struct {
	Failure string       // the first problem, with all you need to replay the scenario by hand; empty if there is none
	Fates   map[Fate]int // how many values had each fate
}

// PlayCoalescer plays a scenario on a Throttler and on a Coalescer at once, in a bubble
// of fake time. Both must start runs at the same instants and report the same, and
// each value of the Coalescer must have exactly one fate. It fails t only if goroutines
// are left.
func PlayCoalescer(t *testing.T, s Scenario) (report CoalescerReport) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		if s.Policy = coalescerPolicy(s.Policy); len(faults(s.Policy)) > 0 {
			s.Policy = throttle.Every(10 * time.Millisecond)
		}
		c := &comparison{scenario: &s, made: time.Now(), values: NewValueLog(true)}
		c.build()
		defer c.leaveNothingBehind()
		for _, step := range s.Steps {
			c.wait(step)
			c.compare("")
			c.do(step)
			c.compare(step.Op.String())
			if c.over() || c.failure != "" {
				break
			}
		}
		if c.failure == "" {
			c.end()
		}
		report = CoalescerReport{c.failure, c.values.Counts()}
	})
	return report
}

// coalescerPolicy returns a policy that means the same for both forms. A Coalescer has no
// periodic runs, bounded batches, and attempts for each of these; and each form would draw
// its own Jitter.
func coalescerPolicy(p throttle.Policy) throttle.Policy {
	p.MaxInterval, p.Retry.Jitter, p.MaxCalls, p.Retry.MaxAttempts = 0, 0, 0, 0
	return mend(p)
}

// A comparison plays one scenario on a Throttler and on a Coalescer.
type comparison struct {
	scenario  *Scenario
	made      time.Time
	throttler *side
	coalescer *side
	values    *ValueLog // of the Coalescer
	waiters   sync.WaitGroup
	asked     int  // waiting operations so far
	drained   bool // Shutdown has been called
	timeline  []string
	failure   string // nothing is compared after the first
}

// A form is what the two forms have in common. callWithin, do and cancel make up the
// Coalescer's values and log them.
type form interface {
	callWithin(d time.Duration)
	do(ctx context.Context) error
	cancel() bool
	Flush(ctx context.Context) error
	Policy() throttle.Policy
	SetPolicy(p throttle.Policy) error
	Stats() throttle.Stats
	Pause()
	Resume()
	Wait(ctx context.Context) error
	Close() error
	Shutdown(ctx context.Context) error
}

type throttlerForm struct{ *throttle.Throttler }

func (f throttlerForm) callWithin(d time.Duration)   { f.CallWithin(d) }
func (f throttlerForm) do(ctx context.Context) error { return f.Do(ctx) }
func (f throttlerForm) cancel() bool                 { return f.Cancel() }

type coalescerForm struct {
	*throttle.Coalescer[[]int, []int]

	values *ValueLog
}

func (f coalescerForm) callWithin(d time.Duration) {
	value := f.values.Next()
	f.values.Called(value, f.CallWithin([]int{value}, d))
}

func (f coalescerForm) do(ctx context.Context) error {
	value, ended := f.values.Next(), ctx.Err() != nil
	err := f.Do(ctx, []int{value})
	f.values.Done(value, err, ended)
	return err
}

func (f coalescerForm) cancel() bool {
	dropped := f.Cancel()
	f.values.Canceled(dropped)
	return len(dropped) > 0
}

func (f coalescerForm) Flush(ctx context.Context) error {
	err := f.Coalescer.Flush(ctx)
	f.values.Report(err)
	return err
}

func (f coalescerForm) Wait(ctx context.Context) error {
	err := f.Coalescer.Wait(ctx)
	f.values.Report(err)
	return err
}

func (f coalescerForm) Shutdown(ctx context.Context) error {
	err := f.Coalescer.Shutdown(ctx)
	f.values.Report(err)
	return err
}

// lists merges lists.
func lists() throttle.Merger[[]int, []int] {
	return throttle.Merge(func(older, newer []int) []int { return append(older, newer...) })
}

// A side is one of the two forms, its callback, and what is seen of it.
type side struct {
	form

	scenario  *Scenario
	made      time.Time
	parent    context.Context
	endParent context.CancelCauseFunc
	options   []throttle.Option
	drained   atomic.Bool // Shutdown has been called

	mu sync.Mutex // guards the fields below
	// +checklocks:mu
	log []string // since the last comparison
	// +checklocks:mu
	started int // runs
	// +checklocks:mu
	ended int // runs
}

func (c *comparison) newSide() *side {
	s := &side{scenario: c.scenario, made: c.made}
	s.parent, s.endParent = context.WithCancelCause(context.Background())
	s.options = []throttle.Option{throttle.WithObserver(s.observe), throttle.WithCallCount()}
	if c.scenario.Paused {
		s.options = append(s.options, throttle.WithPaused())
	}
	if c.scenario.Parent {
		s.options = append(s.options, throttle.WithContext(s.parent))
	}
	return s
}

func (c *comparison) build() {
	c.throttler, c.coalescer = c.newSide(), c.newSide()
	c.throttler.form = throttlerForm{throttle.Must(throttle.New(c.scenario.Policy, c.throttler.callback,
		append(c.throttler.options, throttle.WithErrorHandler(c.throttler.handle))...))}
	c.coalescer.form = coalescerForm{throttle.Must(throttle.NewCoalescer(c.scenario.Policy, lists(), c.deliver,
		append(c.coalescer.options, throttle.WithErrorHandler(func(err error) {
			c.values.Report(err)
			c.coalescer.handle(err)
		}))...)), c.values}
}

// deliver is the Coalescer's callback.
func (c *comparison) deliver(ctx context.Context, value []int) error {
	c.values.Taken(value)
	err := c.coalescer.callback(ctx)
	if err == nil {
		c.values.Delivered(value)
	}
	return err
}

func (s *side) elapsed() time.Duration { return time.Since(s.made) }

func (s *side) write(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeLocked(format, args...)
}

// +checklocks:s.mu
func (s *side) writeLocked(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf("%v: ", s.elapsed())+fmt.Sprintf(format, args...))
}

// callback does what the script says.
func (s *side) callback(ctx context.Context) error {
	s.mu.Lock()
	number := s.started
	s.started++
	s.writeLocked("run %d starts", number)
	s.mu.Unlock()
	defer func() { // even when it panics
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended++
	}()
	script := s.scenario.Script(number)
	s.act(ctx, script.Early)
	script.work(ctx)
	s.act(ctx, script.Late)
	return script.End(number)
}

// act calls a method from inside the callback.
func (s *side) act(ctx context.Context, act Act) {
	verdict := verdictNil
	switch act {
	case ActNone:
		return
	case ActCall:
		s.callWithin(never)
	case ActCallWithin:
		s.callWithin(ActWithin)
	case ActCancel:
		verdict = strconv.FormatBool(s.cancel())
	case ActSetSamePolicy:
		verdict = verdictOf(s.SetPolicy(s.Policy()))
	case ActClose:
		verdict = verdictOf(s.Close())
	case ActDo:
		verdict = verdictOf(s.form.do(ctx))
	case ActFlush:
		verdict = verdictOf(s.Flush(ctx))
	case ActShutdown:
		verdict = verdictOf(s.Shutdown(ctx))
	case ActPause:
		s.Pause()
	case ActResume:
		s.Resume()
	case ActWait:
		verdict = verdictOf(s.Wait(ctx))
	}
	s.write("the callback's %v returns %s", act, verdict)
}

// observe logs a run, with all that the observer gets.
func (s *side) observe(run throttle.Run) {
	since := func(at time.Time) time.Duration { return at.Sub(s.made) }
	s.write("run seen: %s, asked for at %v, due at %v, from %v to %v, for %d calls: %s",
		run.Cause, since(run.Asked), since(run.Due), since(run.Started), since(run.Ended), run.Calls, verdictOf(run.Err))
	if s.parent.Err() == nil { // else the run may have ended before or after the close
		s.write("it will be repeated at %v", since(run.Retry))
	}
}

// handle logs an error, except for a value that was lost without a failed run: only a
// Coalescer has that. A Coalescer's Shutdown takes the errors of all runs that it waits for,
// a Throttler's only the last one.
func (s *side) handle(err error) {
	if s.drained.Load() {
		return
	}
	if verdict := verdictOf(err); verdict != verdictRetryIn && !errors.Is(err, throttle.ErrClosed) {
		s.write("the error handler gets %s", verdict)
	}
}

// wait lets time pass before a step.
func (c *comparison) wait(s Step) {
	wait := s.Wait
	if s.Aim != AimNowhere {
		wait = 10 * time.Millisecond
		if next := c.throttler.Stats().Next; !next.IsZero() {
			if until := time.Until(next) + s.Wait; until > 0 && until <= time.Second {
				wait = until
			}
		}
	}
	time.Sleep(max(wait, 0))
	synctest.Wait()
}

// do performs a step's operation on both sides.
func (c *comparison) do(step Step) {
	for _, s := range []*side{c.throttler, c.coalescer} {
		switch step.Op {
		case OpNothing:
		case OpCall:
			s.callWithin(never)
		case OpCallWithin:
			s.callWithin(step.Within)
		case OpDo:
			c.await(step, s, s.form.do)
		case OpFlush:
			c.await(step, s, s.Flush)
		case OpShutdown:
			s.drained.Store(true)
			c.await(step, s, s.Shutdown)
		case OpWait:
			c.await(step, s, s.Wait)
		case OpPause:
			s.Pause()
		case OpResume:
			s.Resume()
		case OpCancel:
			s.write("Cancel returns %t", s.cancel())
		case OpSetPolicy:
			s.write("SetPolicy returns %s", verdictOf(s.SetPolicy(coalescerPolicy(step.Policy))))
		case OpSetSamePolicy:
			s.write("SetPolicy returns %s", verdictOf(s.SetPolicy(s.Policy())))
		case OpClose:
			_ = s.Close()
		case OpEndParent:
			if !c.drained { // else a run's end and the parent's would race
				s.endParent(errParentEnded)
			}
		}
		synctest.Wait()
	}
	c.drained = c.drained || step.Op == OpShutdown
	c.asked++
}

// await lets a goroutine wait in Do, Flush, Wait or Shutdown.
func (c *comparison) await(step Step, s *side, ask func(context.Context) error) {
	name := fmt.Sprintf("%v (number %d)", step.Op, c.asked)
	c.waiters.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if step.Late {
			cancel()
		}
		if step.Within > 0 {
			ctx, cancel = context.WithTimeout(ctx, step.Within)
			defer cancel()
		}
		verdict := verdictOf(ask(ctx))
		if step.Op == OpShutdown {
			verdict = "what handle does not log"
		}
		s.write("%s returns %s", name, verdict)
	})
}

// over reports whether nothing more can happen.
func (c *comparison) over() bool {
	stats := c.throttler.Stats()
	return stats.Closed && !stats.Pending && !stats.Running
}

// compare compares what the two sides did and what they report. Within one step the
// order may differ, since goroutines have none.
func (c *comparison) compare(what string) {
	throttler, coalescer := c.throttler.look(), c.coalescer.look()
	c.timeline = append(c.timeline, fmt.Sprintf("%8v  %s", c.throttler.elapsed(), what))
	for _, line := range coalescer.log {
		c.timeline = append(c.timeline, "        "+line)
	}
	switch problem := c.values.Problem(); {
	case !slices.Equal(throttler.log, coalescer.log):
		c.fail("the Throttler's log is different:\n" + strings.Join(throttler.log, "\n"))
	case throttler.state != coalescer.state:
		c.fail(fmt.Sprintf("Throttler: %+v\nCoalescer: %+v", throttler.state, coalescer.state))
	case problem != "":
		c.fail(problem)
	}
}

// A look is what a side has done since the last one, and its state.
type look struct {
	log   []string
	state state
}

type state struct {
	stats     throttle.Stats // without the error and the values
	lastError string
	policy    throttle.Policy
}

func (s *side) look() look {
	stats := s.Stats()
	lastError := verdictOf(stats.LastError)
	stats.LastError, stats.Batches, stats.Values = nil, 0, 0 // a Throttler has no values
	s.mu.Lock()
	defer s.mu.Unlock()
	log := slices.Sorted(slices.Values(s.log))
	s.log = nil
	return look{log, state{stats, lastError, s.Policy()}}
}

// end ends the scenario and checks that nothing is left.
func (c *comparison) end() {
	switch c.scenario.Ending {
	case EndWithShutdown:
		c.do(Step{Op: OpShutdown})
	case EndIdle:
		c.do(Step{Op: OpCancel})
	case EndWithClose:
		c.do(Step{Op: OpClose})
	}
	c.compare("the end")
	c.finishRuns()
	c.compare("the last run has ended")
	c.do(Step{Op: OpClose})
	c.finishRuns()
	c.waiters.Wait()
	c.do(Step{Op: OpCancel})
	c.do(Step{Op: OpCall})
	c.compare("closed")
	c.values.Finish()
	c.compare("every value has its fate")
}

// finishRuns waits until no run is active.
func (c *comparison) finishRuns() {
	for _, s := range []*side{c.throttler, c.coalescer} {
		for synctest.Wait(); s.active(); synctest.Wait() {
			time.Sleep(time.Second)
		}
	}
}

func (s *side) active() bool {
	running := s.Stats().Running
	s.mu.Lock()
	defer s.mu.Unlock()
	return running || s.started > s.ended
}

// fail keeps the first problem, with all you need to replay the scenario by hand.
func (c *comparison) fail(why string) {
	if c.failure != "" {
		return
	}
	c.coalescer.mu.Lock()
	runs := c.coalescer.started
	c.coalescer.mu.Unlock()
	c.failure = why + "\n" + replayText(c.scenario, runs) + strings.Join(c.timeline, "\n")
}

// leaveNothingBehind lets a scenario end without a deadlock even if it failed: the
// deadlock would hide the failure.
func (c *comparison) leaveNothingBehind() {
	_ = c.throttler.Close()
	_ = c.coalescer.Close()
	c.finishRuns()
	c.waiters.Wait()
	c.throttler.endParent(nil)
	c.coalescer.endParent(nil)
	synctest.Wait()
}
