package throttle_test

// This file reckons until when the past of a key decides anything: what the
// library must not forget. It knows the policy and what can be seen from outside,
// calls and runs, and nothing of how the library keeps account of them.

import (
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// longAgo is when what never happened did.
const longAgo time.Duration = -1 << 62

// later returns d after at: saturated, and nothing comes of what never happened.
func later(at, d time.Duration) time.Duration {
	if at == longAgo {
		return longAgo
	}
	return reference.Plus(at, d)
}

// A memory is the past of one key. Its instants count from the test's begin.
type memory struct {
	policy   throttle.Policy
	called   time.Duration // last
	started  time.Duration // last
	ended    time.Duration // last
	tokens   int           // in the bucket after the last start
	accrual  time.Duration // since when the next token accrues
	hold     time.Duration // until when the last outcome keeps the window closed
	backoff  bool          // it does so by Retry, not by RetryIn
	failures int           // in a row
	active   bool
	canceled bool // Cancel met the active run
}

func newMemory(p throttle.Policy) memory {
	return memory{policy: p, called: longAgo, started: longAgo, ended: longAgo, accrual: longAgo, hold: longAgo}
}

// decidesUntil returns the first instant at which nothing of the past matters any
// more, if nothing is pending and nothing runs.
func (m *memory) decidesUntil() time.Duration {
	until := later(m.called, m.policy.Quiet)
	if m.policy.From == throttle.FromEnd {
		until = max(until, later(m.ended, m.policy.Interval))
	} else {
		full := m.accrual
		for range max(m.policy.Burst, 1) - m.tokens {
			full = later(full, m.policy.Interval)
		}
		until = max(until, full)
	}
	if !m.backoff || m.policy.Retry.Initial > 0 && !m.policy.Retry.Eager {
		until = max(until, m.hold)
	}
	return until
}

func (m *memory) call(now time.Duration) { m.called = now }

func (m *memory) cancel(time.Duration) {
	m.failures = 0
	m.canceled = m.active
}

func (m *memory) start(now time.Duration) {
	m.started, m.active, m.canceled = now, true, false
	size := max(m.policy.Burst, 1)
	if m.accrual == longAgo || m.policy.Interval == 0 {
		m.tokens = size
	}
	for m.tokens < size && later(m.accrual, m.policy.Interval) <= now {
		m.tokens++
		m.accrual = later(m.accrual, m.policy.Interval)
	}
	if m.tokens == size || m.tokens == 0 { // empty: a flush
		m.accrual = now
	}
	m.tokens = max(m.tokens-1, 0)
}

func (m *memory) end(now time.Duration, script reference.Script) {
	retry := m.policy.Retry
	m.ended, m.active, m.hold, m.backoff = now, false, longAgo, false
	switch {
	case script.Outcome.AsksRetry():
		m.hold = later(now, max(script.RetryIn, 0))
	case script.Outcome.Succeeds() || retry.Initial == 0:
		m.failures = 0
	case m.canceled:
		m.hold, m.backoff = later(now, retry.Initial), true
	default:
		delay := retry.Initial
		for range m.failures {
			delay = min(later(delay, delay), max(retry.Max, retry.Initial))
		}
		m.hold, m.backoff = later(now, delay), true
		m.failures++
		if m.failures == retry.MaxAttempts {
			m.failures = 0
		}
	}
}

func (m *memory) adopt(next throttle.Policy) {
	m.policy = next
	if size := max(next.Burst, 1); m.tokens >= size || size == 1 {
		m.tokens, m.accrual = size-1, m.started
	}
}

// features names what of the policy a key has to remember.
func features(p throttle.Policy) (names []string) {
	for name, has := range map[string]bool{
		"Interval": p.Interval > 0, "Burst": p.Burst > 1, "FromEnd": p.Interval > 0 && p.From == throttle.FromEnd,
		"Quiet": p.Quiet > 0, "MaxWait": p.MaxWait > 0, "MaxCalls": p.MaxCalls > 0,
		"leading only": p.Edges == throttle.Leading, "trailing only": p.Edges == throttle.Trailing,
		"leading and Quiet": p.Edges&throttle.Leading != 0 && p.Quiet > 0,
		"Retry":             p.Retry.Initial > 0, "MaxAttempts": p.Retry.MaxAttempts > 0, "Eager": p.Retry.Eager,
	} {
		if has {
			names = append(names, name)
		}
	}
	return names
}
