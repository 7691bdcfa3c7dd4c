package throttle

// The word's top bits say what a call must do; the rest carries a value.
const (
	wordLocked   uint64 = iota << 61 // take the lock
	wordCounted                      // count itself: the value is the number of pending calls
	wordPending                      // nothing
	wordTimed                        // move the time of the last call forward: the value is that instant
	wordDropping                     // before the instant that is the value, count itself as dropped

	wordKind  uint64 = 7 << 61
	wordValue        = ^wordKind
)

// timeWord returns the word of the kind with the instant i as value. An instant that
// does not fit, after decades, needs the lock.
func timeWord(kind uint64, i instant) uint64 {
	if i < 0 || uint64(i) > wordValue {
		return wordLocked
	}
	return kind | uint64(i)
}

// coalesce records a call without the lock, and reports whether that was enough: a run
// is pending, the policy drops the call, or the Throttler refuses it.
//
// Why a call that finds a run pending is safe without the lock: all atomic
// operations have one total order, so this load comes before the swap by which
// lock begins the start of that run. The swap comes before the go statement, and
// the go statement before the callback. A call that is dropped would have been dropped
// at the moment of the load too, as the clock is read later.
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
			now := t.reading() // now, written out: the compiler does not inline it
			if now < 0 || t.inTest {
				now = t.checked(now)
			}
			timed := timeWord(wordTimed, now)
			if timed == wordLocked {
				return false
			}
			next = max(seen, timed)
		case wordDropping:
			if seen != wordDropping|wordValue && t.now() >= instant(seen&wordValue) {
				return false
			}
			t.dropped.Add(1)
		}
		// If the call changes nothing, the load is enough.
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
		counted := word & wordValue
		t.rareLocked().calls += counted - t.pendingCalls
		t.pendingCalls = counted
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
	case t.config.hasValues:
		return wordLocked // a value needs the lock
	case t.history.phase != open && t.config.owner != nil:
		return wordLocked // a Group's Call returns why it refuses
	case t.history.phase != open:
		return wordPending // the call is ignored
	case !t.history.pending && t.policy.edges() == Leading && !quiet:
		if t.run != nil {
			return wordDropping | wordValue // until the run's end
		}
		return timeWord(wordDropping, t.history.opens(t.policy))
	case !t.history.pending, t.policy.MaxCalls > 0 && !t.history.full(t.policy), counting && quiet:
		return wordLocked
	case quiet:
		return timeWord(wordTimed, t.history.lastCall)
	case counting:
		return wordCounted | t.pendingCalls
	default:
		return wordPending
	}
}
