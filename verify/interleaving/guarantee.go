package interleaving

// breaks notes that a step breaks a guarantee.
func (v *move) breaks(guarantee, how string) {
	if v.guarantee == "" {
		v.guarantee, v.how = guarantee, how
	}
}

// checkStart checks a run that starts at now.
func (v *move) checkStart(now instant, why cause) {
	p, h := v.policy(), &v.history
	byCall := why == causeCall && h.pending
	quiet := v.ghost.last.add(p.Quiet)
	if p.MaxWait > 0 {
		quiet = min(quiet, h.firstCall.add(p.MaxWait))
	}
	switch {
	case h.phase == closed:
		v.breaks("G7", "a run starts after Close")
	case v.paused:
		v.breaks("Pause", "a run starts while the Throttler is paused")
	case h.phase == draining && (why == causeRetry || why == causeInterval):
		v.breaks("G7", "a run starts although Shutdown does not wait for it")
	case why != causeFlush && p.Interval > 0 && now < h.started.add(p.Interval):
		v.breaks("G2", "a run starts less than Interval after the previous one")
	case byCall && p.Quiet > 0 && now < min(quiet, h.deadline):
		v.breaks("G5", "a run starts less than Quiet after the last call")
	case v.ghost.waiting == 0 && !h.retry && why != causeInterval:
		v.breaks("G4", "a run that covers no call starts")
	case v.Counting && v.pendingCalls != v.ghost.waiting:
		v.breaks("WithCallCount", "a run does not count every call that it covers")
	}
}

// checkEnter checks a run that enters its callback.
func (v *move) checkEnter() {
	switch {
	case v.ghost.inside > 0:
		v.breaks("G1", "a run enters its callback while another callback is active")
	case v.history.phase == closed:
		v.breaks("G7", "a run enters its callback after Close")
	case v.ghost.late:
		v.breaks("G7", "a run that started after the parent's end enters its callback")
	}
}

// checkState checks the state after a step.
func (v *move) checkState() {
	if v.ghost.shutdown && (v.run.at != noRun || v.outstanding()) {
		v.breaks("G7", "a run is active or pending after Shutdown returned nil")
	}
	// The rest checks the means by which the guarantees hold. A fault has to break a
	// guarantee itself.
	if v.fault == NoFault && v.settled() {
		v.checkSettled()
	}
}

// checkSettled checks what the last transition left.
func (v *move) checkSettled() {
	due := never
	if v.run.at == noRun && !v.paused {
		due, _ = v.history.due(v.policy())
	}
	a := &v.alarm
	switch {
	case due == never && a.set:
		v.breaks("G6", "an alarm is set although nothing is due")
	case due != never && a.wakes == 0 && !(a.armed && a.at <= due):
		v.breaks("G5", "nothing will start the run that is due")
	}
	right := v.nextWord()
	switch {
	case v.word&wordKind != right&wordKind, v.word < right:
		v.breaks("word", "the word does not say what a call has to record")
	case v.word&wordKind == wordCounted && uint8(v.word&wordValue) != v.ghost.waiting:
		v.breaks("word", "the word does not count the pending calls")
	case v.word&wordKind == wordTimed && instant(v.word&wordValue) != v.ghost.last:
		v.breaks("word", "the word does not carry the time of the last call")
	}
}

// checkEnd checks a state that permits no step.
func (v *move) checkEnd() {
	stands := v.paused && v.history.phase == open // until Resume
	for i := range v.Scripts {
		switch p := &v.processes[i]; {
		case stands && p.awaits == pendingBatch:
		case p.owed && !stands:
			v.breaks("G3", "a call was not dropped, but no run entered its callback after it")
		case int(p.next) < len(v.Scripts[i]):
			v.breaks("answer", "a method never returns")
		}
	}
	switch {
	case v.parentEnded && v.history.phase != closed:
		v.breaks("G7", "the parent's end did not close the Throttler")
	case v.run.at != noRun:
		v.breaks("G5", "a run never ends")
	case v.outstanding() && !stands:
		v.breaks("G5", "a pending run never starts")
	case v.history.phase == open && v.policy().MaxInterval > 0 && !v.alarm.armed && !stands:
		v.breaks("G5", "the run that MaxInterval asks for never starts")
	case v.alarm.set && (v.history.phase != open || v.policy().MaxInterval == 0 || stands):
		v.breaks("G6", "an alarm remains although nothing is due")
	}
}
