package throttle_test

// This file plays a scenario in a bubble of fake time on a Throttler and on the
// reference model at once; after every step both must have seen the same. What
// the throttler did is also held against the guarantees directly, see
// fuzz_history_test.go, so that an error of the model cannot hide one of the
// library.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/throttle-go/throttle"
)

// A rig plays one scenario on a throttler and on the model.
type rig struct {
	t         *testing.T
	data      []byte
	scenario  *scenario
	model     *model
	throttler *throttle.Throttler
	made      time.Time
	endParent context.CancelFunc
	waiters   sync.WaitGroup
	timeline  []string
	asked     int // waiting operations so far

	mu      sync.Mutex // guards the fields below
	diary   []string   // what was seen of the throttler since the last comparison
	history history    // and since it was made
	started int        // runs
	ended   int
}

// mostRuns bounds the runs of one wait.
const mostRuns = 40

// playScenario plays a scenario and returns how often each rule decided.
func playScenario(t *testing.T, data []byte) (fired map[modelRule]int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, data: data, scenario: (&decoder{data: data}).scenario(), made: time.Now()}
		r.build()
		defer r.leaveNothingBehind()
		r.play()
		fired = r.model.fired
	})
	return fired
}

var errParentEnded = errors.New("the parent context ended")

// build makes throttler and model, and checks that an invalid policy is
// refused; it is then mended.
func (r *rig) build() {
	s := r.scenario
	options := []throttle.Option{
		throttle.WithName("fuzz"),
		throttle.WithErrorHandler(r.handle),
		throttle.WithObserver(r.observe),
	}
	if s.counting {
		options = append(options, throttle.WithCallCount())
	}
	r.endParent = func() {}
	if s.parent {
		parent, end := context.WithCancelCause(context.Background())
		r.endParent = func() { end(errParentEnded) }
		options = append(options, throttle.WithContext(parent))
	}
	throttler, err := throttle.New(s.policy, r.callback, options...)
	if len(modelFaults(s.policy)) > 0 {
		if verdict := verdictOf(err); verdict != verdictPolicy || throttler != nil {
			r.t.Fatalf("New accepts the invalid %s: %v", policyText(s.policy), verdict)
		}
		s.policy = mendPolicy(throttle.Policy{Interval: max(0, s.policy.Interval), Quiet: max(0, s.policy.Quiet)})
		throttler, err = throttle.New(s.policy, r.callback, options...)
	}
	if err != nil {
		r.t.Fatalf("New refuses the valid %s: %v", policyText(s.policy), err)
	}
	r.throttler = throttler
	r.model = newModel(s.policy, s.counting, s.script)
	r.history.policyChanged(s.policy)
}

// play plays every step and compares after each.
func (r *rig) play() {
	r.compare("New")
	for _, step := range r.scenario.steps {
		r.wait(r.target(step))
		r.compare("")
		r.do(step)
		r.pass(r.model.now)
		r.compare(r.describe(step))
	}
	r.leave()
	r.mu.Lock()
	r.checkLocked(r.history.finish())
	r.mu.Unlock()
	r.compare("the end")
}

// target is the instant until which a step waits.
func (r *rig) target(s step) time.Duration {
	now, to := r.model.now, modelNever
	switch s.aim {
	case aimNowhere:
		return now + s.wait
	case aimDue:
		if due, ok := r.model.due(); ok {
			to = due.at
		}
	case aimPermit:
		to = r.model.permit()
	case aimRunEnd:
		if r.model.active != nil {
			to = r.model.active.ends
		}
	case aimQuiet:
		to = modelPlus(r.model.lastCall, r.model.policy.Quiet)
	}
	if to+s.wait <= now || to > now+time.Second {
		return now + 10*time.Millisecond
	}
	return to + s.wait
}

// wait lets time pass for both, until an instant or the model's bound on runs.
func (r *rig) wait(to time.Duration) {
	r.pass(to)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checkLocked(r.history.passed(r.elapsed()))
}

// pass lets time pass. At the instant where it ends, all that happens by
// itself has happened.
func (r *rig) pass(to time.Duration) {
	reached := r.model.advance(to, mostRuns)
	time.Sleep(reached - r.elapsed())
	synctest.Wait()
}

func (r *rig) elapsed() time.Duration { return time.Since(r.made) }

// do performs a step's operation on both.
func (r *rig) do(s step) {
	m, t := r.model, r.throttler
	switch s.op {
	case opNothing:
	case opCall:
		r.note((*history).call)
		t.Call()
		m.call(modelNever, nil)
	case opCallWithin:
		r.note((*history).call)
		t.CallWithin(s.within)
		m.call(s.within, nil)
	case opDo:
		r.await(s, t.Do, m.do)
	case opFlush:
		r.await(s, t.Flush, m.flush)
	case opShutdown:
		r.await(s, t.Shutdown, m.shutdown)
	case opCancel:
		r.note((*history).cancel)
		r.answer("Cancel", strconv.FormatBool(t.Cancel()))
		m.say(lineAnswer(m.now, "Cancel", strconv.FormatBool(m.cancel())))
	case opSetPolicy:
		r.setPolicy(s.policy)
	case opSetSamePolicy:
		r.setPolicy(t.Policy())
	case opClose:
		r.note((*history).close)
		r.answer("Close", verdictOf(t.Close()))
		m.close(verdictClosed)
		m.say(lineAnswer(m.now, "Close", verdictNil))
	case opEndParent:
		if r.scenario.parent && !r.drainsAttentively() {
			r.note((*history).close)
			r.endParent()
			m.close(verdictClosedParent)
		}
	}
}

// drainsAttentively: Shutdown waits for a run that the end of the parent would
// stop. Whether that run's end or the parent's closes the throttler is open.
func (r *rig) drainsAttentively() bool {
	return r.model.phase == modelDraining && r.model.active.script.heedsContext
}

func (r *rig) setPolicy(p throttle.Policy) {
	if len(modelFaults(p)) == 0 {
		r.note(func(h *history, _ time.Duration) { h.policyChanged(p) })
	}
	r.answer("SetPolicy", verdictOf(r.throttler.SetPolicy(p)))
	m := r.model
	m.say(lineAnswer(m.now, "SetPolicy", m.setPolicy(p)))
}

// await has a goroutine wait in Do, Flush or Shutdown.
func (r *rig) await(s step, ask func(context.Context) error, expect func(*modelWaiter)) {
	r.asked++
	w := &modelWaiter{
		name:      fmt.Sprintf("%v (number %d)", s.op, r.asked),
		until:     modelNever,
		late:      s.late,
		shutsDown: s.op == opShutdown,
	}
	if s.within > 0 {
		w.until = r.model.now + s.within
	}
	if !s.late && s.op == opDo {
		r.note((*history).call)
	}
	if s.late && s.op == opShutdown {
		r.note((*history).close)
	}
	r.waiters.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if s.late {
			cancel()
		}
		if s.within > 0 {
			ctx, cancel = context.WithTimeout(ctx, s.within)
			defer cancel()
		}
		r.mu.Lock()
		barrier := r.history.ask(s.op)
		r.mu.Unlock()
		err := ask(ctx)
		r.answer(w.name, verdictOf(err))
		r.mu.Lock()
		r.checkLocked(r.history.answered(s.op, barrier, err))
		r.mu.Unlock()
	})
	expect(w)
}

// leave ends the scenario. Afterwards no call is left uncovered that was not
// dropped, and no goroutine is left in the bubble.
func (r *rig) leave() {
	switch {
	case r.scenario.ending == endWithShutdown:
		r.finally(step{op: opShutdown})
	case r.scenario.ending == endIdle && !r.scenario.parent && r.model.policy.MaxInterval == 0:
		r.finally(step{op: opCancel})
		for r.model.active != nil || r.model.pending() { // the callback may call
			r.pass(r.model.now + time.Second)
			r.finally(step{op: opCancel})
		}
	default:
		r.finally(step{op: opClose})
	}
	for r.model.active != nil {
		r.wait(r.model.active.ends)
		r.compare("the last run ends")
	}
}

func (r *rig) finally(s step) {
	r.do(s)
	r.pass(r.model.now)
	r.compare(r.describe(s) + " (the end)")
}

// leaveNothingBehind lets a failed scenario end without a deadlock, which
// would hide the failure.
func (r *rig) leaveNothingBehind() {
	if r.t.Failed() {
		_ = r.throttler.Close()
		for {
			r.mu.Lock()
			active := r.started - r.ended
			r.mu.Unlock()
			if active == 0 {
				break
			}
			time.Sleep(time.Second)
		}
	}
	r.waiters.Wait()
	synctest.Wait()
}
