package explore

import (
	"slices"
	"strconv"

	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
)

// A process drives its replica as a Throttler of package fleet does.

// join puts a new replica in process i. It knows the store's time and nothing else.
func (m *model) join(s *state, i int) {
	p := &process{life: open, r: new(replica.Replica), policy: m.first}
	p.r.Rules = m.rules(m.first)
	p.r.Observe(m.at(s.now), m.clock(s))
	s.processes[i] = p
}

func (m *model) rules(p Policy) replica.Rules {
	return replica.Rules{
		Guard: m.at(p.Guard), Spacing: m.at(p.spacing()), Lease: m.at(m.Lease),
		Quiet: m.at(m.Quiet), MaxWait: m.at(m.MaxWait), Slack: m.at(m.Slack),
	}
}

// own makes a step of p alone.
func (c *change) own(mv move, p *process) {
	now := c.at(c.now)
	switch mv.step { //nolint:exhaustive // the others are not steps of a process alone
	case Call:
		c.made++
		c.call(p, func() { p.r.Call(now) })
	case Cancel:
		c.cancel(p)
	case Begin:
		c.begin(p)
	case End:
		c.over(p.r.View().Token, machine.Outcome{})
		p.again = false
		p.r.End(machine.Finish{})
	case EndFailed:
		c.fail(p, mv.of)
	case EndInterrupted:
		p.again = false
		p.r.GiveBack()
	case PlanLocal:
		p.r.PlanLocal(now)
		c.checkLocal(p)
		p.local = localRun{planned, c.now}
	case BeginLocal:
		c.beginLocal(p)
	case EndLocal:
		p.local = localRun{}
		p.r.EndLocal(now, false)
	case EndLocalFailed:
		p.local = localRun{}
		c.call(p, func() { p.r.EndLocal(now, true) })
	case Look:
		c.hints++
		p.r.EstimateClock(now, c.clock(c.state))
		p.r.SchedulePoll(now)
	case Wake:
		c.hints++
		p.woken = false
		p.r.SchedulePoll(now)
	case SetPolicy:
		p.policy = c.Second
		p.r.Rules = c.rules(p.policy)
	case Shutdown:
		p.life = draining
	case Close:
		p.life = closed
		c.cancel(p)
		p.r.Stop()
	case Fill:
		p.r.Full = true
	case Free:
		p.r.Full = false
	case AnswerMain:
		c.answer(p)
	case AnswerRenewal:
		m := p.renew
		p.renew = nil
		p.r.Renewed(c.at(m.sent), m.token, m.held)
		if v := p.r.View(); v.Phase == replica.Running && v.Token == m.token {
			p.denied = !m.held
		}
	}
}

// call makes a call at p.
func (c *change) call(p *process, call func()) {
	c.addCall()
	call()
	p.calls = append(p.calls, c.ghost.calls)
	p.last = c.ghost.calls
	c.joined(p)
}

// addCall records that a call is made now.
func (c *change) addCall() {
	c.ghost.calls++
	c.ghost.made = append(slices.Clip(c.ghost.made), c.now)
}

// joined records that the store has p's newest call if p counts it as registered without
// sending it. Such a call joins what is pending in the store, unless the store has lost
// that.
func (c *change) joined(p *process) {
	if v := p.r.View(); v.Pending && !v.Dirty && !v.Out && c.ghost.lost == 0 {
		c.ghost.kept = max(c.ghost.kept, p.last)
		p.known = p.last
		if c.ghost.told != nothing && p.last > c.ghost.started {
			c.ghost.told = max(c.ghost.told, c.ghost.made[p.last-1])
		}
	}
}

// oldestOf returns when the oldest call of p was made of which, for all that p knows, the store does
// not know. If there is none, it returns now.
func (c *change) oldestOf(p *process) int {
	for _, call := range p.calls {
		if call > p.known {
			return c.ghost.made[call-1]
		}
	}
	return c.now
}

func (c *change) cancel(p *process) {
	p.r.Cancel()
	p.settled, p.last = len(p.calls), 0
}

// begin begins the run that was granted to p, unless it is too late.
func (c *change) begin(p *process) {
	token, _, begun := p.r.Begin(c.at(c.now))
	if !begun {
		return
	}
	p.began, p.denied = c.now, false
	c.enter(token, p.asked)
	c.enterHere(p)
}

func (c *change) beginLocal(p *process) {
	p.r.BeginLocal(c.at(c.now))
	p.local = localRun{entered, c.now}
	c.enterHere(p)
	p.last = 0
}

// fail ends the callback at p with an error.
func (c *change) fail(p *process, of int) {
	v := p.r.View()
	f := machine.Finish{Outcome: machine.Outcome{Failed: true}}
	if of > 0 {
		f.Again, f.Delay, f.Failures = true, c.at(c.Retries[of-1]), v.Failures+1
	}
	c.over(v.Token, f.Outcome)
	p.again = f.Again
	p.r.End(f)
}

// answer gives p the answer to its message.
func (c *change) answer(p *process) {
	m, now := p.main, c.at(c.now)
	p.main = nil
	if m.kind == finishing {
		p.r.Finished(now, m.finished)
		return
	}
	p.seenToken = max(p.seenToken, m.reply.Token, m.reply.Last.Token)
	start, settled := p.r.Answer(now, m.reply)
	if start && p.life == closed {
		p.r.GiveBack()
	}
	if p.life == closed {
		return // no Do waits any more
	}
	for _, s := range settled {
		c.settle(p, s)
	}
	if m.reply.Verdict == machine.Deferred {
		p.known = max(p.known, m.call)
		c.joined(p)
	}
}

// proceed makes process i do what it wants to do at once. This is part of the step that made
// it want that, because no other process can see a state in between.
func (c *change) proceed(i int) {
	p := c.processes[i]
	if p.life == gone || p.paused {
		return
	}
	if p.pointless() {
		p = c.process(i)
		p.main = nil
		p.r.Abandon(c.at(c.now))
	}
	if c.wants(p) != replica.Wait {
		p = c.process(i)
		for c.wants(p) != replica.Wait {
			c.send(p, c.wants(p))
		}
	}
	switch {
	case p.life != open && p.main == nil && p.r.Synced():
		c.checkStopped(p)
		c.processes[i] = new(process)
	case c.forgets(p):
		c.forget(c.process(i))
	}
}

// forgets reports whether p drops its replica, which is idle. A new one would be the same.
func (c *change) forgets(p *process) bool {
	if !c.Group || p.life != open || p.main != nil || p.renew != nil || !p.r.Idle(c.at(c.now)) {
		return false
	}
	v := p.look()
	return (v.Calls > 0 || v.NotBefore > 0) && (!c.Local || c.at(c.now) >= v.NotBefore)
}

// forget puts a new replica in the place of p's.
func (c *change) forget(p *process) {
	if p.settled < len(p.calls) {
		c.breaks("Do", "a process forgets a key that a call waits for")
	}
	old := p.look()
	p.r = &replica.Replica{Rules: c.rules(p.policy), Full: old.Full}
	p.r.See(old.Seen)
	p.r.Observe(old.StoreAt, old.StoreNow)
	p.calls, p.settled, p.view = nil, 0, nil
}

// pointless reports whether it is useless to send p's message again.
func (p *process) pointless() bool {
	return p.main != nil && p.main.kind == claiming && p.main.at == lost &&
		(p.life == closed || p.life == draining && !p.r.Pending())
}

// wants returns what p wants to do.
func (c *change) wants(p *process) replica.Step {
	step, _ := p.r.Next(c.at(c.now))
	switch {
	case (step == replica.Claim || step == replica.Finish) && p.main != nil,
		step == replica.Claim && p.life == draining && !p.r.Dirty(),
		step == replica.Claim && p.life == closed:
		return replica.Wait
	default:
		return step
	}
}

func (c *change) send(p *process, step replica.Step) {
	now := c.at(c.now)
	switch step {
	case replica.Claim:
		c.sendClaim(p)
	case replica.Finish:
		p.main = c.message(finishing)
		p.main.finish, p.main.again = p.r.SendFinish(), p.again
		p.again = false
	case replica.Renew:
		if token := p.r.SendRenew(now); p.renew == nil {
			p.renew = c.message(renewing)
			p.renew.token = token
		}
	case replica.Lose:
		p.r.Lose()
	case replica.Wait:
	}
}

func (c *change) message(kind messageKind) *message {
	return &message{kind: kind, sent: c.now, left: c.now, came: c.now, applied: nothing}
}

func (c *change) sendClaim(p *process) {
	p.claimed++
	if p.claimed > c.mostClaims() {
		c.breaks("work", "a replica sends claims for ever while no time passes")
	}
	p.asked = p.policy
	c.claims++
	p.main = c.message(claiming)
	p.main.claim = p.r.SendClaim(c.at(c.now), strconv.Itoa(c.claims))
	p.main.guard, p.main.seenToken = p.policy.Guard, p.seenToken
	p.main.barred = p.r.View().Phase != replica.Idle || p.local.at != noRun || p.r.Full || c.Local && p.interval > 0
	switch {
	case p.main.claim.New:
		p.main.call, p.main.oldest = p.last, c.oldestOf(p)
	case p.main.claim.Age >= 0:
		p.main.call, p.main.oldest = p.last, c.ghost.made[p.last-1]
	}
}

// pass lets a tick pass for process i.
func (c *change) pass(i int) {
	p := *c.processes[i]
	p.interval = max(0, p.interval-1)
	p.claimed, p.woken = 0, false
	c.processes[i] = &p
	if m := p.main; m != nil && !p.paused && m.kind == claiming && c.now-m.sent >= c.Patience {
		p := c.process(i)
		p.main = nil
		p.r.Abandon(c.at(c.now))
	}
}
