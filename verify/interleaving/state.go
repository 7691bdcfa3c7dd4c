package interleaving

import "cmp"

// maxProcesses is how many scripts a Configuration may have.
const maxProcesses = 5

// A state has the Throttler's fields that decide anything, how far each goroutine has come,
// and a ghost that the guarantees need. It is comparable and has no pointers, so that a search
// can tell whether it has visited it. For the same reason a field that no longer means
// anything is set to zero.
type state struct {
	history      history
	clock        instant
	policy       uint8 // index in Configuration.Policies
	word         word
	pendingCalls uint8
	run          run
	alarm        alarm
	paused       bool

	parentEnded bool
	unclosed    bool  // the parent has ended, but the Throttler is not closed yet
	failures    uint8 // how many more runs may fail
	stale       uint8 // how many more timers may fire without a reason

	transitions [2]transition // that are not over; two only under some faults
	processes   [maxProcesses]process
	ghost       ghost
}

// A transition that is not over has not stored the new word yet. It holds the mutex.
type transition struct {
	active bool
	next   word
}

// A run is the active run and its goroutine.
type run struct {
	at       stage
	waitsFor uint8 // the transition, as its index plus 1, that the goroutine must end first
	verdict  Verdict
	canceled bool // Cancel was called while it was active
	ended    instant
}

// A stage is how far a run's goroutine has come.
type stage uint8

const (
	noRun    stage = iota
	started        // the go statement
	doomed         // it saw that the parent has ended
	entering       // about to lock the mutex and call the callback
	inside         // the callback
	decided        // the callback has returned
)

// A Verdict is how a callback ends.
type Verdict uint8

// The verdicts.
const (
	Succeeded Verdict = iota
	Failed
	Again // RetryIn
)

// An alarm is a timer.
type alarm struct {
	set   bool
	armed bool // it has not fired yet
	at    instant
	wakes uint8 // timers that have fired and are about to lock the mutex
}

// A process is a goroutine that works through a script.
type process struct {
	next     uint8 // index in the script
	at       place
	seen     word  // the word that it expects in its compare-and-swap
	want     word  // the word that it swaps in
	waitsFor uint8 // the transition, as its index plus 1, that it must end first
	awaits   batch
	needs    batch // ghost: the batch that must be over before its answer
	asking   bool  // ghost: its call in progress has seen a pending run; cleared together with owed
	owed     bool  // ghost: a call was recorded, and since then no run entered its callback and nothing was dropped
}

// A place is where in an operation a process is.
type place uint8

const (
	ready     place = iota
	reloading       // its compare-and-swap failed
	reading         // about to read the clock
	swapping        // about to compare and swap
	locking         // about to lock, to record its call under the mutex
	waiting         // for awaits
	resting         // Shutdown has waited for the pending run
	lingering       // Shutdown waits for the active run
	closing         // Shutdown has waited for all
	quitting        // Shutdown's context has ended
)

// compare orders processes, so that states are equal if they differ only in the order.
func (p *process) compare(other *process) int { return cmp.Compare(p.key(), other.key()) }

// key returns all fields of p in one number.
func (p *process) key() uint64 {
	key := uint64(0)
	for _, part := range [...]uint8{p.next, uint8(p.at), uint8(p.seen), uint8(p.want), p.waitsFor, uint8(p.awaits), uint8(p.needs)} {
		key = key<<8 | uint64(part)
	}
	if p.asking {
		key |= 1 << 62
	}
	if p.owed {
		key |= 1 << 63
	}
	return key
}

// A batch is the set of calls that a run covers or will cover.
type batch uint8

const (
	noBatch batch = iota
	pendingBatch
	activeBatch
)

// A ghost is what the guarantees speak of but no code knows.
type ghost struct {
	inside   uint8   // callbacks entered and not returned from
	waiting  uint8   // calls recorded since the last start or drop; at most 1, unless they are counted
	last     instant // the latest call, as far as Quiet must know it
	late     bool    // the active run was started after the parent's end
	shutdown bool    // a Shutdown has returned nil
}

func newState(c *Configuration) state {
	s := state{history: newHistory(), failures: c.Failures, stale: c.StaleWakes}
	s.ghost.last = beginning
	return s
}

// name returns the name of s in lock.go's state diagram. No transition may be in progress.
func (s *state) name() string {
	switch {
	case s.history.phase == closed:
		return "closed"
	case s.history.phase == draining:
		return "draining"
	case s.run.at != noRun && s.outstanding():
		return "running+pending"
	case s.run.at != noRun:
		return "running"
	case s.paused:
		return "paused"
	case s.alarm.set:
		return "armed"
	default:
		return "idle"
	}
}

// settled reports whether no transition is in progress.
func (s *state) settled() bool { return !s.transitions[0].active && !s.transitions[1].active }
