package throttle_test

// This file is the reference model: a second, slow and literal reading of the
// rules that say when a run may start, as a discrete-event simulator with one
// function per rule. It shares no code with the library and cares for nothing
// but being easy to check by eye: whatever can be recomputed is recomputed at
// every event, and nothing is remembered that a rule does not name. The
// harness in fuzz_harness_test.go plays the same scenario on both and compares.
//
// Here are its state, how it moves through time, and what a run's start and end
// do; model_due_test.go says when a run is due, model_operations_test.go what
// each method does.

import (
	"math"
	"slices"
	"time"

	"github.com/throttle-go/throttle"
)

// The model's instants are durations since the throttler was made.
// modelNever is the last of them: sums that would pass it stay there.
const modelNever = time.Duration(math.MaxInt64)

// modelPlus adds a duration to an instant without wrapping around.
func modelPlus(instant, d time.Duration) time.Duration {
	if d > modelNever-instant {
		return modelNever
	}
	return instant + d
}

// A modelPhase says whether the throttler takes calls.
type modelPhase int

const (
	modelOpen     modelPhase = iota
	modelDraining            // Shutdown was called and waits for a run
	modelClosed
)

// A model predicts one throttler. The driver moves it through time with
// advance and applies operations to it between two advances; it writes down
// what must be seen from outside in its diary.
type model struct {
	script func(run int) modelScript // what the callback will do in each run
	policy throttle.Policy
	now    time.Duration
	phase  modelPhase
	diary  []string
	fired  map[modelRule]int // how often each rule decided something

	// The past.
	lastStart time.Duration // of the newest run, once there was one
	lastEnd   time.Duration // of the newest run that ended
	tokens    int           // left in the bucket after the last start
	accrual   time.Duration // the instant since when the next token accrues
	called    bool          // whether lastCall means anything
	lastCall  time.Duration // as far as the policy had it recorded
	failures  int           // in a row
	hold      modelHold     // what the last run's outcome keeps closed

	// The present.
	active  *modelRun
	batch   *modelBatch // the pending calls, nil if there are none
	retry   bool        // whether a run is awaited because the last one asked for it
	flushed bool        // whether the pending run was told to start now
	flushAt time.Duration
	next    []*modelWaiter // wait for the run that is pending
	waiting []*modelWaiter // everyone who waits, for the ends of their contexts
	gone    string         // what a closed throttler says

	// What Stats tells.
	runs, failed, panics, dropped uint64
	lastDuration                  time.Duration
	lastVerdict                   string
	counting                      bool // whether calls are counted
	calls                         uint64
}

// A modelHold is the part of the window that a run's outcome closed.
type modelHold struct {
	until time.Duration
	asked bool // by RetryIn, which Eager does not pass
}

// A modelBatch is the set of calls that the next run will cover.
type modelBatch struct {
	first    time.Duration // when the batch was made
	leading  bool          // its only call found the throttle open
	deadline time.Duration // modelNever if no call set one
	known    int           // calls that MaxCalls knows of
	counted  uint64        // all calls, for WithCallCount
}

// A modelRun is a run that has started.
type modelRun struct {
	modelRecord
	ends     time.Duration // when the callback will return
	script   modelScript
	canceled bool           // Cancel met it: its failure is not retried
	waiters  []*modelWaiter // get its error
	watchers []*modelWaiter // wait for its end and have no interest in its error
}

// A modelRecord is what an observer is told about a run.
type modelRecord struct {
	number     int
	cause      throttle.Cause
	attempt    int
	coversCall bool // asked means something
	asked      time.Duration
	due        time.Duration
	started    time.Duration
	ended      time.Duration
	calls      uint64
	verdict    string
}

// A modelWaiter is a Do, Flush or Shutdown on its way.
type modelWaiter struct {
	name      string
	until     time.Duration // when its context ends, modelNever if it does not
	late      bool          // its context had already ended
	shutsDown bool
	verdict   string // what a Shutdown that only watches will say
	answered  bool
}

func newModel(policy throttle.Policy, counting bool, script func(run int) modelScript) *model {
	return &model{
		policy:      policy,
		counting:    counting,
		script:      script,
		fired:       make(map[modelRule]int),
		lastVerdict: verdictNil,
	}
}

// advance plays everything that happens up to an instant, that instant
// included. It stops earlier, and says where, once more than a given number
// of runs started: a throttler that runs every nanosecond would never end.
func (m *model) advance(to time.Duration, most uint64) time.Duration {
	first := m.runs
	for {
		at, ok := m.nextEvent()
		if !ok || at > to {
			m.now = to
			return to
		}
		if at > m.now && m.runs-first >= most {
			return m.now
		}
		m.now = at
		m.play()
	}
}

// nextEvent is the earliest instant at which something happens by itself.
func (m *model) nextEvent() (at time.Duration, ok bool) {
	at = modelNever
	if m.active != nil {
		at = m.active.ends
	} else if due, ok := m.due(); ok {
		at = due.at
	}
	for _, w := range m.waiting {
		at = min(at, w.until)
	}
	return at, at < modelNever
}

// play does what is to be done at this instant: first the end of the run,
// then the start of the next, then whoever no longer wants to wait.
func (m *model) play() {
	if m.active != nil && m.active.ends <= m.now {
		m.end()
	}
	m.settle()
	for _, w := range slices.Clone(m.waiting) {
		if w.until <= m.now && !w.answered {
			m.leave(w, verdictDeadline)
		}
	}
}

// settle ends every transition: a run that is due starts, unless one is
// active; a drained throttler is closed.
func (m *model) settle() {
	if m.active != nil || m.phase == modelClosed {
		return
	}
	if m.phase == modelDraining && !m.pending() {
		m.phase = modelClosed
		m.gone = verdictClosed
		return
	}
	if due, ok := m.due(); ok && due.at <= m.now {
		m.start(due)
	}
}

// start begins a run, which covers all that is pending, whatever caused it.
func (m *model) start(due modelDue) {
	m.fire(due.rule)
	if due.cause == throttle.CauseCall && m.holdEnd() > m.now {
		m.fire(ruleEager)
	}
	m.takeToken()
	run := &modelRun{script: m.script(int(m.runs)), waiters: m.next}
	run.modelRecord = modelRecord{
		number:  int(m.runs),
		cause:   due.cause,
		attempt: m.failures + 1,
		due:     due.at,
		started: m.now,
	}
	if m.batch != nil {
		run.coversCall, run.asked, run.calls = true, m.batch.first, m.batch.counted
		if due.cause == throttle.CauseInterval || due.cause == throttle.CauseRetry {
			m.fire(ruleCoversPending)
		}
	}
	run.ends = modelPlus(m.now, run.script.length)
	m.active = run
	m.runs++
	m.lastStart = m.now
	m.forgetPending()
	m.say(lineStarted(run.number, m.now))
	m.act(run.script.early)
}

// end finishes the active run: its outcome decides on the hold and on a
// retry, then whoever waited is told, and then the next run may start.
func (m *model) end() {
	run := m.active
	m.act(run.script.late)
	run.ended = m.now
	run.verdict = run.script.verdict(run.number)
	m.lastEnd = m.now
	m.lastDuration = m.now - run.started
	m.lastVerdict = run.verdict
	m.hold = modelHold{}
	switch {
	case run.script.outcome.succeeds():
		m.failures = 0
	case run.script.outcome.asksRetry():
		m.retryIn(run)
	default:
		m.fail(run)
	}
	m.say(run.String())
	m.tell(run)
	m.active = nil
	m.settle()
}

// retryIn: the callback asked for a run at an instant of its choice, neither
// success nor failure. The window stays closed until then. Whether the run is
// made due is as for a retry.
func (m *model) retryIn(run *modelRun) {
	m.hold = modelHold{until: modelPlus(m.now, max(0, run.script.retryIn)), asked: true}
	m.awaitRetry(run)
}

// fail: a failure is retried after a delay, which closes the window even when
// it is the one that gives up. Without Backoff nothing is held, and each
// failure counts as if it were the first and last. The failure of a run that
// Cancel met closes the window by the first delay and does not count.
func (m *model) fail(run *modelRun) {
	m.failed++
	if run.script.outcome.panics() {
		m.panics++
	}
	backoff := m.policy.Retry
	switch {
	case backoff.Initial == 0:
		m.fire(ruleNoBackoff)
		m.failures = 0
	case run.canceled:
		m.fire(ruleCanceledFailure)
		m.hold.until = modelPlus(m.now, backoff.Initial)
	default:
		m.failures++
		m.hold.until = modelPlus(m.now, m.delay())
		if backoff.MaxAttempts > 0 && m.failures >= backoff.MaxAttempts {
			m.fire(ruleGivesUp)
			m.failures = 0
			return
		}
		m.awaitRetry(run)
	}
}

// delay is Initial after the first failure and doubles with each further one
// until Max; without Max it stays Initial.
func (m *model) delay() time.Duration {
	delay := m.policy.Retry.Initial
	for range m.failures - 1 {
		delay = min(modelPlus(delay, delay), max(m.policy.Retry.Initial, m.policy.Retry.Max))
	}
	switch {
	case delay == m.policy.Retry.Initial:
	case delay == m.policy.Retry.Max:
		m.fire(ruleMaxDelay)
	default:
		m.fire(ruleDoubling)
	}
	return delay
}

// awaitRetry makes a retry pending: not of a run that Cancel met, and not
// once the throttler drains or is closed.
func (m *model) awaitRetry(run *modelRun) {
	switch {
	case run.canceled:
		m.fire(ruleCanceledRetry)
	case m.phase != modelOpen:
		m.fire(ruleNoRetryInDrain)
	default:
		m.retry = true
	}
}

// tell hands the run's error to those who wait for it, or to the error
// handler if nobody does (any more).
func (m *model) tell(run *modelRun) {
	taken := false
	for _, w := range run.waiters {
		if !w.answered {
			taken = true
			m.answer(w, run.verdict)
		}
	}
	for _, w := range run.watchers {
		if !w.answered {
			m.answer(w, w.verdict)
		}
	}
	if run.verdict != verdictNil && !taken {
		m.say(lineHandled(m.now, run.verdict))
	}
}

func (m *model) say(line string) { m.diary = append(m.diary, line) }
