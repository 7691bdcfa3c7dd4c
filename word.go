package throttle

// The word's two top bits say what a call must do; the rest carries a value.
const (
	wordLocked  uint64 = iota << 62 // take the lock
	wordCounted                     // count itself: the value is the number of pending calls
	wordPending                     // nothing
	wordTimed                       // move the time of the last call forward: the value is that instant

	wordKind  uint64 = 3 << 62
	wordValue        = ^wordKind
)

// timedWord returns the word that carries the time of the last call.
func timedWord(last instant) uint64 {
	return wordTimed | uint64(last) //nolint:gosec // an instant that has come is not negative
}

// coalesce records a call in the word alone, and reports whether that was enough:
// a run is pending, or the Throttler refuses calls.
//
// Why a call that finds a run pending is safe without the lock: all atomic
// operations have one total order, so this load comes before the swap by which
// lock begins the start of that run. The swap comes before the go statement, and
// the go statement before the callback.
//
// coalesce moves the time forward by compare-and-swap. A plain store could take it
// back to an earlier reading of the clock, or overwrite what a start has just put
// there; then a run would come before its quiet time is over.
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
		// If the call changes nothing, the load is enough: the run was pending then.
		if next == seen || t.word.CompareAndSwap(seen, next) {
			return true
		}
	}
}

// absorbLocked takes over what calls have recorded in word. It may do so several
// times for the same word.
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

// nextWordLocked returns the word that says what the next call must do.
//
// +checklocks:t.mu
func (t *Throttler) nextWordLocked() uint64 {
	quiet := t.policy.Quiet > 0
	counting := t.config.counting
	switch {
	case t.history.phase != open && t.config.owner != nil:
		return wordLocked // a Group's Call returns why it refuses
	case t.history.phase != open:
		return wordPending // the call is ignored
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
