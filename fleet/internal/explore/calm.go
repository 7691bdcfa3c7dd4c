package explore

import (
	"slices"

	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// Once all is calm, nobody calls, nothing goes wrong, and messages take their usual time.
// Then exactly one sequence of steps follows each state. It must end in a state in which
// nothing is left to do, and in which every call is covered that must be.

// calmTicks returns within how many ticks all work must end: a lease ends, the next run is
// due and is late, and so is another one. How far the store's clock was stepped does not
// matter.
func (m *model) calmTicks() int { return 6 * m.longest }

// calmDown takes the steps that follow s once all is calm, and returns the guarantee that
// they break. It stops at a state that an earlier calmDown has reached, unless record is
// given, which is called for each step.
func (x *search) calmDown(s *state, record func(*state, move)) breach {
	x.calmRuns++
	to := *s
	c := calming{change: change{model: x.m, state: &to}, record: record}
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
		case in == x.calmRuns:
			return breach{"work", "states repeat for ever although all is calm"}
		case in != 0 && record == nil:
			return breach{}
		}
		x.calm[k] = x.calmRuns
		c.step(move{step: Tick})
	}
	return breach{"work", "work does not end although all is calm"}
}

// settled reports whether nothing is left to do at s in this tick once all is calm. Only
// then must the search follow the calm steps from s: otherwise they begin with a move that
// leads to a state that the search visits anyway.
func (m *model) settled(s *state) bool {
	c := calming{change: change{model: m, state: s}}
	_, found := c.next()
	return !found
}

// calming is a series of changes once all is calm.
type calming struct {
	change
	record func(*state, move) // nil: none
}

// step makes mv.
func (c *calming) step(mv move) {
	c.make(mv)
	if c.record != nil {
		c.record(c.state, mv)
	}
}

// follow makes all steps of a tick. Once in a tick, a process looks at the index.
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

// works reports whether p is a process whose throttler is not closed.
func (p *process) works() bool { return p.life == open || p.life == draining }

// next returns the next step in this tick, except for looks at the index.
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
	case p.r.Full:
		return Free
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
