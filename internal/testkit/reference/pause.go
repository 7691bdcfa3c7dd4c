package reference

import (
	"time"

	"github.com/throttle-go/throttle"
)

// pause: no run starts before resume, whoever asks. The times of the policy go on. A
// Shutdown that drains would wait in vain, so what it waits for is dropped.
func (m *model) pause() {
	m.paused = true
	if m.phase == phaseDraining {
		if m.pending() {
			m.fire(rulePauseInDrain)
		}
		m.dropPaused()
	}
	m.settle()
}

// resume: what came due during the pause is due now.
func (m *model) resume() {
	if due, ok := m.due(); ok && m.paused && m.active == nil && due.at < m.now {
		m.fire(ruleResume)
		switch {
		case due.cause == throttle.CauseFlush:
			m.fire(ruleFlushPaused)
		case due.cause == throttle.CauseRetry:
			m.fire(ruleRetryPaused)
		case due.cause == throttle.CauseInterval && m.runs == 0:
			m.fire(ruleBuiltPaused)
		}
	}
	m.paused = false
	m.settle()
}

// dropPaused drops what is pending, a waiting retry too, because Shutdown was called and
// no run may start.
func (m *model) dropPaused() {
	if m.retry {
		m.fire(ruleShutdownDropsRetry)
	}
	m.drop(verdictPaused)
	m.settle()
}

// wait waits for the active run, and for no other.
func (m *model) wait(w *waiter) {
	switch {
	case m.phase == phaseClosed:
		m.answer(w, m.closedVerdict())
	case w.late:
		m.answer(w, verdictContextEnded)
	case m.active == nil:
		if m.pending() {
			m.fire(ruleWaitsForNothing)
		}
		m.answer(w, verdictNil)
	default:
		m.fire(ruleWaits)
		m.active.waiters = append(m.active.waiters, w)
		m.waiting = append(m.waiting, w)
	}
}

// pause: no run starts before resume. While Shutdown drains, Pause drops what is pending,
// and so does Shutdown of a paused throttler.
func (h *history) pause(at time.Duration) {
	h.predicted, h.paused = false, true
	h.dropPaused(at)
}

func (h *history) resume(time.Duration) { h.predicted, h.paused = false, false }

func (h *history) dropPaused(at time.Duration) {
	if h.paused && h.closing {
		h.cancel(at)
	}
}
