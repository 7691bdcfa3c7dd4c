package explore

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the guarantees.

// A breach is a guarantee that a step breaks; the zero breach is none.
type breach struct{ guarantee, how string }

func (c *change) breaks(guarantee, how string) {
	if c.breach.guarantee == "" {
		c.breach = breach{guarantee, how}
	}
}

// mostClaims is how many claims a replica may send in one tick: one that registers a
// call, one for a run that is due by its answer, one after the end of that run, one as
// the index says so, and one for each call, hint or fault that comes while another is out.
func (m *model) mostClaims() int { return 4 + m.Calls + m.Hints + m.Faults }

// checkClaim looks at a claim that the store has applied.
func (c *change) checkClaim(m *message, before *machine.State) {
	granted := c.store.Token != before.Token
	remembered := m.applied != nothing && c.now-m.applied <= c.ticks(machine.KeepIDs) && c.ghost.lost == 0
	switch {
	case remembered && (granted || c.store.Requested != before.Requested):
		c.breaks("copy", "a copy of a claim registers a call again, or is granted")
	case remembered && m.claim.ID == before.Owner && c.clock(c.state) < before.Until && m.reply.Token != before.Token:
		c.breaks("copy", "a claim that was granted is sent again, and its grant is not told")
	case granted && c.now-m.sent > m.guard && c.faults[Backward] == 0, granted && m.barred:
		c.breaks("late", "a claim is granted whose run cannot start")
	}
}

// checkGrant looks at a new grant.
func (c *change) checkGrant(m *message) {
	token := c.store.Token
	knows := c.ghost.lost == 0 || m.told >= c.ghost.highest || int64(c.clock(c.state)) > c.ghost.highest
	switch {
	case c.ghost.spacing > 0:
		c.breaks("I1", "a grant follows the last too soon")
	case knows && token <= c.ghost.highest:
		c.breaks("I3", "a token is not above all before it")
	}
}

// enter notes that the callback of a grant is entered, which was asked for with a policy.
func (c *change) enter(token int64, asked Policy) {
	if c.ghost.interval > 0 {
		if c.ghost.spent == c.ghost.lost {
			c.breaks("I2", "two runs start within an interval")
		}
		c.ghost.spent++
	}
	c.ghost.interval = asked.Interval
	c.ghost.started = c.ghost.calls
	c.ghost.runs = append(slices.Clip(c.ghost.runs), run{token: token, covers: c.ghost.calls})
	slices.SortFunc(c.ghost.runs, func(a, b run) int { return cmp.Compare(a.token, b.token) })
}

// enterHere notes that a callback is entered at p, which covers the calls made there.
func (c *change) enterHere(p *process) {
	if p.interval > 0 && c.Local {
		c.breaks("local", "two runs of a replica start within an interval")
	}
	p.interval = c.Interval
	p.settled = len(p.calls)
}

// checkStopped looks at a process that has shut down or closed.
func (c *change) checkStopped(p *process) {
	if p.last > max(c.ghost.started, c.ghost.kept) && c.ghost.lost == 0 {
		c.breaks("I4", "a process shuts down with a call that only it knows of")
	}
}

// over notes that the callback of a grant has returned.
func (c *change) over(token int64, o machine.Outcome) {
	c.ghost.runs = slices.Clone(c.ghost.runs)
	for i := range c.ghost.runs {
		if r := &c.ghost.runs[i]; r.token == token {
			r.ended, r.outcome = true, o
			c.ghost.ended = max(c.ghost.ended, r.covers)
		}
	}
}

// settle looks at what a replica says of calls, each of which a Do may wait for.
func (c *change) settle(p *process, s replica.Settlement) {
	through := int(s.Through) //nolint:gosec // a few calls are made in all
	if through > len(p.calls) {
		c.breaks("Do", "a call is settled that was not made")
		return
	}
	for ; p.settled < through; p.settled++ {
		c.settleCall(p.calls[p.settled], s)
	}
}

func (c *change) settleCall(call int, s replica.Settlement) {
	switch {
	case c.ghost.started < call:
		c.breaks("I4", "a call is taken for covered, and no run has started since")
	case !s.Known:
		if c.ghost.ended < call && c.ghost.lost == 0 {
			c.breaks("Do", "a call is settled, and no run that covers it has ended")
		}
	case !slices.ContainsFunc(c.ghost.runs, func(r run) bool {
		return r.token == s.Token && r.ended && r.covers >= call && r.outcome == s.Outcome
	}):
		c.breaks("Do", fmt.Sprintf("a call is settled with a run that does not cover it, has not ended or ended differently: %d", s.Token))
	}
}

// checkState looks at where a step has led.
func (c *change) checkState() {
	holders := 0
	for _, p := range c.processes {
		if p.life == gone || p.paused {
			continue
		}
		if v := p.look(); v.Phase == replica.Running && !v.Lost && c.at(c.now) < v.LeaseEnd {
			holders++
			if p.denied {
				c.breaks("I5", "a process was told that its lease is over, and takes it for its own")
			}
		}
	}
	if holders > 1+c.ghost.lost {
		c.breaks("I5", "two replicas hold leases")
	}
	if s := c.store; s.Acknowledged > s.Taken || s.Taken > s.Requested {
		c.breaks("machine", "generations are not in order")
	}
}

// checkEnd looks at a state from which nothing happens any more.
func (c *change) checkEnd() {
	if c.ghost.kept > c.ghost.started {
		c.breaks("I4", "no run starts for a call that the store knows of")
	}
	for _, p := range c.processes {
		switch {
		case p.life == gone:
		case p.last > c.ghost.started:
			c.breaks("I4", "no run starts for a call of a replica that lives")
		case p.settled < len(p.calls):
			c.breaks("Do", "a call is never settled")
		case p.r.Pending():
			c.breaks("Do", "a replica takes calls for pending for ever")
		}
	}
}
