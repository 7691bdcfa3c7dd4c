package explore

import (
	"slices"

	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// This file holds what follows once all is calm: nobody calls, nothing goes wrong, and
// messages take their usual time. There is one way on from each state then, which must
// lead to one where nothing is left to do and every call that must be covered is.

// calmTicks is how long it may take until nothing is left to do: a lease ends, the next run
// is due and is late, and so is another one. How far the store's clock was stepped does not
// matter.
func (m *model) calmTicks() int { return 6 * m.longest }

// calmDown follows s once all is calm, and returns what that breaks. It does not go on
// where it has been before, but to tell of each step.
func (x *search) calmDown(s *state, tell func(*state, move)) breach {
	x.calmed++
	to := *s
	c := calming{change: change{model: x.m, state: &to}, tell: tell}
	c.calm, c.copies = true, nil
	for range x.m.calmTicks() {
		c.follow()
		switch {
		case c.breach.guarantee != "":
			return c.breach
		case c.idle():
			c.checkEnd()
			return c.breach
		}
		k := x.keys.of(c.state)
		switch in := x.calm[k]; {
		case in == x.calmed:
			return breach{"work", "the same happens again and again though all is calm"}
		case in != 0 && tell == nil:
			return breach{}
		}
		x.calm[k] = x.calmed
		c.step(move{step: Tick})
	}
	return breach{"work", "replicas do not come to rest though all is calm"}
}

// settled reports whether what follows s once all is calm begins with something that may
// not follow otherwise. Else what it begins with leads to a state that is
// visited itself.
func (m *model) settled(s *state) bool {
	c := calming{change: change{model: m, state: s}}
	_, found := c.next()
	return !found
}

// calming is a change that goes on and on.
type calming struct {
	change
	tell func(*state, move)
}

// step makes mv.
func (c *calming) step(mv move) {
	c.make(mv)
	if c.tell != nil {
		c.tell(c.state, mv)
	}
}

// follow makes all steps of a tick. Once in a tick somebody looks at the index.
func (c *calming) follow() {
	looked := false
	for c.breach.guarantee == "" {
		if mv, found := c.next(); found {
			c.step(mv)
			continue
		}
		if looked || !c.due(c.state) {
			return
		}
		looked = true
		c.step(move{step: Look, who: slices.IndexFunc(c.processes[:], (*process).works)})
	}
}

// works reports whether p is a process of a throttler that is not closed.
func (p *process) works() bool { return p.life == open || p.life == draining }

// next returns the next step in this tick, but for looks at the index.
func (c *calming) next() (mv move, found bool) {
	for i, p := range c.processes[:c.Replicas] {
		if step := c.nextOf(p); step != StepCount {
			return move{step: step, who: i}, true
		}
	}
	if !slices.ContainsFunc(c.processes[:], (*process).works) {
		return move{step: JoinProcess, who: slices.IndexFunc(c.processes[:], func(p *process) bool { return p.life == gone })}, true
	}
	return move{}, false
}

// nextOf returns the next step of p in this tick, StepCount if there is none.
func (c *calming) nextOf(p *process) Step {
	if p.life == gone {
		return StepCount
	}
	switch phase := p.look().Phase; {
	case p.paused:
		return ResumeProcess
	case p.main != nil && p.main.at == lost:
		return Resend
	case c.arrives(p.main, toStore, c.There):
		return ArriveMain
	case c.arrives(p.main, toReplica, c.Back):
		return AnswerMain
	case c.arrives(p.renew, toStore, c.There):
		return ArriveRenewal
	case c.arrives(p.renew, toReplica, c.Back):
		return AnswerRenewal
	case phase == replica.Granted:
		return Begin
	case phase == replica.Running:
		return End
	case p.local.at == planned:
		return BeginLocal
	case p.local.at == entered:
		return EndLocal
	default:
		return StepCount
	}
}

func (c *calming) arrives(m *message, at place, after int) bool {
	return m != nil && m.at == at && c.now-m.came >= after
}

// idle reports whether nothing is left to do.
func (c *calming) idle() bool {
	if _, pending := c.store.Due(); pending {
		return false
	}
	return !slices.ContainsFunc(c.processes[:], func(p *process) bool {
		if p.life == gone {
			return false
		}
		step, until := p.r.Next(c.at(c.now))
		return step != replica.Wait || until != replica.Never || p.main != nil || p.renew != nil
	})
}
