package reference

// This file says when the model's next run is due: the window that
// spacing and hold keep closed, and what waits for it to open.

import (
	"time"

	"github.com/throttle-go/throttle"
)

// burst: a bucket of size 0 is one of size 1.
func (m *model) burst() int { return max(1, m.policy.Burst) }

// spacingEnd is the end of the window as far as the spacing of runs goes: the
// instant since when a token accrues plus Interval if none is left. Measured
// from the end, a run still active can only be counted as ending now.
func (m *model) spacingEnd() time.Duration {
	switch {
	case m.runs == 0 || m.policy.Interval == 0:
		return 0
	case m.policy.From == throttle.FromEnd && m.active != nil:
		return Plus(m.now, m.policy.Interval)
	case m.policy.From == throttle.FromEnd:
		return Plus(m.lastEnd, m.policy.Interval)
	case m.tokens > 0:
		return 0
	default:
		return Plus(m.accrual, m.policy.Interval)
	}
}

// holdEnd is the end of the window as far as the last outcome goes. A hold
// set by a backoff means nothing to a policy without one.
func (m *model) holdEnd() time.Duration {
	if !m.hold.asked && m.policy.Retry.Initial == 0 {
		return 0
	}
	return m.hold.until
}

// permit is the end of the window: spacing and hold both keep a run away.
func (m *model) permit() time.Duration { return max(m.spacingEnd(), m.holdEnd()) }

// permitUnasked is permit for runs that are no retries. Eager lets those pass
// the hold of a backoff, but not one that the callback asked for.
func (m *model) permitUnasked() time.Duration {
	if m.policy.Retry.Eager && !m.hold.asked {
		return m.spacingEnd()
	}
	return m.permit()
}

// open: no run is active and the window is over.
func (m *model) open() bool { return m.active == nil && m.now >= m.permitUnasked() }

// takeToken accounts for a start in the bucket. Tokens accrue one per
// Interval up to Burst; a full bucket accrues nothing, so that the next token
// counts from this start. A flush that finds none takes none, and accrual
// begins anew: no debt is made.
func (m *model) takeToken() {
	accrued, rest := m.accrued()
	switch available := m.tokens + accrued; {
	case m.runs == 0 || available >= m.burst():
		m.fire(ruleBucketFull)
		m.tokens = m.burst() - 1
		m.accrual = m.now
	case available > 0:
		m.fire(ruleBucketPartly)
		m.tokens = available - 1
		m.accrual = m.now - rest
	default:
		m.fire(ruleBucketEmpty)
		m.tokens = 0
		m.accrual = m.now
	}
}

// accrued counts the tokens that accrued since the last start, no more than
// fit into the bucket, and the time that already counts for the next.
func (m *model) accrued() (tokens int, rest time.Duration) {
	if m.policy.Interval == 0 {
		return m.burst(), 0
	}
	idle := m.now - m.accrual
	return int(min(idle/m.policy.Interval, time.Duration(m.burst()))), idle % m.policy.Interval
}

// edges: zero means both, or trailing alone where there is Quiet.
func (m *model) edges() throttle.Edges {
	switch {
	case m.policy.Edges != 0:
		return m.policy.Edges
	case m.policy.Quiet > 0:
		return throttle.Trailing
	default:
		return throttle.Leading | throttle.Trailing
	}
}

// An upcoming run is one that is due: when, why, and which rule said so.
type upcoming struct {
	at    time.Duration
	cause throttle.Cause
	rule  Rule
}

// due is the earliest of what is due. A flush makes the pending run due at
// the instant of the flush, whatever else was to come; at one instant a call
// goes before a retry, and that before a periodic run.
func (m *model) due() (earliest upcoming, ok bool) {
	if m.phase == phaseClosed {
		return upcoming{}, false
	}
	if m.flushed {
		return upcoming{m.flushAt, throttle.CauseFlush, ruleFlush}, true
	}
	for _, term := range []func() (upcoming, bool){m.callDue, m.retryDue, m.periodicDue} {
		if candidate, has := term(); has && (!ok || candidate.at < earliest.at) {
			earliest, ok = candidate, true
		}
	}
	return earliest, ok
}

// callDue: pending calls run once they are ready and the window is over.
func (m *model) callDue() (upcoming, bool) {
	if m.batch == nil {
		return upcoming{}, false
	}
	at, rule := m.ready()
	if permit := m.permitUnasked(); permit > at {
		at = permit
		switch {
		case m.policy.From == throttle.FromEnd && permit == m.spacingEnd():
			rule = ruleFromEnd
		case rule == ruleAtOnce:
			rule = ruleWindowEnd
		}
	}
	return upcoming{at, throttle.CauseCall, rule}, true
}

// ready is when the pending calls stop waiting of their own accord.
func (m *model) ready() (time.Duration, Rule) {
	switch {
	case m.batch.leading:
		return m.batch.first, ruleLeading
	case m.policy.Quiet > 0:
		return m.quietOver()
	case m.edges() == throttle.Trailing:
		return m.trailingEdge()
	default:
		return m.batch.first, ruleAtOnce
	}
}

// quietOver: Quiet has passed since the last call, or MaxWait since the
// first, or the deadline came.
func (m *model) quietOver() (time.Duration, Rule) {
	at, rule := Plus(m.lastCall, m.policy.Quiet), ruleQuiet
	if m.policy.MaxWait > 0 {
		if bound := Plus(m.batch.first, m.policy.MaxWait); bound < at {
			at, rule = bound, ruleMaxWait
		}
	}
	if m.batch.deadline < at {
		at, rule = m.batch.deadline, ruleDeadline
	}
	return at, rule
}

// trailingEdge: with the trailing edge alone and no Quiet, a call inside the
// window waits for its end only; one outside opens an interval of its own,
// which the deadline may cut short.
func (m *model) trailingEdge() (time.Duration, Rule) {
	first := m.batch.first
	if first < m.permitUnasked() {
		return first, ruleTrailingInside
	}
	at, rule := Plus(first, m.policy.Interval), ruleTrailingOutside
	if m.batch.deadline < at {
		at, rule = m.batch.deadline, ruleDeadline
	}
	return at, rule
}

// retryDue: a retry comes when its delay is over, and not before the window
// is. The delay's end is the hold's, so that only the window remains to ask; a
// policy without Backoff has no delay.
func (m *model) retryDue() (upcoming, bool) {
	if !m.retry {
		return upcoming{}, false
	}
	rule := ruleRetry
	switch {
	case m.hold.asked:
		rule = ruleRetryIn
	case m.policy.Retry.Initial == 0:
		rule = ruleRetryAtPermit
	}
	return upcoming{max(m.lastEnd, m.permit()), throttle.CauseRetry, rule}, true
}

// periodicDue: a run comes MaxInterval after the last started, or ended, or
// after the throttler was made if nothing has run; not before the window is
// over, and not while Shutdown drains.
func (m *model) periodicDue() (upcoming, bool) {
	if m.policy.MaxInterval == 0 || m.phase != phaseOpen {
		return upcoming{}, false
	}
	var from time.Duration
	switch {
	case m.runs == 0:
	case m.policy.From == throttle.FromEnd:
		from = m.lastEnd
	default:
		from = m.lastStart
	}
	at, rule := Plus(from, m.policy.MaxInterval), rulePeriodic
	if permit := m.permitUnasked(); permit > at {
		at, rule = permit, rulePeriodicHeld
	}
	return upcoming{at, throttle.CauseInterval, rule}, true
}

// pending: a call is not yet covered, or a failed run awaits its retry.
func (m *model) pending() bool { return m.batch != nil || m.retry }
