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

// dueBetween is what is due if the hold ends as early, and as late, as it may.
func (m *model) dueBetween() (from, to upcoming, ok bool) {
	latest := m.hold.until
	m.hold.until = m.hold.earliest
	from, _ = m.due()
	m.hold.until = latest
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
	if next < to {
		m.fire(ruleJitter)
		m.hold.until = next
	}
	if next > from {
		m.hold.earliest = next
	}
	return ""
}

// undecided reports whether the effect of a step depends on where in its range the hold
// ends: whether a call finds the throttle open, which RetryAfter a dropped call gets, and
// whether a run that a new policy makes due was due already.
func (m *model) undecided(s Step) bool {
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
