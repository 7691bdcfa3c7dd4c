package explore

import "github.com/throttle-go/throttle/fleet/internal/replica"

// moves lists the moves that a state permits, always in the same order.
type moves struct {
	m    *model
	s    *state
	list []move
}

// find returns the moves from s. The slice is valid until the next find.
func (x *moves) find(s *state) []move {
	x.s, x.list = s, x.list[:0]
	for i, p := range s.processes[:x.m.Replicas] {
		x.ofProcess(i, p)
	}
	for i := range s.copies {
		x.add(ArriveCopy, 0, i)
	}
	x.ofStore()
	if x.timeMayPass() {
		x.add(Tick, 0, 0)
	}
	return x.list
}

func (x *moves) add(step Step, who, of int) { x.list = append(x.list, move{step, who, of}) }

// fail adds a step that is a fault.
func (x *moves) fail(k Kind, step Step, who int) {
	if x.m.may(x.s, k) {
		x.add(step, who, 0)
	}
}

func (x *moves) ofProcess(i int, p *process) {
	if p.life == gone {
		x.add(JoinProcess, i, 0)
		return
	}
	if p.paused {
		x.add(ResumeProcess, i, 0)
	} else {
		x.ofRun(i, p)
		x.ofLocalRun(i, p)
		x.ofUser(i, p)
		x.ofHints(i, p)
		x.ofRoom(i, p)
		x.fail(Pause, PauseProcess, i)
	}
	x.fail(Crash, CrashProcess, i)
	x.ofMain(i, p)
	x.ofRenewal(i, p)
}

func (x *moves) ofRun(i int, p *process) {
	switch v := p.look(); v.Phase {
	case replica.Granted:
		x.add(Begin, i, 0)
	case replica.Running:
		x.add(End, i, 0)
		if v.Lost || p.life == closed {
			x.add(EndInterrupted, i, 0)
		} else if x.m.may(x.s, Failure) {
			for of := range len(x.m.Retries) + 1 {
				x.add(EndFailed, i, of)
			}
		}
	case replica.Idle, replica.Finishing:
	}
}

func (x *moves) ofLocalRun(i int, p *process) {
	switch p.local.at {
	case noRun:
		if x.m.Local && p.life == open && p.main != nil && p.main.failed {
			if p.r.Clone().PlanLocal(x.m.at(x.s.now)) {
				x.add(PlanLocal, i, 0)
			}
		}
	case planned:
		x.add(BeginLocal, i, 0)
	case entered:
		x.add(EndLocal, i, 0)
		x.fail(Failure, EndLocalFailed, i)
	}
}

func (x *moves) ofUser(i int, p *process) {
	if p.life == closed {
		return
	}
	x.fail(Closing, Close, i)
	if p.life == draining {
		return
	}
	x.fail(Draining, Shutdown, i)
	if x.s.made < x.m.Calls {
		x.add(Call, i, 0)
	}
	if p.look().Pending {
		x.fail(Canceling, Cancel, i)
	}
	x.fail(Steering, SetPolicy, i)
}

// ofRoom adds the moves of a process that must not start a run because of its other keys. A run
// that is active or planned has its place.
func (x *moves) ofRoom(i int, p *process) {
	switch v := p.look(); {
	case v.Full:
		x.add(Free, i, 0)
	case v.Phase == replica.Idle && !v.Local && !v.Out:
		x.fail(Filling, Fill, i)
	}
}

func (x *moves) ofHints(i int, p *process) {
	if x.s.hints == x.m.Hints || p.life == closed {
		return
	}
	if x.m.due(x.s) {
		x.add(Look, i, 0)
	}
	if p.woken && p.look().Pending {
		x.add(Wake, i, 0)
	}
}

func (x *moves) ofMain(i int, p *process) {
	m := p.main
	if m == nil {
		return
	}
	switch m.at {
	case toStore:
		x.add(ArriveMain, i, 0)
		if m.left == x.s.now { // a later copy makes no difference
			x.fail(Copy, CopyMain, i)
		}
	case toReplica:
		if !p.paused {
			x.add(AnswerMain, i, 0)
		}
	case lost:
		if !p.paused {
			x.add(Resend, i, 0)
		}
		return
	}
	x.fail(Loss, LoseMain, i)
	if !m.slow {
		x.fail(Slowness, SlowMain, i)
	}
}

// ofRenewal adds the moves of a renewal. It is not sent again, because the next renewal
// replaces it.
func (x *moves) ofRenewal(i int, p *process) {
	m := p.renew
	if m == nil {
		return
	}
	if m.at == toStore {
		x.add(ArriveRenewal, i, 0)
		if m.left == x.s.now {
			x.fail(Copy, CopyRenewal, i)
		}
	} else if !p.paused {
		x.add(AnswerRenewal, i, 0)
	}
	x.fail(Loss, LoseRenewal, i)
	if !m.slow {
		x.fail(Slowness, SlowRenewal, i)
	}
}

func (x *moves) ofStore() {
	x.fail(Wipe, WipeStore, 0)
	if x.s.snapshot == nil {
		x.fail(Rollback, TakeSnapshot, 0)
	} else {
		x.fail(Rollback, RollBack, 0)
	}
	x.fail(Backward, StepBack, 0)
	x.fail(Forward, StepForward, 0)
}

// timeMayPass reports whether nothing must happen in this tick any more.
func (x *moves) timeMayPass() bool {
	for _, p := range x.s.processes {
		if p.life != gone && (x.due(p, p.main) || x.due(p, p.renew) || !p.paused && x.busy(p)) {
			return false
		}
	}
	return true
}

// due reports whether m, of p, must go on in this tick.
func (x *moves) due(p *process, m *message) bool {
	switch {
	case m == nil, m.at == toReplica && p.paused:
		return false
	case m.at == lost:
		return m.kind == finishing && !p.paused && x.s.now-m.came >= x.m.Patience
	default:
		return x.s.now >= x.m.deadline(m)
	}
}

// deadline returns the last tick at which out may go on.
func (m *model) deadline(out *message) int {
	if out.slow {
		return out.came + m.Slow
	}
	return max(out.left+m.Guard, out.came)
}

// busy reports whether p must do something in this tick.
func (x *moves) busy(p *process) bool {
	now, v := x.s.now, p.look()
	return v.Phase == replica.Granted && x.m.at(now)-v.Sent >= x.m.at(x.m.Guard) ||
		v.Phase == replica.Running && now-p.began >= x.m.Run ||
		p.local.at == planned && now-p.local.since >= x.m.Guard ||
		p.local.at == entered && now-p.local.since >= x.m.Run
}
