package throttle

// The word's two top bits say what a call must do, the rest carries a value.
const (
	wordLocked  uint64 = iota << 62 // take the lock
	wordCounted                     // count itself: the value is the number of calls pending
	wordPending                     // nothing
	wordTimed                       // move the time of the last call forward: the value is that instant

	wordKind  uint64 = 3 << 62
	wordValue        = ^wordKind
)

// timedWord returns the word that carries the time of the last call.
func timedWord(last instant) uint64 {
	return wordTimed | uint64(last) //nolint:gosec // an instant that has come is not negative
}

// coalesce records a call in the word alone, and reports whether that was
// enough: a run is pending, or calls are refused.
//
// A time is moved forward by compare-and-swap. A plain store could take it back
// to an earlier reading of the clock, or overwrite what a start has just put
// there, and a run would come before its quiet time is over.
func (t *Throttler) coalesce() bool {
	for {
		seen := t.word.Load()
		next := seen
		switch seen & wordKind {
		case wordLocked:
			return false
		case wordCounted:
			next = seen + 1
		case wordTimed:
			next = max(seen, timedWord(t.now()))
		}
		// The load is enough for what changes nothing: the run was pending then.
		if next == seen || t.word.CompareAndSwap(seen, next) {
			return true
		}
	}
}

// absorbLocked takes over what calls have recorded in word. To do so again with
// the same word changes nothing.
//
// +checklocks:t.mu
func (t *Throttler) absorbLocked(word uint64) {
	switch word & wordKind {
	case wordCounted:
		t.pendingCalls = word & wordValue
	case wordTimed:
		t.history.lastCall = max(t.history.lastCall, instant(word&wordValue))
	}
}

// wordLocked returns what the next call has to record.
//
// +checklocks:t.mu
func (t *Throttler) wordLocked() uint64 {
	quiet := t.policy.Quiet > 0
	counting := t.extras.counting
	switch {
	case t.history.phase != open && t.extras.keeper != nil:
		return wordLocked // the caller is to be told that the call is refused
	case t.history.phase != open:
		return wordPending // the call is refused
	case !t.history.pending, t.policy.MaxCalls > 0 && !t.history.full(t.policy), counting && quiet:
		return wordLocked
	case quiet:
		return timedWord(t.history.lastCall)
	case counting:
		return wordCounted | t.pendingCalls
	default:
		return wordPending
	}
}
