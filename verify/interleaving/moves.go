package interleaving

// A move is a step from one state to another.
type move struct {
	*model
	state

	step Step
	who  actor

	guarantee string // the one that the step breaks, or ""
	how       string
}

// moves are the moves that a state permits.
type moves struct {
	of   *model
	from *state
	list []move
}

// find returns the moves from s. It reuses the memory of the moves that it returned before.
func (x *moves) find(s *state) []move {
	x.from, x.list = s, x.list[:0]
	x.ofTransitions()
	x.ofTimer()
	x.ofRun()
	x.ofParent()
	for i := range x.of.Scripts {
		x.ofProcess(actor(i))
	}
	x.ofClock()
	return x.list
}

// add adds a move. The caller then makes it.
func (x *moves) add(step Step, who actor) *move {
	x.list = append(x.list, move{model: x.of, state: *x.from, step: step, who: who})
	return &x.list[len(x.list)-1]
}

// free reports whether a transition may begin.
func (x *moves) free() bool {
	if x.of.opensUnlocked() {
		return !x.from.transitions[1].active
	}
	return x.from.settled()
}

func (x *moves) ofTransitions() {
	for i := range x.from.transitions {
		if x.from.transitions[i].active {
			x.add(Publish, aTransition).publish(i)
		}
	}
}

func (x *moves) ofTimer() {
	a := &x.from.alarm
	if a.armed && x.from.clock >= a.at {
		x.add(Fire, theTimer).fire()
	}
	if x.from.stale > 0 {
		x.add(FireStale, theTimer).fireStale()
	}
	if a.wakes > 0 && x.free() {
		x.add(Wake, theTimer).wake()
	}
}

func (x *moves) ofRun() {
	r := &x.from.run
	switch {
	case r.waitsFor != 0:
	case r.at == started:
		x.add(CheckParent, theRun).checkParent()
	case !x.free():
	case r.at == doomed:
		x.add(CloseByRun, theRun).closeByRun()
	case r.at == entering && x.from.history.phase == closed && x.of.fault != EntersClosed:
		x.add(Undo, theRun).undo()
	case r.at == entering:
		x.add(Enter, theRun).enter()
	case r.at == inside:
		x.ofCallback()
	case r.at == decided:
		x.add(End, theRun).end()
	}
}

func (x *moves) ofCallback() {
	x.add(Decide, theRun).decide(Succeeded)
	if x.from.failures == 0 {
		return
	}
	x.add(Decide, theRun).decide(Failed)
	if x.of.RetryIn > 0 {
		x.add(Decide, theRun).decide(Again)
	}
}

func (x *moves) ofParent() {
	if x.from.unclosed && x.free() {
		x.add(CloseByParent, theParent).closeByParent()
	}
}

// ofClock lets time pass. After the ticks of the configuration, it passes only if nothing else
// can move and a run is pending.
func (x *moves) ofClock() {
	s := x.from
	switch {
	case s.clock < instant(x.of.Ticks):
		x.add(Tick, theClock).clock++
	case len(x.list) == 0 && s.alarm.armed && s.outstanding():
		x.add(Advance, theClock).clock = s.alarm.at
	}
}

func (x *moves) ofProcess(who actor) {
	p := &x.from.processes[who]
	script := x.of.Scripts[who]
	if p.waitsFor != 0 || int(p.next) == len(script) {
		return
	}
	op := script[p.next]
	switch p.at {
	case ready:
		x.begin(who, op)
	case reloading:
		x.add(Load, who).load()
	case reading:
		x.add(ReadClock, who).readClock()
	case swapping:
		x.add(CompareAndSwap, who).compareAndSwap()
	case waiting, lingering:
		if op == OpShutdownImpatient {
			x.add(GiveUp, who).giveUp()
		}
	case locking:
		if x.free() {
			x.add(Call, who).callWithin(unhurried)
		}
	case resting:
		if x.free() {
			x.add(AwaitActive, who).awaitActive()
		}
	case closing, quitting:
		if x.free() {
			x.add(CloseDrained, who).closeDrained()
		}
	}
}

// begin makes the first step of op.
func (x *moves) begin(who actor, op Op) {
	switch {
	case op == OpCall:
		x.add(Load, who).load()
		return
	case op == OpParentEnd:
		x.add(EndParent, who).endParent()
		return
	case !x.free():
		return
	}
	switch op {
	case OpCallWithin:
		x.add(CallWithin, who).callWithin(1)
	case OpDo:
		x.add(Do, who).do()
	case OpFlush:
		x.add(Flush, who).flush()
	case OpCancel:
		x.add(Cancel, who).cancel()
	case OpSetPolicy0, OpSetPolicy1, OpSetPolicy2:
		x.add(SetPolicy, who).setPolicy(uint8(op - OpSetPolicy0))
	case OpPause:
		x.add(Pause, who).pause()
	case OpResume:
		x.add(Resume, who).resume()
	case OpClose:
		x.add(Close, who).close()
	case OpShutdown, OpShutdownImpatient:
		x.add(Drain, who).drain()
	case OpCall, OpParentEnd: // handled above
	}
}
