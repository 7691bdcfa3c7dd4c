package explore

import (
	"slices"
)

// A change is a move that is being made.
type change struct {
	*model
	*state
	breach breach
}

// after returns the state that mv leads to from s, and the guarantee that it breaks.
func (m *model) after(s *state, mv move) (*state, breach) {
	to := *s
	c := change{model: m, state: &to}
	c.make(mv)
	return c.state, c.breach
}

func (c *change) make(mv move) {
	if k := mv.step.kind(); k != noKind {
		c.faults[k]++
	}
	switch {
	case mv.step < lastOwn:
		c.own(mv, c.process(mv.who))
	case mv.step < lastOfMessage:
		c.ofMessage(mv)
	default:
		c.rest(mv)
	}
	for i := range c.Replicas {
		c.proceed(i)
	}
	c.checkState()
}

// kind returns the kind whose budget s uses, if there is one.
func (s Step) kind() Kind {
	return [StepCount]Kind{
		LoseMain: Loss, LoseRenewal: Loss, CopyMain: Copy, CopyRenewal: Copy, SlowMain: Slowness, SlowRenewal: Slowness,
		CrashProcess: Crash, PauseProcess: Pause, WipeStore: Wipe, RollBack: Rollback, StepBack: Backward, StepForward: Forward,
		EndFailed: Failure, EndLocalFailed: Failure, Cancel: Canceling, Close: Closing, Shutdown: Draining, SetPolicy: Steering, Fill: Filling,
	}[s]
}

// ofMessage makes a step of a message.
func (c *change) ofMessage(mv move) {
	main, renew := c.processes[mv.who].main, c.processes[mv.who].renew
	switch mv.step { //nolint:exhaustive // the others are not steps of messages
	case ArriveMain:
		main = c.arrive(main)
	case LoseMain:
		main = main.moved(lost, c.now)
		main.failed = true
	case SlowMain:
		main = main.slowed()
	case Resend:
		main = main.moved(toStore, c.now)
		main.left, main.slow = c.now, false
	case ArriveRenewal:
		renew = c.arrive(renew)
	case LoseRenewal:
		renew = nil
	case SlowRenewal:
		renew = renew.slowed()
	case CopyMain:
		c.copies = append(slices.Clip(c.copies), main)
		return
	case CopyRenewal:
		c.copies = append(slices.Clip(c.copies), renew)
		return
	case ArriveCopy:
		m := c.copies[mv.of]
		c.copies = slices.Concat(c.copies[:mv.of], c.copies[mv.of+1:])
		c.arrive(m)
		return
	}
	p := *c.processes[mv.who]
	p.main, p.renew = main, renew
	c.processes[mv.who] = &p
}

func (m *message) slowed() *message {
	c := *m
	c.slow, c.failed = true, true
	return &c
}

// rest makes a step that belongs neither to a process alone nor to a message.
func (c *change) rest(mv move) {
	switch mv.step { //nolint:exhaustive // the others are made elsewhere
	case PauseProcess:
		c.process(mv.who).paused = true
	case ResumeProcess:
		c.process(mv.who).paused = false
	case CrashProcess:
		c.processes[mv.who] = new(process)
	case JoinProcess:
		c.join(c.state, mv.who)
	case WipeStore:
		c.wipe()
	case TakeSnapshot:
		c.snapshot, c.ghost.keptOld = c.store, c.ghost.kept
	case RollBack:
		c.rollBack()
	case StepBack:
		c.stepClock(-c.Step)
	case StepForward:
		c.stepClock(c.Step)
	case Tick:
		c.tick()
	}
}

// tick lets a tick pass.
func (c *change) tick() {
	c.now++
	c.ghost.spacing = max(0, c.ghost.spacing-1)
	c.ghost.interval = max(0, c.ghost.interval-1)
	for i := range c.Replicas {
		c.pass(i)
	}
}
