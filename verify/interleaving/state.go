package interleaving

import "cmp"

// This file holds the state of the model: the Throttler's fields that decide
// anything, how far each goroutine has come, and what the guarantees are judged by.

// maxProcesses is how many scripts a Configuration may have.
const maxProcesses = 5

// A state is comparable and has no pointers, so that a search can tell whether it
// has been there. Whatever says nothing any more is set to zero for the same end.
type state struct {
	history      history
	clock        instant
	policy       uint8 // index in Configuration.Policies
	word         word
	pendingCalls uint8
	run          run
	alarm        alarm

	parentEnded bool
	unclosed    bool  // the parent's end has yet to close the Throttler
	failures    uint8 // how many more runs may fail
	stale       uint8 // how many more wakes may come out of nowhere

	transitions [2]transition // that are not over; never two but for some faults
	processes   [maxProcesses]process
	ghost       ghost
}

// A transition that is not over has yet to store what the word will be. It holds
// the mutex.
type transition struct {
	active bool
	next   word
}

// A run is the active run and its goroutine.
type run struct {
	at       stage
	waitsFor uint8 // the transition, by its index and 1, that the goroutine has yet to end
	verdict  Verdict
	canceled bool // Cancel met it
	ended    instant
}

// A stage is how far a run's goroutine has come.
type stage uint8

const (
	noRun    stage = iota
	started        // the go statement
	doomed         // it saw that the parent has ended
	entering       // on its way to the mutex and the callback
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
	armed bool // it has yet to fire
	at    instant
	wakes uint8 // goroutines of timers that fired on their way to the mutex
}

// A process is a goroutine that works through a script.
type process struct {
	next     uint8 // index in the script
	at       place
	seen     word  // what it will compare the word with, and
	want     word  // swap in instead
	waitsFor uint8 // the transition, by its index and 1, that it has yet to end
	awaits   batch
	needs    batch // ghost: what the answer to it promises to be over
	asking   bool  // ghost: its call under way has seen a run pending; as owed ends, so does this
	owed     bool  // ghost: a call was recorded, and since then no callback entered, and nothing dropped
}

// A place is where in an operation a process is.
type place uint8

const (
	ready     place = iota
	reloading       // its compare-and-swap failed
	reading         // about to read the clock
	swapping        // about to compare and swap
	locking         // about to lock, as it has to record its call there
	waiting         // for awaits
	resting         // Shutdown has waited for what was pending
	lingering       // Shutdown waits for what is active beside it
	closing         // Shutdown has waited for all
	quitting        // Shutdown's context has ended
)

// compare orders processes, so that states which differ only in who is who are
// one.
func (p *process) compare(other *process) int { return cmp.Compare(p.key(), other.key()) }

// key returns all that p is.
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

// A batch is the calls that a run covers, or will.
type batch uint8

const (
	noBatch batch = iota
	pendingBatch
	activeBatch
)

// A ghost is what no code knows but the guarantees speak of.
type ghost struct {
	inside   uint8   // callbacks entered and not returned from
	waiting  uint8   // calls recorded since the last start or drop; up to 1, unless they are counted
	last     instant // the latest call, as far as Quiet must know it
	late     bool    // the active run was started after the parent's end
	shutdown bool    // a Shutdown has returned nil
}

func newState(c *Configuration) state {
	s := state{history: newHistory(), failures: c.Failures, stale: c.StaleWakes}
	s.ghost.last = beginning
	return s
}

// name returns the name that lock.go's state diagram has for s, which must be
// between transitions.
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
	case s.alarm.set:
		return "armed"
	default:
		return "idle"
	}
}

// settled reports whether no transition is under way.
func (s *state) settled() bool { return !s.transitions[0].active && !s.transitions[1].active }
