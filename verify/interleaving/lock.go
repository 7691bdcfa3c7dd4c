package interleaving

// policy returns the policy in force.
func (v *move) policy() *Policy { return &v.Policies[v.state.policy] }

func (m *model) keepsWord() bool     { return m.fault == KeepsWord || m.fault == ClearsAfterGo }
func (m *model) opensUnlocked() bool { return m.fault == OpensUnlocked || m.fault == ClearsAfterGo }

// lock begins a transition: it takes over what the word says, makes all calls lock the mutex,
// and reads the clock.
func (v *move) lock() instant {
	v.absorb()
	if !v.keepsWord() {
		v.word = wordLocked
	}
	return v.clock
}

// absorb takes over what the word says.
func (s *state) absorb() {
	switch s.word & wordKind {
	case wordCounted:
		s.pendingCalls = uint8(s.word & wordValue)
	case wordTimed:
		s.history.lastCall = max(s.history.lastCall, instant(s.word&wordValue))
	case wordLocked, wordPending: // nothing
	}
}

// settle starts the run that is due, sets the alarm, and lets a later step publish the word.
// It returns a mark of the transition, which lasts until then.
func (v *move) settle(now instant) (transition uint8) {
	due := never
	paused := v.paused && v.fault != SettleIgnoresPause
	if (v.run.at == noRun || v.fault == StartsBesideRun) && !paused {
		var why cause
		if due, why = v.history.due(v.policy()); due <= now {
			v.start(now, why)
			due = never
		}
	}
	v.setAlarm(now, due)
	return v.unlock()
}

// unlock lets a later step publish the word and unlock the mutex.
func (v *move) unlock() (transition uint8) {
	for i := range v.transitions {
		if t := &v.transitions[i]; !t.active {
			t.active, t.next = true, v.nextWord()
			return uint8(i) + 1
		}
	}
	return 0
}

// publish ends the transition of the given index.
func (v *move) publish(index int) {
	v.word = v.transitions[index].next
	v.transitions[index] = transition{}
	mark := uint8(index) + 1 //nolint:gosec // one of two
	if v.run.waitsFor == mark {
		v.run.waitsFor = 0
	}
	for i := range v.processes {
		if v.processes[i].waitsFor == mark {
			v.processes[i].waitsFor = 0
		}
	}
}

// nextWord is wordLocked: it returns what the next call has to record.
func (v *move) nextWord() word {
	p, h := v.policy(), &v.history
	quiet := p.Quiet > 0
	switch {
	case h.phase != open:
		return wordPending
	case !h.pending, p.MaxCalls > 0 && !h.full(p), v.Counting && quiet:
		return wordLocked
	case quiet:
		return timedWord(h.lastCall)
	case v.Counting:
		return wordCounted | word(v.pendingCalls)
	default:
		return wordPending
	}
}

// setAlarm makes the Throttler wake at due, or not at all if due is never.
func (v *move) setAlarm(now, due instant) {
	a := &v.alarm
	switch {
	case due == never && v.fault == LeavesAlarm:
	case due == never:
		a.set, a.armed, a.at = false, false, 0
	case !a.set:
		a.set, a.armed, a.at = true, true, due
	case v.fault == NeverRearms:
	case a.at <= now || a.at > due:
		a.armed, a.at = true, due
	}
}

// outstanding is pendingLocked.
func (s *state) outstanding() bool { return s.history.pending || s.history.retry }
