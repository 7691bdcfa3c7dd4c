package reference

import (
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
)

// The model cannot know what the library draws for Jitter, only the range. So the rig
// looks at the library as soon as something is drawn: the next run that Stats returns
// narrows the range, usually to an instant, and must lie inside it. If something else
// than the hold decides when the next run is due, the range stays. That run is due at the
// same instant wherever in the range the hold ends, but perhaps with another cause.
//
// There are two such ranges: the end of the hold, because of Retry.Jitter, and the period,
// which is MaxInterval as Policy.Jitter shortens it. A scenario has only one of the two.
// The period is drawn as a run starts, and Stats shows it once that run has ended. So the
// run must end before the period can be over.

// A period is what Jitter makes of MaxInterval, until the next run. It lies in one range,
// and the share of Jitter that was drawn in another. SetPolicy keeps the share.
type period struct {
	earliest, latest time.Duration
	least, most      float64
}

// drawPeriod is the period after a draw, of which nothing is known.
func drawPeriod(p throttle.Policy) period { return period{least: 0, most: 1}.drawn(p) }

// drawn is the period that the share gives under a policy: MaxInterval, less that share
// of Jitter, but never below Interval.
func (d period) drawn(p throttle.Policy) period {
	after := func(share float64) time.Duration {
		if p.Jitter == 0 {
			return p.MaxInterval
		}
		return max(p.Interval, p.MaxInterval-time.Duration(share*p.Jitter*float64(p.MaxInterval)))
	}
	d.earliest, d.latest = after(d.most), after(d.least)
	return d
}

// under is the period under a new policy. The old period tells the share, except for
// rounding, and for what Interval has hidden.
func (d period) under(old, p throttle.Policy) period {
	if old.MaxInterval == p.MaxInterval && old.Jitter == p.Jitter && old.Interval == p.Interval {
		return d
	}
	if all := old.Jitter * float64(old.MaxInterval); all > 0 {
		const rounding = 2
		d.least = max(d.least, (float64(old.MaxInterval-d.latest)-rounding)/all)
		if d.earliest > old.Interval {
			d.most = min(d.most, (float64(old.MaxInterval-d.earliest)+rounding)/all)
		}
	}
	return d.drawn(p)
}

// open reports whether the period is not known exactly.
func (d period) open() bool { return d.earliest < d.latest }

// holdFor closes the window for a delay from now, which Jitter may have shortened
// by up to its share.
func (m *model) holdFor(delay time.Duration) {
	m.hold.until = plus(m.now, delay)
	m.hold.earliest = m.hold.until
	if share := m.policy.Retry.Jitter; share > 0 {
		left := time.Duration(float64(delay) * (1 - share))
		m.hold.earliest = plus(m.now, max(left, 1)) // even a share of 1 leaves something
		m.drawn = true
	}
}

// dueBetween is what is due if hold and period end as early, and as late, as they may.
func (m *model) dueBetween() (from, to upcoming, ok bool) {
	until, latest := m.hold.until, m.period.latest
	m.hold.until, m.period.latest = m.hold.earliest, m.period.earliest
	from, _ = m.due()
	m.hold.until, m.period.latest = until, latest
	to, ok = m.due()
	return from, to, ok
}

// causeIsOpen reports whether two causes make the next run due at one instant, and
// one of them only if the hold ends soon enough.
func (m *model) causeIsOpen() bool {
	from, to, ok := m.dueBetween()
	return ok && from.cause != to.cause
}

// see records when the next run is due by the library, and returns what is wrong with
// that. Inside the range, the hold ends there. At either end of the range, something else
// may decide.
func (m *model) see(next time.Duration) (broken string) {
	m.drawn = false
	early, late, ok := m.dueBetween()
	from, to := early.at, late.at
	switch {
	case m.active != nil || !ok || from == to:
		return ""
	case next < from || next > to:
		return fmt.Sprintf("Jitter: the next run is due at %v, which is not from %v to %v", next, from, to)
	}
	if m.period.open() {
		m.seePeriod(next, from, to)
		return ""
	}
	if next < to {
		m.fire(ruleJitter)
		m.hold.until = next
	}
	if next > from {
		m.hold.earliest = next
	}
	return ""
}

// seePeriod narrows the range of the period.
func (m *model) seePeriod(next, from, to time.Duration) {
	if m.period.least > 0 || m.period.most < 1 {
		m.fire(ruleKeepsDraw)
	}
	took := next - m.periodFrom(m.policy)
	if next < to {
		m.fire(rulePeriodJitter)
		m.period.latest = took
	}
	if next > from {
		m.period.earliest = took
	}
}

// periodIsOver reports whether the period may be over under a new policy now, or when the
// active run ends, but is not known exactly.
func (m *model) periodIsOver(p throttle.Policy) bool {
	if len(faults(p)) > 0 {
		return false
	}
	now := m.now
	if m.active != nil && p.From == throttle.FromStart {
		now = m.active.ends
	}
	d := m.period.under(m.policy, p)
	return d.open() && plus(m.periodFrom(p), d.earliest) <= now
}

// undecided reports whether the effect of a step depends on where in its range the hold
// ends: whether a call finds the throttle open, which RetryAfter a dropped call gets, and
// whether a run that a new policy makes due was due already.
func (m *model) undecided(s Step) bool {
	if s.Op == OpSetPolicy && m.phase == phaseOpen && m.periodIsOver(s.Policy) {
		return true
	}
	within := m.now >= m.hold.earliest && m.now < m.hold.until
	switch {
	case m.hold.earliest == m.hold.until || m.phase != phaseOpen:
		return false
	case s.Op == OpDo && m.edges() == throttle.Leading:
		return m.now < m.hold.until
	case m.active != nil:
		return false
	case s.Op == OpCall || s.Op == OpCallWithin || s.Op == OpDo:
		return within
	default:
		return s.Op == OpSetPolicy && m.now >= m.hold.earliest
	}
}
