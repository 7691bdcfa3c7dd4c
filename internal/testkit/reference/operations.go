package reference

import (
	"slices"
	"strconv"
	"time"

	"github.com/throttle-go/throttle"
)

// call is a request for a run. Quiet or a trailing edge may postpone it by within at most,
// which is never for a plain call. w is nil unless Do waits.
func (m *model) call(within time.Duration, w *waiter) {
	if m.phase != phaseOpen {
		return
	}
	if m.counting {
		m.calls++
	}
	if m.batch == nil {
		m.firstCall(w)
	} else {
		m.joiningCall(w)
	}
	if m.batch != nil {
		if m.counting {
			m.batch.counted++
		}
		if within < never {
			m.batch.deadline = min(m.batch.deadline, plus(m.now, max(0, within)))
		}
		m.reachMaxCalls()
	}
	m.settle()
}

// firstCall: no call is pending. If the throttle is open, no call came within the last
// Quiet, and the leading edge is on, the call runs at once. Otherwise it is pending if the
// trailing edge is on, and dropped if not. Dropped or not, its time counts for Quiet.
func (m *model) firstCall(w *waiter) {
	quiet := !m.called || m.now-m.lastCall >= m.policy.Quiet
	leading := m.edges()&throttle.Leading != 0
	m.called, m.lastCall = true, m.now
	if leading && m.open() && !quiet {
		m.fire(ruleNotQuiet)
	}
	if m.active == nil && m.now >= m.spacingEnd() && m.now < m.permitUnasked() {
		m.fire(ruleHeld)
	}
	leading = leading && m.open() && quiet
	if !leading && m.edges()&throttle.Trailing == 0 {
		m.fire(ruleDropped)
		if m.paused {
			m.fire(ruleDroppedPaused)
		}
		m.dropped++
		if w != nil {
			m.answer(w, verdictThrottled(m.retryAfter()))
		}
		return
	}
	m.batch = &batch{first: m.now, leading: leading, deadline: never, known: 1}
	m.waitNext(w)
}

// joiningCall: other calls are pending, and their run covers this one too. Only Quiet
// needs its time, and only MaxCalls counts it.
func (m *model) joiningCall(w *waiter) {
	m.fire(ruleJoins)
	if m.edges()&throttle.Trailing == 0 {
		m.fire(ruleSurvives)
	}
	if m.policy.Quiet > 0 {
		m.lastCall = m.now
	}
	if m.policy.MaxCalls > 0 {
		m.batch.known++
	}
	m.waitNext(w)
}

// reachMaxCalls: a batch of MaxCalls calls waits no longer.
func (m *model) reachMaxCalls() {
	if m.policy.MaxCalls > 0 && m.batch.known >= m.policy.MaxCalls && m.batch.deadline > m.now {
		m.fire(ruleMaxCalls)
		m.batch.deadline = m.now
	}
}

// retryAfter is the RetryAfter of a dropped call: the rest of the window, or Quiet, which
// this very call started anew.
func (m *model) retryAfter() time.Duration {
	return max(m.permitUnasked()-m.now, m.policy.Quiet, 0)
}

// do is a call that waits for the run that covers it.
func (m *model) do(w *waiter) {
	switch {
	case m.phase != phaseOpen:
		m.answer(w, m.closedVerdict())
	case w.late:
		m.answer(w, verdictContextEnded)
	default:
		m.call(never, w)
	}
}

// flush makes the pending run due now, past spacing, hold and quiet, and
// waits for it. With nothing pending it waits for the active run, if any.
func (m *model) flush(w *waiter) {
	switch {
	case m.phase == phaseClosed:
		m.answer(w, m.closedVerdict())
	case w.late:
		m.answer(w, verdictContextEnded)
	default:
		m.flushAndWait(w)
	}
}

func (m *model) flushAndWait(w *waiter) {
	switch {
	case m.pending():
		if !m.flushed {
			m.flushed, m.flushAt = true, m.now
		}
		m.waitNext(w)
	case m.active != nil:
		m.active.waiters = append(m.active.waiters, w)
		m.waiting = append(m.waiting, w)
	default:
		m.answer(w, verdictNil)
	}
	m.settle()
}

// shutdown takes no more calls and otherwise flushes, unless the throttler is paused: it
// then drops what is pending. The end of its context closes the throttler. On a closed throttler it only waits for the active run, and ignores its
// error.
func (m *model) shutdown(w *waiter) {
	switch {
	case w.late:
		m.close(verdictClosed)
		m.answer(w, verdictContextEnded)
	case m.phase == phaseClosed && m.active == nil:
		m.answer(w, verdictNil)
	case m.phase == phaseClosed:
		m.waiting = append(m.waiting, w)
		m.watch(w, verdictNil)
	default:
		switch {
		case m.pending() && m.paused:
			m.fire(ruleShutdownDrops)
		case m.pending():
			m.fire(ruleShutdownFlushes)
		}
		m.phase = phaseDraining
		m.flushAndWait(w)
		if m.paused {
			m.dropPaused()
		}
	}
}

// close drops what is pending, and ends the context of the active run. That run goes on
// until its callback returns.
func (m *model) close(gone string) {
	if m.phase == phaseClosed {
		return
	}
	m.phase = phaseClosed
	m.gone = gone
	if m.pending() {
		m.fire(ruleCloseDrops)
	}
	m.drop(gone)
	if m.active != nil && m.active.script.HeedsContext {
		m.active.ends = m.now
		m.active.races = gone == verdictClosedParent
	}
}

func (m *model) closedVerdict() string {
	if m.phase == phaseDraining {
		return verdictClosed
	}
	return m.gone
}

// cancel: no run starts for an earlier call or failure, and the active run's
// failure is not retried. The window, the hold and the time of past calls
// stay.
func (m *model) cancel() bool {
	was := m.pending()
	if was {
		m.fire(ruleCancelDrops)
	}
	m.drop(verdictCanceled)
	m.failures = 0
	if m.active != nil {
		m.active.canceled = true
	}
	m.settle()
	return was
}

// drop drops all that is pending, and answers the waiters. Only Shutdown still waits,
// until nothing runs.
func (m *model) drop(verdict string) {
	for _, w := range m.next {
		switch {
		case w.answered:
		case w.shutsDown && m.active != nil:
			m.watch(w, verdict)
		default:
			m.answer(w, verdict)
		}
	}
	m.forgetPending()
}

// watch lets a Shutdown wait for the end of the active run without returning its error.
func (m *model) watch(w *waiter, verdict string) {
	w.verdict = verdict
	m.active.watchers = append(m.active.watchers, w)
}

func (m *model) forgetPending() {
	m.batch, m.next = nil, nil
	m.retry, m.flushed = false, false
}

// setPolicy puts a new policy in force, and computes at once what is due. The bucket keeps
// its tokens, but at most Burst - 1. If it loses some, it accrues from the last start, as a
// bucket of one always does.
func (m *model) setPolicy(p throttle.Policy) string {
	if len(faults(p)) > 0 {
		return verdictPolicy
	}
	if m.phase != phaseOpen {
		return m.closedVerdict()
	}
	before, _ := m.due()
	m.forgetUnrecorded(p)
	m.period = m.period.under(m.policy, p)
	m.policy = p
	if m.runs > 0 && m.tokens > m.burst()-1 {
		m.fire(ruleTokensCut)
		m.tokens = m.burst() - 1
		m.accrual = m.lastStart
	}
	if m.runs > 0 && m.burst() == 1 {
		m.accrual = m.lastStart
	}
	if m.batch != nil {
		m.reachMaxCalls()
	}
	after, _ := m.due()
	if m.pending() && m.active == nil && after.at < before.at {
		m.fire(ruleEarlier)
	}
	if m.pending() && m.active == nil && after.at > before.at {
		m.fire(ruleLater)
	}
	m.settle()
	return verdictNil
}

// forgetUnrecorded: if the old policy had no Quiet, a new Quiet knows no earlier call but the
// one that made the run pending. The same applies to MaxCalls.
func (m *model) forgetUnrecorded(p throttle.Policy) {
	if m.policy.Quiet == 0 && p.Quiet > 0 {
		m.called = m.batch != nil
	}
	if m.batch == nil {
		return
	}
	if m.policy.Quiet == 0 && p.Quiet > 0 {
		m.lastCall = m.batch.first
	}
	if m.policy.MaxCalls == 0 && p.MaxCalls > 0 {
		m.batch.known = 1
	}
}

// act is what the callback does to its own throttler.
func (m *model) act(act Act) {
	verdict := verdictNil
	switch act {
	case ActNone:
		return
	case ActCall:
		m.call(never, nil)
	case ActCallWithin:
		m.call(ActWithin, nil)
	case ActCancel:
		verdict = strconv.FormatBool(m.cancel())
	case ActSetSamePolicy:
		verdict = m.setPolicy(m.policy)
	case ActClose:
		m.close(verdictClosed)
	case ActPause:
		m.pause()
	case ActResume:
		m.resume()
	case ActDo, ActFlush, ActWait, ActShutdown: // it would wait for itself, even when closed
		m.fire(ruleReentrant)
		verdict = verdictReentrant
	}
	m.say(lineAct(m.now, act, verdict))
}

func (m *model) waitNext(w *waiter) {
	if w != nil {
		m.next = append(m.next, w)
		m.waiting = append(m.waiting, w)
	}
}

// leave: a context ended before the answer came. The call or flush stands. Shutdown closes
// the throttler.
func (m *model) leave(w *waiter, verdict string) {
	m.fire(ruleLeaves)
	m.answer(w, verdict)
	if w.shutsDown {
		m.close(verdictClosed)
	}
}

func (m *model) answer(w *waiter, verdict string) {
	w.answered = true
	m.waiting = slices.DeleteFunc(m.waiting, func(other *waiter) bool { return other == w })
	m.say(lineAnswer(m.now, w.name, verdict))
}
