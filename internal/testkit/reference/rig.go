package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/throttle-go/throttle"
)

// A Report is the result of Play.
type Report struct {
	Failure string       // how throttler and model disagree, with all you need to replay the scenario by hand; empty if they agree
	Fired   map[Rule]int // how often each rule decided; nil if New already disagreed
	Steps   int          // steps compared before the throttler was closed
}

// Play plays a scenario on a throttler and on the model at once, in a bubble of fake time,
// and compares the two after every step. It also checks the guarantees directly, see
// history, so that an error of the model cannot hide one of the library. It fails t only if
// goroutines are left.
func Play(t *testing.T, s Scenario) (report Report) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		r := newRig(s)
		defer r.leaveNothingBehind()
		if r.build() {
			r.play()
			report.Fired = r.model.fired
		}
		report.Failure, report.Steps = r.failure, r.steps
	})
	return report
}

// A rig plays one scenario on a throttler and on the model.
type rig struct {
	scenario  Scenario
	model     *model
	throttler *throttle.Throttler
	made      time.Time
	endParent context.CancelFunc
	patience  context.Context // of all waiters; it ends early only if the scenario has failed
	giveUp    context.CancelFunc
	waiters   sync.WaitGroup
	timeline  []string
	failure   string // nothing is compared after the first
	asked     int    // waiting operations so far
	steps     int

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	log []string // what was seen of the throttler since the last comparison
	// +checklocks:mu
	history history // what happened to it since it was made
	// +checklocks:mu
	started int // runs
	// +checklocks:mu
	ended int // runs
	// +checklocks:mu
	mostRuns int // after so many runs, the throttler is closed
	// +checklocks:mu
	openCauses []int // numbers of the runs whose cause the model leaves open
	// +checklocks:mu
	repetitions []repetition // what observers were told since the last comparison
	// +checklocks:mu
	repeated time.Duration // when the last run that ended will be repeated; never if it will not be
}

func newRig(s Scenario) *rig {
	r := &rig{scenario: s, made: time.Now(), endParent: func() {}, repeated: never}
	r.patience, r.giveUp = context.WithCancel(context.Background())
	return r
}

// mostRunsPerWait bounds the runs of one wait.
const mostRunsPerWait = 40

// errParentEnded is why the parent context ends.
var errParentEnded = errors.New("the parent context ended")

// build makes the throttler and the model. It checks that New refuses an invalid policy,
// and then uses a valid one. It reports whether there is something to play on.
func (r *rig) build() bool {
	s := &r.scenario
	options := []throttle.Option{
		throttle.WithName("played"),
		throttle.WithErrorHandler(r.handle),
		throttle.WithObserver(r.observe),
	}
	if s.Counting {
		options = append(options, throttle.WithCallCount())
	}
	if s.Paused {
		options = append(options, throttle.WithPaused())
	}
	if s.Parent {
		parent, end := context.WithCancelCause(context.Background())
		r.endParent = func() { end(errParentEnded) }
		options = append(options, throttle.WithContext(parent))
	}
	throttler, err := throttle.New(s.Policy, r.callback, options...)
	if len(faults(s.Policy)) > 0 {
		if verdict := verdictOf(err); verdict != verdictPolicy || throttler != nil {
			r.failure = fmt.Sprintf("New accepts the invalid %s: %v", policyText(s.Policy), verdict)
			return false
		}
		s.Policy = mend(throttle.Policy{Interval: max(0, s.Policy.Interval), Quiet: max(0, s.Policy.Quiet)})
		throttler, err = throttle.New(s.Policy, r.callback, options...)
	}
	if err != nil {
		r.failure = fmt.Sprintf("New refuses the valid %s: %v", policyText(s.Policy), err)
		return false
	}
	r.throttler = throttler
	r.model = newModel(s.Policy, s.Counting, s.Script)
	r.model.paused = s.Paused
	r.note(func(h *history, _ time.Duration) {
		h.policyChanged(s.Policy)
		h.paused = s.Paused
	})
	return true
}

// play plays every step and compares after each.
func (r *rig) play() {
	r.compare("New")
	for _, step := range r.scenario.Steps {
		if r.failure != "" {
			return
		}
		r.wait(r.target(step))
		step = r.decide(step)
		r.compare("")
		r.do(step)
		r.pass(r.model.now)
		r.compare(describe(step))
		if r.model.phase != phaseClosed { // it has little to show
			r.steps++
		}
	}
	r.leave()
	r.mu.Lock()
	r.checkLocked(r.history.finish())
	r.mu.Unlock()
	r.compare("the end")
}

// decide waits until the effect of a step is no longer open. If that takes too long, the
// step does nothing.
func (r *rig) decide(s Step) Step {
	if until := r.model.hold.until; r.model.undecided(s) && until-r.model.now <= longestWait {
		r.wait(max(until, r.model.now))
	}
	if r.model.undecided(s) {
		return Step{}
	}
	return s
}

// target is the instant until which a step waits.
func (r *rig) target(s Step) time.Duration {
	now, to := r.model.now, never
	switch s.Aim {
	case AimNowhere:
		return now + s.Wait
	case AimDue:
		if due, ok := r.model.due(); ok {
			to = due.at
		}
	case AimPermit:
		to = r.model.permit()
	case AimRunEnd:
		if r.model.active != nil {
			to = r.model.active.ends
		}
	case AimQuiet:
		to = plus(r.model.lastCall, r.model.policy.Quiet)
	}
	if to+s.Wait <= now || to > now+longestWait {
		return now + 10*time.Millisecond
	}
	return to + s.Wait
}

// wait lets time pass for both, until an instant or the model's bound on runs.
func (r *rig) wait(to time.Duration) {
	r.pass(to)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checkLocked(r.history.passed(r.elapsed()))
}

// pass lets time pass, and lets everything happen that is due by then.
func (r *rig) pass(to time.Duration) {
	last := r.model.runs + mostRunsPerWait - 1
	for {
		reached := r.model.advance(to, last)
		r.expect(r.model)
		time.Sleep(reached - r.elapsed())
		synctest.Wait()
		if !r.model.drawn {
			return
		}
		stats := r.throttler.Stats()
		next := r.see(stats)
		r.mu.Lock()
		r.checkRepeatedLocked(stats, next)
		r.mu.Unlock()
	}
}

// expect prepares for the runs that the model has seen. A throttler that makes many more
// must be stopped, or time in the bubble would stand still.
func (r *rig) expect(m *model) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mostRuns = int(m.runs) + mostRunsPerWait
	r.openCauses = slices.Clone(m.openCauses)
}

// see passes the next run that Stats returns to the model.
func (r *rig) see(stats throttle.Stats) (next time.Duration) {
	next = never
	if !stats.Next.IsZero() {
		next = stats.Next.Sub(r.made)
	}
	if broken := r.model.see(next); broken != "" {
		r.write("BROKEN: " + broken)
	}
	return next
}

func (r *rig) elapsed() time.Duration { return time.Since(r.made) }

// do performs a step's operation on both.
func (r *rig) do(s Step) {
	m, t := r.model, r.throttler
	switch s.Op {
	case OpNothing:
	case OpCall:
		r.note((*history).call)
		t.Call()
		m.call(never, nil)
	case OpCallWithin:
		r.note((*history).call)
		t.CallWithin(s.Within)
		m.call(s.Within, nil)
	case OpDo:
		r.await(s, t.Do, m.do)
	case OpFlush:
		r.await(s, t.Flush, m.flush)
	case OpShutdown:
		r.await(s, t.Shutdown, m.shutdown)
	case OpWait:
		r.await(s, t.Wait, m.wait)
	case OpPause:
		r.note((*history).pause)
		t.Pause()
		m.pause()
	case OpResume:
		r.note((*history).resume)
		t.Resume()
		m.resume()
	case OpCancel:
		r.note((*history).cancel)
		r.answer("Cancel", strconv.FormatBool(t.Cancel()))
		m.say(lineAnswer(m.now, "Cancel", strconv.FormatBool(m.cancel())))
	case OpSetPolicy:
		r.setPolicy(s.Policy)
	case OpSetSamePolicy:
		r.setPolicy(t.Policy())
	case OpClose:
		r.note((*history).close)
		r.answer("Close", verdictOf(t.Close()))
		m.close(verdictClosed)
		m.say(lineAnswer(m.now, "Close", verdictNil))
	case OpEndParent:
		if r.scenario.Parent && !r.drainsHeedfulRun() {
			r.note((*history).close)
			r.endParent()
			m.close(verdictClosedParent)
		}
	}
}

// drainsHeedfulRun reports whether Shutdown waits for a run that the end of the parent
// would stop. Either the run's end or the parent's may then close the throttler.
func (r *rig) drainsHeedfulRun() bool {
	return r.model.phase == phaseDraining && r.model.active.script.HeedsContext
}

func (r *rig) setPolicy(p throttle.Policy) {
	if len(faults(p)) == 0 {
		r.note(func(h *history, _ time.Duration) { h.policyChanged(p) })
	}
	r.answer("SetPolicy", verdictOf(r.throttler.SetPolicy(p)))
	m := r.model
	m.say(lineAnswer(m.now, "SetPolicy", m.setPolicy(p)))
}

// await lets a goroutine wait in Do, Flush, Wait or Shutdown.
func (r *rig) await(s Step, ask func(context.Context) error, expect func(*waiter)) {
	r.asked++
	w := &waiter{
		name:      fmt.Sprintf("%v (number %d)", s.Op, r.asked),
		until:     never,
		late:      s.Late,
		shutsDown: s.Op == OpShutdown,
	}
	if s.Within > 0 {
		w.until = r.model.now + s.Within
	}
	if !s.Late && s.Op == OpDo {
		r.note((*history).call)
	}
	if s.Late && s.Op == OpShutdown {
		r.note((*history).close)
	}
	r.waiters.Go(func() {
		ctx, cancel := context.WithCancel(r.patience)
		defer cancel()
		if s.Late {
			cancel()
		}
		if s.Within > 0 {
			ctx, cancel = context.WithTimeout(ctx, s.Within)
			defer cancel()
		}
		r.mu.Lock()
		barrier := r.history.ask(s.Op, r.elapsed())
		r.mu.Unlock()
		err := ask(ctx)
		r.answer(w.name, verdictOf(err))
		r.mu.Lock()
		r.checkLocked(r.history.answered(s.Op, barrier, err))
		r.mu.Unlock()
	})
	expect(w)
}

// leave ends the scenario. Afterwards every call was covered or dropped, and no goroutine
// is left in the bubble.
func (r *rig) leave() {
	switch {
	case r.scenario.Ending == EndWithShutdown:
		r.finally(Step{Op: OpShutdown})
	case r.scenario.Ending == EndIdle && !r.scenario.Parent && r.model.policy.MaxInterval == 0:
		r.finally(Step{Op: OpCancel})
		for r.model.active != nil || r.model.pending() { // the callback may call
			r.pass(r.model.now + time.Second)
			r.finally(Step{Op: OpCancel})
		}
	default:
		r.finally(Step{Op: OpClose})
	}
	for r.model.active != nil {
		r.wait(r.model.active.ends)
		r.compare("the last run ends")
	}
}

func (r *rig) finally(s Step) {
	r.do(s)
	r.pass(r.model.now)
	r.compare(describe(s) + " (the end)")
}

// leaveNothingBehind lets a failed scenario end without a deadlock: the deadlock would
// hide the failure.
func (r *rig) leaveNothingBehind() {
	if r.failure != "" && r.throttler != nil {
		_ = r.throttler.Close()
		r.giveUp()
		for r.active() {
			time.Sleep(time.Second)
		}
	}
	r.waiters.Wait()
	r.giveUp()
	synctest.Wait()
}

// active reports whether a callback is active.
func (r *rig) active() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started > r.ended
}
