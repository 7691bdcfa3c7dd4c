package interleaving

// This file holds the guarantees, and what else must hold in every state.

// breaks notes that a step breaks a guarantee.
func (v *move) breaks(guarantee, how string) {
	if v.guarantee == "" {
		v.guarantee, v.how = guarantee, how
	}
}

// checkStart looks at a run that is started at now.
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
	case h.phase == draining && (why == causeRetry || why == causeInterval):
		v.breaks("G7", "a run starts that Shutdown does not wait for")
	case why != causeFlush && p.Interval > 0 && now < h.started.add(p.Interval):
		v.breaks("G2", "a run starts less than Interval after the last")
	case byCall && p.Quiet > 0 && now < min(quiet, h.deadline):
		v.breaks("G5", "a run starts less than Quiet after the last call")
	case v.ghost.waiting == 0 && !h.retry && why != causeInterval:
		v.breaks("G4", "a run starts that covers no call")
	case v.Counting && v.pendingCalls != v.ghost.waiting:
		v.breaks("WithCallCount", "a run does not count every call that it covers")
	}
}

// checkEnter looks at a run that enters its callback.
func (v *move) checkEnter() {
	switch {
	case v.ghost.inside > 0:
		v.breaks("G1", "a callback is entered while another is active")
	case v.history.phase == closed:
		v.breaks("G7", "a callback is entered after Close")
	case v.ghost.late:
		v.breaks("G7", "a callback is entered of a run started after the parent's end")
	}
}

// checkState looks at where a step has led.
func (v *move) checkState() {
	if v.ghost.shutdown && (v.run.at != noRun || v.outstanding()) {
		v.breaks("G7", "something runs or is pending after Shutdown has returned nil")
	}
	// What follows is how the guarantees come about. A fault has to break a
	// guarantee itself.
	if v.fault == NoFault && v.settled() {
		v.checkSettled()
	}
}

// checkSettled looks at what the last transition has left.
func (v *move) checkSettled() {
	due := never
	if v.run.at == noRun {
		due, _ = v.history.due(v.policy())
	}
	a := &v.alarm
	switch {
	case due == never && a.set:
		v.breaks("G6", "an alarm is set though nothing is due")
	case due != never && a.wakes == 0 && !(a.armed && a.at <= due):
		v.breaks("G5", "nothing will start what is due")
	}
	right := v.nextWord()
	switch {
	case v.word&wordKind != right&wordKind, v.word < right:
		v.breaks("word", "the word does not say what a call has to record")
	case v.word&wordKind == wordCounted && uint8(v.word&wordValue) != v.ghost.waiting:
		v.breaks("word", "the word does not count what is pending")
	case v.word&wordKind == wordTimed && instant(v.word&wordValue) != v.ghost.last:
		v.breaks("word", "the word does not carry the time of the last call")
	}
}

// checkEnd looks at a state that permits no step.
func (v *move) checkEnd() {
	for i := range v.Scripts {
		switch p := &v.processes[i]; {
		case p.owed:
			v.breaks("G3", "no callback was entered since a call that nothing dropped")
		case int(p.next) < len(v.Scripts[i]):
			v.breaks("answer", "a method never returns")
		}
	}
	switch {
	case v.parentEnded && v.history.phase != closed:
		v.breaks("G7", "the parent's end has closed nothing")
	case v.run.at != noRun:
		v.breaks("G5", "a run never ends")
	case v.outstanding():
		v.breaks("G5", "what is pending never runs")
	case v.history.phase == open && v.policy().MaxInterval > 0 && !v.alarm.armed:
		v.breaks("G5", "the run that MaxInterval asks for never starts")
	case v.alarm.set && (v.history.phase != open || v.policy().MaxInterval == 0):
		v.breaks("G6", "an alarm is left though nothing is due")
	}
}
