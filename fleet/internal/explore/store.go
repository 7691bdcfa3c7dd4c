package explore

import (
	"slices"

	"github.com/throttle-go/throttle/fleet/machine"
)

// due reports whether the store's index says that the key is due.
func (m *model) due(s *state) bool {
	due, pending := s.store.Due()
	return pending && due <= m.clock(s)
}

// arrive makes the store apply m, and returns the answer.
func (c *change) arrive(m *message) *message {
	answer := m.moved(toReplica, c.now)
	switch m.kind {
	case claiming:
		c.claim(answer)
	case finishing:
		c.finish(answer)
	case renewing:
		answer.held = c.storeToChange().Renew(c.clock(c.state), m.token)
		if answer.held && m.token != c.store.Token {
			c.breaks("I5", "a lease is renewed that does not hold the key")
		}
	}
	return answer
}

func (c *change) claim(m *message) {
	before := c.store
	s := c.storeToChange()
	reply, err := s.Claim(c.clock(c.state), m.claim)
	if err != nil {
		c.breaks("machine", err.Error())
	}
	m.reply = reply
	c.ghost.kept = max(c.ghost.kept, m.call)
	c.checkClaim(m, before)
	if registered := s.Requested > s.Taken || s.Token != before.Token; m.applied == nothing && registered {
		c.tell(m.call, m.oldest, c.now-m.sent, before.Owner != "" && c.clock(c.state) < before.Until)
	}
	if s.Token != before.Token {
		c.checkGrant(m, before)
		c.ghost.spacing = c.ticks(m.claim.Spacing)
		c.ghost.highest = max(c.ghost.highest, s.Token)
	}
	if m.applied == nothing {
		m.applied = c.now
		c.applied(m)
	}
}

// applied records in all copies of m that the store has seen it.
func (c *change) applied(m *message) {
	same := func(other *message) bool {
		return other != nil && other.kind == claiming && other.claim.ID == m.claim.ID
	}
	for i, other := range c.copies {
		if same(other) {
			c.copies = slices.Clone(c.copies)
			c.copies[i] = other.moved(other.at, other.came)
			c.copies[i].applied = c.now
		}
	}
	for i := range c.processes {
		if other := c.processes[i].main; same(other) {
			p := c.process(i)
			p.main = other.moved(other.at, other.came)
			p.main.applied = c.now
		}
	}
}

func (c *change) finish(m *message) {
	f, err := c.storeToChange().Finish(c.clock(c.state), m.finish)
	if err != nil {
		c.breaks("machine", err.Error())
	}
	m.finished = f
	if f.Stale {
		return
	}
	if m.again {
		c.addCall()
		c.ghost.kept = c.ghost.calls
	}
	c.ghost.spacing = max(c.ghost.spacing, c.ticks(m.finish.Delay))
	if c.hints == c.Hints || c.calm {
		return
	}
	for i, p := range c.processes {
		if p.life != gone {
			woken := *p
			woken.woken = true
			c.processes[i] = &woken
		}
	}
}

// loseState records that the store has lost state.
func (c *change) loseState() {
	c.ghost.lost++
	c.ghost.spacing, c.ghost.told = 0, nothing
}

func (c *change) wipe() {
	c.store = new(machine.State)
	c.ghost.kept = 0
	c.loseState()
}

func (c *change) rollBack() {
	c.store, c.snapshot = c.snapshot, nil
	c.ghost.kept, c.ghost.keptOld = c.ghost.keptOld, 0
	c.loseState()
}

// stepClock steps the store's clock.
func (c *change) stepClock(ticks int) {
	c.offset += ticks
	if ticks > 0 {
		c.ghost.lost++
		c.ghost.spacing = max(0, c.ghost.spacing-ticks)
	}
}
