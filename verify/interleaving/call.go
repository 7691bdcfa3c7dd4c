package interleaving

// unhurried is the bound of a call that may wait for as long as the policy says.
const unhurried = int8(never)

// process returns the process that moves.
func (v *move) process() *process { return &v.processes[v.who] }

// load looks at the word, as Call and coalesce do.
func (v *move) load() {
	p := v.process()
	switch v.word & wordKind {
	case wordLocked:
		p.at = locking
	case wordCounted:
		p.at, p.seen, p.want = swapping, v.word, v.word+1
	case wordTimed:
		p.at, p.seen, p.asking = reading, v.word, true
	case wordPending:
		v.record()
	}
}

// readClock reads the clock for a timed word.
func (v *move) readClock() {
	p := v.process()
	p.want = timedWord(v.clock)
	if v.fault != StoresTime && p.want <= p.seen {
		p.owed = p.owed || p.asking
		v.complete(p) // the load was enough: a run was pending then
		return
	}
	p.at, p.asking = swapping, false
}

// compareAndSwap records the call in the word, if that has not changed.
func (v *move) compareAndSwap() {
	p := v.process()
	counts := p.want&wordKind == wordCounted
	blind := v.fault == StoresTime && !counts || v.fault == StoresCount && counts
	if v.word != p.seen && !blind {
		p.at, p.seen, p.want = reloading, 0, 0
		return
	}
	v.word = p.want
	v.record()
}

// record notes that the word was enough for the call: a run is pending, or the Throttler
// refuses calls.
func (v *move) record() {
	p := v.process()
	if p.want&wordKind == wordTimed {
		v.ghost.last = max(v.ghost.last, instant(p.want&wordValue))
	}
	if v.history.phase == open {
		p.owed = true
		v.wait()
	}
	v.complete(p)
}

// wait notes a call that waits for a run. Their number matters only if they are counted.
func (v *move) wait() {
	if v.ghost.waiting == 0 || v.Counting {
		v.ghost.waiting++
	}
}

// complete ends the operation of p.
func (*move) complete(p *process) {
	p.next++
	p.at, p.seen, p.want, p.awaits, p.needs, p.asking = ready, 0, 0, noBatch, noBatch, false
}

// callWithin is the transition of a call that the word cannot record.
func (v *move) callWithin(within int8) {
	now := v.lock()
	v.call(now, within)
	v.complete(v.process())
	v.process().waitsFor = v.settle(now)
}

// do is a call that waits.
func (v *move) do() {
	now := v.lock()
	if v.call(now, unhurried) {
		v.await()
	}
	if v.process().awaits == noBatch {
		v.complete(v.process())
	}
	v.process().waitsFor = v.settle(now)
}

// call is callLocked.
func (v *move) call(now instant, within int8) (covered bool) {
	if v.history.phase != open {
		return false
	}
	alone := !v.history.pending
	if alone || v.policy().Quiet > 0 {
		v.ghost.last = max(v.ghost.last, now)
	}
	covered = v.history.call(v.policy(), now, within, v.run.at != noRun)
	if !covered {
		return false
	}
	v.process().owed = true
	v.wait()
	if v.Counting {
		v.pendingCalls++
	}
	return true
}
