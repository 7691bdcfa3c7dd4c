package explore

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
)

// A breach is a guarantee that a step breaks, and how. The zero breach means that it breaks
// none.
type breach struct{ guarantee, how string }

func (c *change) breaks(guarantee, how string) {
	if c.breach.guarantee == "" {
		c.breach = breach{guarantee, how}
	}
}

// mostClaims returns how many claims a replica may send in one tick: one that registers a
// call, one for a run that is due according to the answer, one after the end of that run, one
// because the index says that the key is due, and one for each call, hint or fault while
// another claim is out.
func (m *model) mostClaims() int { return 4 + m.Calls + m.Hints + m.Faults }

// checkClaim checks a claim that the store has applied.
func (c *change) checkClaim(m *message, before *machine.State) {
	granted := c.store.Token != before.Token
	remembered := m.applied != nothing && c.now-m.applied <= c.ticks(machine.KeepIDs) && c.ghost.lost == 0
	switch {
	case remembered && (granted || c.store.Requested != before.Requested):
		c.breaks("copy", "a copy of a claim registers a call again, or is granted")
	case remembered && m.claim.ID == before.Owner && c.clock(c.state) < before.Until && m.reply.Token != before.Token:
		c.breaks("copy", "a granted claim is sent again, and does not get its grant")
	case granted && c.now-m.sent > m.guard && c.faults[Backward] == 0, granted && m.barred:
		c.breaks("late", "a claim is granted although its run cannot start")
	}
}

// tell records that the store is told of call and of calls that were made since oldest. The news took
// so many ticks.
func (c *change) tell(call, oldest, took int, leased bool) {
	g := &c.ghost
	if c.Quiet == 0 || call == 0 {
		return
	}
	newest := g.made[call-1]
	if g.told == nothing || g.taken && leased {
		g.limit = oldest + took + c.MaxWait
	}
	g.taken = false
	g.told = max(g.told, newest)
	g.until = max(g.until, newest+took+c.Quiet+c.Slack)
}

// checkQuiet checks the time of a run for calls that were made from oldest to newest.
func (c *change) checkQuiet(oldest, newest int) {
	if c.now < newest+c.Quiet && (c.MaxWait == 0 || c.now < oldest+c.MaxWait) {
		c.breaks("quiet", "a run is due too soon after a call")
	}
}

// checkLocal checks the plan to run at p without a grant.
func (c *change) checkLocal(p *process) {
	if open := p.calls[p.settled:]; c.Quiet > 0 && len(open) > 0 {
		c.checkQuiet(c.ghost.made[open[0]-1], c.ghost.made[open[len(open)-1]-1])
	}
}

// steady reports whether the store has kept its state, and its clock has never stepped.
func (c *change) steady() bool { return c.ghost.lost == 0 && c.faults[Backward] == 0 }

// checkWait checks for how long the store postpones the next run.
func (c *change) checkWait() {
	until := c.ghost.until
	if c.MaxWait > 0 {
		until = min(until, c.ghost.limit)
	}
	if next := c.now + c.ticks(c.store.Next.Sub(c.clock(c.state))); next > max(until, c.now+c.ghost.spacing) {
		c.breaks("wait", "a run is postponed for too long")
	}
}

// checkGrant checks a new grant.
func (c *change) checkGrant(m *message, before *machine.State) {
	token := c.store.Token
	knows := c.ghost.lost == 0 || m.seenToken >= c.ghost.highest || int64(c.clock(c.state)) > c.ghost.highest
	if isLost := before.Taken > before.Acknowledged; c.ghost.told != nothing && c.steady() && !isLost {
		c.checkQuiet(c.ghost.limit-c.MaxWait, c.ghost.told)
	}
	c.ghost.taken = true
	switch {
	case c.ghost.spacing > 0:
		c.breaks("I1", "a grant follows the last too soon")
	case knows && token <= c.ghost.highest:
		c.breaks("I3", "a token is not higher than all before it")
	}
}

// enter records that the callback of a grant is entered, and checks it. The policy asked was
// in force when the claim was sent.
func (c *change) enter(token int64, asked Policy) {
	if c.ghost.interval > 0 {
		if c.ghost.spent == c.ghost.lost {
			c.breaks("I2", "two runs start within an interval")
		}
		c.ghost.spent++
	}
	c.ghost.interval = asked.Interval
	c.ghost.started = c.ghost.calls
	if c.ghost.taken { // otherwise the store believes that another run must follow
		c.ghost.told = nothing
	}
	c.ghost.runs = append(slices.Clip(c.ghost.runs), run{token: token, covers: c.ghost.calls})
	slices.SortFunc(c.ghost.runs, func(a, b run) int { return cmp.Compare(a.token, b.token) })
}

// enterHere records that a callback is entered at p, and checks it. It covers the calls made
// at p.
func (c *change) enterHere(p *process) {
	if p.r.Full {
		c.breaks("room", "a full process starts a run")
	}
	if p.interval > 0 && c.Local {
		c.breaks("local", "two runs of a replica start within an interval")
	}
	p.interval = c.Interval
	p.settled = len(p.calls)
	p.known = c.ghost.calls
}

// checkStopped checks a process that has shut down or closed.
func (c *change) checkStopped(p *process) {
	if p.last > max(c.ghost.started, c.ghost.kept) && c.ghost.lost == 0 {
		c.breaks("I4", "a process ends with a call that nobody else knows of")
	}
}

// over records that the callback of a grant has returned.
func (c *change) over(token int64, o machine.Outcome) {
	c.ghost.runs = slices.Clone(c.ghost.runs)
	for i := range c.ghost.runs {
		if r := &c.ghost.runs[i]; r.token == token {
			r.ended, r.outcome = true, o
			c.ghost.ended = max(c.ghost.ended, r.covers)
		}
	}
}

// settle checks the calls that a replica settles. A Do may wait for each of them.
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
		c.breaks("I4", "a call counts as covered, but no run has started since")
	case !s.Known:
		if c.ghost.ended < call && c.ghost.lost == 0 {
			c.breaks("Do", "a call is settled, but no run that covers it has ended")
		}
	case !slices.ContainsFunc(c.ghost.runs, func(r run) bool {
		return r.token == s.Token && r.ended && r.covers >= call && r.outcome == s.Outcome
	}):
		c.breaks("Do", fmt.Sprintf("a call is settled with a run that does not cover it, has not ended or ended differently: %d", s.Token))
	}
}

// checkState checks the state that a step has led to.
func (c *change) checkState() {
	holders := 0
	for _, p := range c.processes {
		if p.life == gone || p.paused {
			continue
		}
		if v := p.look(); v.Phase == replica.Running && !v.Lost && c.at(c.now) < v.LeaseEnd {
			holders++
			if p.denied {
				c.breaks("I5", "a process relies on a lease although it knows that the lease has ended")
			}
		}
	}
	if holders > 1+c.ghost.lost {
		c.breaks("I5", "two replicas rely on leases")
	}
	if c.ghost.told != nothing && c.steady() {
		c.checkWait()
	}
	if s := c.store; s.Acknowledged > s.Taken || s.Taken > s.Requested {
		c.breaks("machine", "generations are not in order")
	}
}

// checkEnd checks a state in which nothing is left to do.
func (c *change) checkEnd() {
	if c.ghost.kept > c.ghost.started {
		c.breaks("I4", "no run starts for a call that the store knows of")
	}
	for _, p := range c.processes {
		switch {
		case p.life == gone:
		case p.last > c.ghost.started:
			c.breaks("I4", "no run starts for a call of a live replica")
		case p.settled < len(p.calls):
			c.breaks("Do", "a call is never settled")
		case p.r.Pending():
			c.breaks("Do", "calls of a replica are pending for ever")
		}
	}
}
