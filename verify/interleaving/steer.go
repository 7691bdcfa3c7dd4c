package interleaving

// flush is Flush until it waits.
func (v *move) flush() {
	now := v.lock()
	if v.history.phase != closed {
		v.flushNow(now)
	}
	if v.process().awaits == noBatch {
		v.complete(v.process())
	}
	v.process().waitsFor = v.settle(now)
}

// flushNow is flushLocked.
func (v *move) flushNow(now instant) {
	if v.outstanding() {
		v.history.flushNow(now)
	}
	v.await()
}

// await is awaitLocked: it makes the process wait until every call so far is covered.
func (v *move) await() {
	p := v.process()
	switch {
	case v.ghost.waiting > 0 || v.history.retry:
		p.needs = pendingBatch
	case v.run.at != noRun:
		p.needs = activeBatch
	}
	switch {
	case v.run.at != noRun && v.fault == FlushJoinsRun:
		p.awaits = activeBatch
	case v.outstanding():
		p.awaits = pendingBatch
	case v.run.at != noRun:
		p.awaits = activeBatch
	default:
		if p.needs != noBatch {
			v.breaks("Flush", "Flush does not wait for a recorded call")
		}
		return
	}
	p.at = waiting
}

// cancel is Cancel.
func (v *move) cancel() {
	now := v.lock()
	v.drop(v.fault != CancelTellsNobody)
	v.run.canceled = v.run.at != noRun
	v.complete(v.process())
	if v.fault == CancelStopsAlarm {
		v.setAlarm(now, never)
		v.process().waitsFor = v.unlock()
		return
	}
	v.process().waitsFor = v.settle(now)
}

// drop is dropLocked.
func (v *move) drop(tell bool) {
	v.history.drop()
	v.pendingCalls, v.ghost.waiting = 0, 0
	v.oweNothing()
	if tell {
		v.over(pendingBatch)
	}
}

// setPolicy is SetPolicy.
func (v *move) setPolicy(to uint8) {
	now := v.lock()
	if v.history.phase == open {
		next := &v.Policies[to]
		if v.history.pending && v.policy().Quiet == 0 {
			v.ghost.last = v.history.firstCall
		}
		v.history.adopt(v.policy(), next, now)
		v.state.policy = to
	}
	v.complete(v.process())
	if v.fault == SetPolicySettlesNothing {
		v.process().waitsFor = v.unlock()
		return
	}
	v.process().waitsFor = v.settle(now)
}

// close is Close.
func (v *move) close() {
	v.complete(v.process())
	v.process().waitsFor = v.closeAll()
}

// closeAll closes the Throttler, and returns the mark of the transition.
func (v *move) closeAll() (transition uint8) {
	now := v.lock()
	if v.history.phase != closed {
		v.history.phase = closed
		if v.fault != CloseDropsNothing {
			v.drop(true)
		}
	}
	return v.settle(now)
}

// drain is Shutdown until it waits.
func (v *move) drain() {
	now := v.lock()
	p := v.process()
	if v.history.phase != closed {
		v.history.phase = draining
		v.flushNow(now)
		if v.paused && v.fault != PausedShutdownWaits {
			v.dropPaused()
		}
	}
	if p.awaits == noBatch {
		p.at = resting
	}
	p.waitsFor = v.settle(now)
}

// dropPaused is dropPausedLocked.
func (v *move) dropPaused() {
	v.run.canceled = v.run.at != noRun
	v.drop(true)
}

// pause is Pause.
func (v *move) pause() {
	now := v.lock()
	v.paused = true
	if v.history.phase == draining && v.fault != PauseLetsShutdownWait {
		v.dropPaused()
	}
	v.complete(v.process())
	v.process().waitsFor = v.settle(now)
}

// resume is Resume.
func (v *move) resume() {
	now := v.lock()
	v.paused = false
	v.complete(v.process())
	if v.fault == ResumeSettlesNothing {
		v.process().waitsFor = v.unlock()
		return
	}
	v.process().waitsFor = v.settle(now)
}

// awaitActive makes Shutdown wait for a run that is active after the pending one is over.
func (v *move) awaitActive() {
	p := v.process()
	p.at = closing
	if v.run.at != noRun && v.fault != ShutdownForgetsRun {
		p.at, p.awaits, p.needs = lingering, activeBatch, activeBatch
	}
}

// giveUp is the end of Shutdown's context.
func (v *move) giveUp() {
	p := v.process()
	p.at, p.awaits, p.needs = quitting, noBatch, noBatch
}

// closeDrained closes the Throttler at Shutdown's end.
func (v *move) closeDrained() {
	v.ghost.shutdown = v.ghost.shutdown || v.process().at == closing
	v.complete(v.process())
	v.process().waitsFor = v.closeAll()
}

// endParent ends the parent context, which starts the goroutine of context.AfterFunc.
func (v *move) endParent() {
	v.parentEnded, v.unclosed = true, true
	v.complete(v.process())
}

// closeByParent is that goroutine.
func (v *move) closeByParent() {
	v.unclosed = false
	v.closeAll()
}
