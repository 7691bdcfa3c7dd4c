package reference

import (
	"math"
	"slices"
	"time"

	"github.com/throttle-go/throttle"
)

// never is the last instant: a sum that would be later is never. The model's instants are
// durations since New.
const never = time.Duration(math.MaxInt64)

// plus adds a duration to an instant without wrapping around.
func plus(instant, d time.Duration) time.Duration {
	if d > never-instant {
		return never
	}
	return instant + d
}

// A phase says whether the throttler takes calls.
type phase int

const (
	phaseOpen     phase = iota
	phaseDraining       // Shutdown was called and waits for a run
	phaseClosed
)

// A model predicts one throttler. The rig moves it through time with advance, and applies
// operations to it between two advances. The model logs what must be visible from
// outside.
type model struct {
	script func(n int) Script // what the callback will do in each run
	policy throttle.Policy
	now    time.Duration
	phase  phase
	log    []string
	fired  map[Rule]int // how often each rule decided something

	// The past.
	lastStart  time.Duration // of the newest run, once there was one
	lastEnd    time.Duration // of the newest run that ended
	tokens     int           // left in the bucket after the last start
	accrual    time.Duration // the instant since when the next token accrues
	called     bool          // whether lastCall means anything
	lastCall   time.Duration // as far as the policy had it recorded
	failures   int           // in a row
	hold       hold          // what the last run's outcome keeps closed
	period     period        // what MaxInterval is shortened to until the next run
	drawn      bool          // Jitter was drawn, and see has not been called since
	openCauses []int         // the runs whose cause is open

	// When runs will be repeated, for the observers: what has not been compared yet.
	repetitions []repetition

	// The present.
	active  *activeRun
	batch   *batch // the pending calls, nil if there are none
	retry   bool   // whether a run is awaited because the last one asked for it
	flushed bool   // whether the pending run was told to start now
	flushAt time.Duration
	next    []*waiter // wait for the run that is pending
	waiting []*waiter // all waiters, for the ends of their contexts
	paused  bool      // no run may start
	gone    string    // the verdict of a closed throttler

	// What Stats returns.
	runs, failed, panics, dropped uint64
	lastDuration                  time.Duration
	lastVerdict                   string
	counting                      bool // whether calls are counted
	calls                         uint64
}

// A hold is the part of the window that a run's outcome closed.
type hold struct {
	until time.Duration
	asked bool // by RetryIn, which Eager does not pass

	// Jitter may have shortened the hold: it ends at this instant at the earliest, and
	// at until at the latest. The two are equal when nothing is open.
	earliest time.Duration
}

// A batch is the set of calls that the next run will cover.
type batch struct {
	first    time.Duration // when the batch was made
	leading  bool          // its only call found the throttle open
	deadline time.Duration // never if no call set one
	known    int           // calls that MaxCalls knows of
	counted  uint64        // all calls, for WithCallCount
}

// An activeRun is a run that has started and not ended.
type activeRun struct {
	record
	ends     time.Duration // when the callback will return
	script   Script
	canceled bool      // Cancel met it: its failure is not retried
	races    bool      // the parent's end stops it, perhaps before the throttler notices
	waiters  []*waiter // they get its error
	watchers []*waiter // they wait for its end and ignore its error
}

// A record is what an observer gets for a run.
type record struct {
	number      int
	cause       throttle.Cause
	causeIsOpen bool // either of two, see jitter.go
	attempt     int
	coversCall  bool // asked means something
	asked       time.Duration
	due         time.Duration
	started     time.Duration
	ended       time.Duration
	calls       uint64
	verdict     string
}

// A waiter is a Do, Flush, Wait or Shutdown that has not returned.
type waiter struct {
	name      string
	until     time.Duration // when its context ends, never if it does not
	late      bool          // its context had already ended
	shutsDown bool
	verdict   string // what a Shutdown that only watches will return
	answered  bool
}

func newModel(policy throttle.Policy, counting bool, script func(n int) Script) *model {
	return &model{
		policy:      policy,
		period:      drawPeriod(policy),
		counting:    counting,
		script:      script,
		fired:       make(map[Rule]int),
		lastVerdict: verdictNil,
	}
}

// advance plays everything up to and including an instant. It returns the instant it has
// reached: an earlier one if Jitter was drawn and time would pass, or if run number last
// has started, because a throttler that runs every nanosecond would never end.
func (m *model) advance(to time.Duration, last uint64) time.Duration {
	for {
		at, ok := m.nextEvent()
		idle := !ok || at > to
		switch {
		case m.drawn && (idle || at > m.now), m.runs > last && !idle && at > m.now:
			return m.now
		case idle:
			m.now = to
			return to
		}
		m.now = at
		m.play()
	}
}

// nextEvent is the earliest instant at which something happens by itself.
func (m *model) nextEvent() (at time.Duration, ok bool) {
	at = never
	if m.active != nil {
		at = m.active.ends
	} else if due, ok := m.due(); ok && !m.paused {
		at = due.at
	}
	for _, w := range m.waiting {
		at = min(at, w.until)
	}
	return at, at < never
}

// play does what is due at this instant: first the end of the run, then the start of the
// next, then the ends of contexts.
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

// settle ends every transition: a run that is due starts, unless one is active or the
// throttler is paused. A throttler that has drained closes.
func (m *model) settle() {
	if m.active != nil || m.phase == phaseClosed {
		return
	}
	if m.phase == phaseDraining && !m.pending() {
		m.phase = phaseClosed
		m.gone = verdictClosed
		return
	}
	if due, ok := m.due(); ok && due.at <= m.now && !m.paused {
		m.start(due)
	}
}

// start begins a run. Whatever its cause, it covers all that is pending.
func (m *model) start(due upcoming) {
	m.fire(due.rule)
	if due.cause != throttle.CauseFlush && due.at == m.restEnd() && due.at > max(m.intervalEnd(), m.holdEnd()) {
		m.fire(ruleRest)
	}
	if due.cause == throttle.CauseCall && m.holdEnd() > m.now {
		m.fire(ruleEager)
	}
	open := m.causeIsOpen()
	if open {
		m.openCauses = append(m.openCauses, int(m.runs))
	}
	m.takeToken()
	run := &activeRun{script: m.script(int(m.runs)), waiters: m.next}
	run.record = record{
		number:      int(m.runs),
		cause:       due.cause,
		causeIsOpen: open,
		attempt:     m.failures + 1,
		due:         due.at,
		started:     m.now,
	}
	if m.batch != nil {
		run.coversCall, run.asked, run.calls = true, m.batch.first, m.batch.counted
		if due.cause == throttle.CauseInterval || due.cause == throttle.CauseRetry {
			m.fire(ruleCoversPending)
		}
	}
	run.ends = plus(m.now, run.script.Length)
	m.active = run
	m.runs++
	m.lastStart = m.now
	m.period = drawPeriod(m.policy)
	m.forgetPending()
	m.say(lineStarted(run.number, m.now))
	m.act(run.script.Early)
}

// end ends the active run: its outcome sets the hold and the retry, then its waiters get
// the error, and then the next run may start.
func (m *model) end() {
	run := m.active
	m.act(run.script.Late)
	run.ended = m.now
	run.verdict = run.script.verdict(run.number)
	m.lastEnd = m.now
	m.lastDuration = m.now - run.started
	m.lastVerdict = run.verdict
	m.hold = hold{}
	switch {
	case run.script.Outcome.Succeeds():
		m.failures = 0
	case run.script.Outcome.AsksRetry():
		m.retryIn(run)
	default:
		m.fail(run)
	}
	m.announce(run)
	m.say(run.String())
	m.report(run)
	m.active = nil
	m.drawn = m.drawn || m.period.open()
	m.settle()
}

// retryIn: the callback asked for a run later, which is neither success nor failure. The
// window stays closed until then. The run is due under the same conditions as a retry.
func (m *model) retryIn(run *activeRun) {
	until := plus(m.now, max(0, run.script.RetryIn))
	m.hold = hold{until: until, asked: true, earliest: until}
	m.awaitRetry(run)
}

// fail: a failure is retried after a delay, which closes the window even after the last
// attempt. Without Backoff there is no hold, and each failure counts as the first and the
// last. If Cancel met the run, its failure closes the window for the first delay and does
// not count.
func (m *model) fail(run *activeRun) {
	m.failed++
	if run.script.Outcome.panics() {
		m.panics++
	}
	backoff := m.policy.Retry
	switch {
	case backoff.Initial == 0:
		m.fire(ruleNoBackoff)
		m.failures = 0
	case run.canceled:
		m.fire(ruleCanceledFailure)
		m.holdFor(backoff.Initial)
	default:
		m.failures++
		m.holdFor(m.delay())
		if backoff.MaxAttempts > 0 && m.failures >= backoff.MaxAttempts {
			m.fire(ruleGivesUp)
			m.failures = 0
			return
		}
		m.awaitRetry(run)
	}
}

// delay is Initial after the first failure, and doubles with each further one up to Max.
// Without Max it stays Initial.
func (m *model) delay() time.Duration {
	delay := m.policy.Retry.Initial
	for range m.failures - 1 {
		delay = min(plus(delay, delay), max(m.policy.Retry.Initial, m.policy.Retry.Max))
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

// awaitRetry makes a retry pending, unless Cancel met the run or the throttler drains or
// is closed.
func (m *model) awaitRetry(run *activeRun) {
	switch {
	case run.canceled:
		m.fire(ruleCanceledRetry)
	case m.phase != phaseOpen:
		m.fire(ruleNoRetryInDrain)
	default:
		m.retry = true
	}
}

// report passes the run's error to its waiters, or to the error handler if there are none
// (left). A RetryIn is no failure: the handler never gets it.
func (m *model) report(run *activeRun) {
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
	if run.verdict != verdictNil && !taken && !run.script.Outcome.AsksRetry() {
		m.say(lineHandled(m.now, run.verdict))
	}
}

func (m *model) say(line string) { m.log = append(m.log, line) }
