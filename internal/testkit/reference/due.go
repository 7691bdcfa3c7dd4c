package reference

import (
	"time"

	"github.com/throttle-go/throttle"
)

// burst: a bucket of size 0 is one of size 1.
func (m *model) burst() int { return max(1, m.policy.Burst) }

// spacingEnd is the end of the window that spacing closes: both Interval and the rest must
// be over.
func (m *model) spacingEnd() time.Duration { return max(m.intervalEnd(), m.restEnd()) }

// intervalEnd: if no token is left, the instant from which the next token accrues, plus
// Interval. With FromEnd, an active run counts as ending now.
func (m *model) intervalEnd() time.Duration {
	switch {
	case m.runs == 0 || m.policy.Interval == 0:
		return 0
	case m.policy.From == throttle.FromEnd && m.active != nil:
		return plus(m.now, m.policy.Interval)
	case m.policy.From == throttle.FromEnd:
		return plus(m.lastEnd, m.policy.Interval)
	case m.tokens > 0:
		return 0
	default:
		return plus(m.accrual, m.policy.Interval)
	}
}

// restEnd: with MaxLoad, a run that took d is followed by a rest of d·(1/MaxLoad − 1). Burst
// does not matter. An active run counts as ending now.
func (m *model) restEnd() time.Duration {
	end, took := m.lastEnd, m.lastDuration
	if m.active != nil {
		end, took = m.now, m.now-m.active.started
	}
	if m.policy.MaxLoad == 0 || took == 0 {
		return 0
	}
	rest := float64(took) * (1/m.policy.MaxLoad - 1)
	if rest >= float64(never) {
		return never
	}
	return plus(end, time.Duration(rest))
}

// holdEnd is the end of the window that the last outcome closed. Without a Backoff in
// the policy, the hold of a Backoff does not count.
func (m *model) holdEnd() time.Duration {
	if !m.hold.asked && m.policy.Retry.Initial == 0 {
		return 0
	}
	return m.hold.until
}

// permit is the end of the window: both spacing and hold must be over.
func (m *model) permit() time.Duration { return max(m.spacingEnd(), m.holdEnd()) }

// permitUnasked is permit for runs that are not retries. With Eager, these pass the hold
// of a Backoff, but not the hold of a RetryIn.
func (m *model) permitUnasked() time.Duration {
	if m.policy.Retry.Eager && !m.hold.asked {
		return m.spacingEnd()
	}
	return m.permit()
}

// open: no run is active and the window is over.
func (m *model) open() bool { return m.active == nil && m.now >= m.permitUnasked() }

// takeToken takes a token for a start. Tokens accrue one per Interval, up to Burst. A
// full bucket accrues nothing, so the next token counts from this start. A flush that
// finds no token takes none, and accrual begins anew: there is no debt.
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

// due is the next run that is due. A flush makes the pending run due at once, whatever
// else is due. At the same instant, a call goes before a retry, and a retry before a
// periodic run.
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

// callDue: pending calls run when they are ready and the window is over.
func (m *model) callDue() (upcoming, bool) {
	if m.batch == nil {
		return upcoming{}, false
	}
	at, rule := m.ready()
	if permit := m.permitUnasked(); permit > at {
		at = permit
		switch {
		case m.policy.From == throttle.FromEnd && permit == m.intervalEnd():
			rule = ruleFromEnd
		case rule == ruleAtOnce:
			rule = ruleWindowEnd
		}
	}
	return upcoming{at, throttle.CauseCall, rule}, true
}

// ready is when the pending calls no longer wait for anything except the window.
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
	at, rule := plus(m.lastCall, m.policy.Quiet), ruleQuiet
	if m.policy.MaxWait > 0 {
		if bound := plus(m.batch.first, m.policy.MaxWait); bound < at {
			at, rule = bound, ruleMaxWait
		}
	}
	if m.batch.deadline < at {
		at, rule = m.batch.deadline, ruleDeadline
	}
	return at, rule
}

// trailingEdge: with the trailing edge alone and no Quiet, a call inside the window
// waits for the window's end only. A call outside waits for an Interval, or until the
// deadline.
func (m *model) trailingEdge() (time.Duration, Rule) {
	first := m.batch.first
	if first < m.permitUnasked() {
		return first, ruleTrailingInside
	}
	at, rule := plus(first, m.policy.Interval), ruleTrailingOutside
	if m.batch.deadline < at {
		at, rule = m.batch.deadline, ruleDeadline
	}
	return at, rule
}

// retryDue: a retry is due when its delay and the window are over. The hold ends when
// the delay ends, so permit covers both. A policy without Backoff has no delay.
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

// periodicDue: a run is due MaxInterval, as Jitter has shortened it, after the last start,
// or with FromEnd the last end, or after New if nothing has run. It waits for the window,
// and there is none while Shutdown drains.
func (m *model) periodicDue() (upcoming, bool) {
	if m.policy.MaxInterval == 0 || m.phase != phaseOpen {
		return upcoming{}, false
	}
	at, rule := plus(m.periodFrom(m.policy), m.period.latest), rulePeriodic
	if permit := m.permitUnasked(); permit > at {
		at, rule = permit, rulePeriodicHeld
	}
	return upcoming{at, throttle.CauseInterval, rule}, true
}

// periodFrom is the instant from which MaxInterval counts.
func (m *model) periodFrom(p throttle.Policy) time.Duration {
	switch {
	case m.runs == 0:
		return 0
	case p.From == throttle.FromEnd:
		return m.lastEnd
	default:
		return m.lastStart
	}
}

// pending: a call is not yet covered, or a failed run awaits its retry.
func (m *model) pending() bool { return m.batch != nil || m.retry }
