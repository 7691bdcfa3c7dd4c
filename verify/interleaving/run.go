package interleaving

// start is startLocked.
func (v *move) start(now instant, why cause) {
	v.checkStart(now, why)
	v.run = run{at: started}
	v.ghost.late = v.parentEnded
	v.ghost.waiting, v.pendingCalls = 0, 0
	if v.fault != StartKeepsPending {
		v.history.drop()
	}
	for i := range v.processes {
		v.processes[i].goOn(pendingBatch, activeBatch)
	}
}

// goOn notes that the batch from has become the batch to.
func (p *process) goOn(from, to batch) {
	if p.awaits == from {
		p.awaits = to
	}
	if p.needs == from {
		p.needs = to
	}
}

// fire makes the timer fire.
func (v *move) fire() {
	v.alarm.armed = false
	v.alarm.wakes++
}

// fireStale makes a timer fire that was stopped or reset too late.
func (v *move) fireStale() {
	v.stale--
	v.alarm.wakes++
}

// wake is what a timer that has fired does.
func (v *move) wake() {
	v.alarm.wakes--
	now := v.lock()
	if v.fault == TrustsTimer && v.outstanding() && v.run.at == noRun {
		v.start(now, causeCall)
	}
	v.settle(now)
}

// checkParent is the first look of a run's goroutine.
func (v *move) checkParent() {
	v.run.at = entering
	if v.parentEnded && v.fault != IgnoresParent {
		v.run.at = doomed
	}
}

// closeByRun closes the Throttler, as its parent has ended.
func (v *move) closeByRun() {
	v.run.at = entering
	v.run.waitsFor = v.closeAll()
}

// enter takes the run into its callback. Only a later run covers the calls from here on,
// though the callback itself may begin a little later.
func (v *move) enter() {
	now := v.lock()
	v.checkEnter()
	v.run.at = inside
	v.ghost.inside++
	v.history.started = now
	v.oweNothing()
	v.run.waitsFor = v.settle(now)
}

// oweNothing notes that no call so far needs a run any more: a run enters its callback, or all
// calls were dropped. A later call of the same process must not clear owed: if it were
// refused, that would hide that an earlier call was lost. If a call in progress looks at the
// word again, it counts from there.
func (v *move) oweNothing() {
	for i := range v.processes {
		v.processes[i].asking, v.processes[i].owed = false, false
	}
}

// undo is enter in a closed Throttler: the run is over.
func (v *move) undo() {
	now := v.lock()
	v.run = run{}
	v.ghost.late = false
	v.over(activeBatch)
	v.settle(now)
}

// decide ends the callback and the part of the run before the hooks.
func (v *move) decide(verdict Verdict) {
	if verdict != Succeeded {
		v.failures--
	}
	v.ghost.inside--
	v.run.at, v.run.verdict, v.run.ended = decided, verdict, v.clock
}

// end ends the run after the hooks.
func (v *move) end() {
	now := v.lock()
	r := v.run
	v.run = run{}
	v.ghost.late = false
	v.history.finish(v.policy(), r.ended, r.verdict, v.RetryIn, r.canceled)
	if v.fault == DrainRetries && v.history.phase == draining {
		v.history.retry = r.verdict != Succeeded && !r.canceled
	}
	v.over(activeBatch)
	if v.fault == EndSettlesNothing {
		v.unlock()
		return
	}
	v.settle(now)
}

// over answers the waiters of a batch that is over.
func (v *move) over(b batch) {
	for i := range v.processes {
		if p := &v.processes[i]; p.needs == b {
			p.needs = noBatch
		}
	}
	for i := range v.processes {
		if p := &v.processes[i]; p.awaits == b {
			v.answer(actor(i), p)
		}
	}
}

// answer lets a waiting process go on.
func (v *move) answer(who actor, p *process) {
	if p.needs != noBatch {
		v.breaks("Flush", "a waiter gets its answer before the run that it waits for is over")
	}
	op := v.Scripts[who][p.next]
	shutdown := op == OpShutdown || op == OpShutdownImpatient
	switch {
	case shutdown && p.at == waiting:
		p.at, p.awaits = resting, noBatch
	case shutdown:
		p.at, p.awaits = closing, noBatch
	default:
		v.complete(p)
	}
}
