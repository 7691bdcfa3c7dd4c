package linearizability_test

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// A request is the input of an operation: a method of the Throttler, or something that was seen
// of a run or of an answer.
type request struct {
	kind   string // one of the constants below
	run    int    // of runStarts, runEnds and heardRun: the number of the run
	again  bool   // of runEnds: the callback returned RetryIn
	spent  bool   // of do, flush and wait: the context had already ended
	number int    // of heardCanceled: the number of the answer, as in answer.number
}

// The kinds of requests.
const (
	call          = "Call" // or CallWithin
	do            = "Do"
	flush         = "Flush"
	cancel        = "Cancel"
	closing       = "Close"
	draining      = "Shutdown" // its begin
	drained       = "end of Shutdown"
	pausing       = "Pause"
	resuming      = "Resume"
	wait          = "Wait"
	setPolicy     = "SetPolicy" // which changes nothing that the model knows
	stats         = "Stats"
	runStarts     = "start"              // a run covers the pending calls, and later enters the callback
	runEnds       = "end"                // a run is over
	heardRun      = "answer known"       // a caller got the error of a run: the run is over
	heardCanceled = "cancellation known" // a caller got ErrCanceled: Cancel came before
	heardClosed   = "closing known"      // a caller got ErrClosed: the Throttler is closed
	heardPaused   = "pause known"        // a caller got ErrPaused: Shutdown or Pause has dropped what was pending
	atRest        = "rest"               // nothing pending, nothing running
)

// An answer is the output of an operation.
type answer struct {
	outcome string // of a method that waits: one of the constants below
	run     int    // the run whose error the outcome is
	number  int    // of the answers ErrCanceled of one history, from 0
	yes     bool   // of cancel: something was pending; of setPolicy: it succeeded
	glance  glance // of stats
}

// The outcomes of methods that wait: what they returned.
const (
	nothing   = "nil" // every run fails, so there was none to wait for
	byRun     = "a run's error"
	canceled  = "ErrCanceled"
	closed    = "ErrClosed"
	paused    = "ErrPaused" // which is ErrClosed too
	throttled = "ErrThrottled"
	abandoned = "the context's error"
	unknown   = "an unexpected error"
)

// A glance is the part of Stats that the model knows.
type glance struct {
	runs                     int
	pending, running, closed bool
	paused                   bool
}

// A state is a state of the model. The model is a Throttler to which everything happens one
// after the other. It knows no time: a run may start whenever one is pending, and other tests
// check when it may. A state is comparable, so that == tells whether two are the same.
type state struct {
	phase   phase
	paused  bool
	pending bool

	// What the waiters for the pending run have been promised. The history says which
	// answers they will get, so the model refuses anything else.
	run      int    // the error of this run; 0 if nobody is promised one
	canceled uint64 // ErrCanceled: the set of the numbers of the answers
	closed   bool   // ErrClosed
	dropped  bool   // ErrPaused

	runs   int  // started
	active bool // a run is active
	undone bool // it will not enter the callback, because Close undoes its start
	met    bool // Cancel came while the run was active
}

// mostCanceled is how many answers ErrCanceled a history may have: the number of bits in
// state.canceled.
const mostCanceled = 64

type phase int

const (
	isOpen phase = iota
	isDraining
	isClosed
)

// A model is the rules for a policy.
type model struct {
	leadingOnly bool // a call may be refused
	undoes      bool // Close may undo a start that nobody saw
}

// forPorcupine returns the model in the form that the checker needs. It is nondeterministic in
// two ways: the clock decides whether a call is refused, and a start that Close undoes leaves
// no trace except in what others see.
func (m model) forPorcupine() porcupine.Model {
	nondeterministic := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{}} },
		Step: func(from, in, out any) []any {
			var next []any
			for _, s := range m.step(from.(state), in.(request), out.(answer)) { //nolint:errcheck,forcetypeassert // they have no other types
				next = append(next, s)
				if u, ok := s.unseen(); ok && m.undoes {
					next = append(next, u)
				}
			}
			return next
		},
		DescribeOperation: func(in, out any) string {
			return describe(in.(request), out.(answer)) //nolint:errcheck,forcetypeassert // as above
		},
		DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
	}
	return nondeterministic.ToModel()
}

// step returns the states to which q with the answer a may lead, or none if a is wrong.
func (m model) step(s state, q request, a answer) []state {
	switch q.kind {
	case call:
		return m.call(s)
	case do:
		return m.do(s, q, a)
	case flush:
		return s.flush(q, a)
	case cancel:
		return s.cancel(a.yes)
	case closing:
		return s.close()
	case draining:
		return s.drain(a)
	case pausing:
		return s.pause()
	case resuming:
		next := s
		next.paused = false
		return []state{next}
	case wait:
		return s.wait(q, a)
	case drained:
		if s.phase == isOpen {
			return nil // its own begin comes first
		}
		return s.close()
	case runStarts:
		return s.start(q.run)
	case runEnds:
		return s.end(q.run, q.again)
	default:
		return only(s, s.shows(q, a))
	}
}

// only returns s if ok, and no state otherwise.
func only(s state, ok bool) []state {
	if !ok {
		return nil
	}
	return []state{s}
}

// call asks for a run.
func (m model) call(s state) []state {
	if s.phase != isOpen {
		return []state{s}
	}
	asked := s
	asked.pending = true
	switch {
	case !m.leadingOnly || s.pending:
		return []state{asked}
	case s.active:
		return []state{s}
	default:
		return []state{s, asked}
	}
}

// do is a call that waits for its run.
func (m model) do(s state, q request, a answer) []state {
	switch {
	case s.phase != isOpen:
		return only(s, a.outcome == closed)
	case q.spent:
		return only(s, a.outcome == abandoned)
	case a.outcome == abandoned:
		return append(m.call(s), s) // the context may have ended before the call was made
	case a.outcome == throttled:
		return only(s, m.leadingOnly && !s.pending)
	}
	var next []state
	for _, asked := range m.call(s) {
		if asked.pending { // not the active run, which may have read what it needs before the call
			next = append(next, asked.await(a)...)
		}
	}
	return next
}

// await promises a to a waiter for the pending run, else for the active run, else for nothing.
func (s state) await(a answer) []state {
	switch {
	case a.outcome == abandoned:
		return []state{s}
	case s.pending:
		return s.promise(a)
	default:
		return s.awaitActive(a)
	}
}

// awaitActive accepts a as the answer to a waiter for the active run, if there is one.
func (s state) awaitActive(a answer) []state {
	switch {
	case s.undone:
		return only(s, a.outcome == closed)
	case s.active:
		return only(s, a.outcome == byRun && a.run == s.runs)
	default:
		return only(s, a.outcome == nothing)
	}
}

// promise promises a to a waiter for the pending run.
func (s state) promise(a answer) []state {
	next := s
	switch a.outcome {
	case byRun:
		next.run = a.run
		return only(next, a.run == s.runs+1 && s.canceled == 0 && !s.closed && !s.dropped)
	case canceled:
		next.canceled |= 1 << a.number
		return only(next, s.run == 0 && !s.closed && !s.dropped)
	case closed:
		next.closed = true
		return only(next, s.run == 0 && s.canceled == 0 && !s.dropped)
	case paused:
		next.dropped = true
		return only(next, s.run == 0 && s.canceled == 0 && !s.closed)
	default:
		return nil
	}
}

// flush waits for the runs that cover all earlier calls.
func (s state) flush(q request, a answer) []state {
	switch {
	case s.phase == isClosed:
		return only(s, a.outcome == closed)
	case q.spent:
		return only(s, a.outcome == abandoned)
	default:
		return s.await(a)
	}
}

// wait waits for the active run.
func (s state) wait(q request, a answer) []state {
	switch {
	case s.phase == isClosed:
		return only(s, a.outcome == closed)
	case q.spent || a.outcome == abandoned:
		return only(s, a.outcome == abandoned)
	default:
		return s.awaitActive(a)
	}
}

// drain refuses calls from now on, and waits like flush.
func (s state) drain(a answer) []state {
	if s.phase == isClosed {
		return only(s, a.outcome == nothing)
	}
	next := s
	next.phase = isDraining
	if !s.paused {
		return next.await(a)
	}
	var dropped []state
	for _, waited := range next.await(a) {
		dropped = append(dropped, waited.dropPaused()...)
	}
	return dropped
}

// pause lets no run start, and drops what a Shutdown waits for.
func (s state) pause() []state {
	next := s
	next.paused = true
	if s.phase == isDraining {
		return next.dropPaused()
	}
	return []state{next}
}

// dropPaused drops the pending calls, because no run may start for Shutdown.
func (s state) dropPaused() []state {
	next := s
	next.met = s.active
	next.pending, next.dropped = false, false
	return only(next, s.run == 0 && s.canceled == 0 && !s.closed)
}

// cancel drops the pending calls, and prevents a retry of the active run.
func (s state) cancel(dropped bool) []state {
	next := s
	next.met = s.active
	next.pending, next.canceled = false, 0
	return only(next, dropped == s.pending && s.run == 0 && !s.closed && !s.dropped)
}

// close drops the pending calls and refuses later ones.
func (s state) close() []state {
	next := s
	next.phase, next.pending, next.closed = isClosed, false, false
	return only(next, s.run == 0 && s.canceled == 0 && !s.dropped)
}

// start starts a run that will enter the callback.
func (s state) start(run int) []state {
	next := s
	next.pending, next.active, next.met = false, true, false
	next.runs, next.run = run, 0
	return only(next, s.mayStart() && run == s.runs+1 && !s.closed)
}

// mayStart reports whether a run may start, if nobody who waits for it has been promised
// that it will not.
func (s state) mayStart() bool {
	return s.pending && !s.active && s.phase != isClosed && !s.paused && s.canceled == 0 && !s.dropped
}

// end ends a run.
func (s state) end(run int, again bool) []state {
	next := s
	next.active = false
	next.pending = s.pending || again && !s.met && s.phase == isOpen
	return only(next, s.active && !s.undone && run == s.runs)
}

// unseen returns the state after a change that nobody sees, if one may come: a run starts, but
// Close comes before it enters the callback; then, after Close, this start is undone.
func (s state) unseen() (next state, ok bool) {
	next = s
	switch {
	case s.mayStart() && s.run == 0:
		next.pending, next.closed = false, false // waiters will get ErrClosed
		next.active, next.undone = true, true
		return next, true
	case s.undone && s.phase == isClosed:
		next.active, next.undone = false, false
		return next, true
	default:
		return s, false
	}
}

// shows reports whether s agrees with the request and its answer.
func (s state) shows(q request, a answer) bool {
	switch q.kind {
	case setPolicy:
		return a.yes == (s.phase == isOpen)
	case stats:
		// Stats counts a run when it enters the callback, a little after its start.
		entering := s.active && !s.undone && a.glance.runs == s.runs-1
		return (a.glance.runs == s.runs || entering) &&
			a.glance.pending == s.pending && a.glance.running == s.active &&
			a.glance.closed == (s.phase != isOpen) && a.glance.paused == s.paused
	case heardRun:
		return s.runs > q.run || s.runs == q.run && (!s.active || s.undone)
	case heardCanceled:
		return s.canceled&(1<<q.number) == 0
	case heardClosed:
		return s.phase != isOpen
	case heardPaused:
		return s.phase != isOpen && !s.dropped
	case atRest:
		return !s.pending && !s.active
	default:
		return false
	}
}

// describe returns the text for an operation in a printed history.
func describe(q request, a answer) string {
	switch q.kind {
	case do, flush, wait, draining:
		switch a.outcome {
		case byRun:
			return fmt.Sprintf("%s: error of run %d", q.kind, a.run)
		case canceled:
			return fmt.Sprintf("%s: %s, number %d", q.kind, a.outcome, a.number)
		}
		return q.kind + ": " + a.outcome
	case cancel, setPolicy:
		return fmt.Sprintf("%s: %t", q.kind, a.yes)
	case stats:
		return fmt.Sprintf("%s: %+v", q.kind, a.glance)
	case runEnds:
		return fmt.Sprintf("%s of run %d, again: %t", q.kind, q.run, q.again)
	case runStarts, heardRun:
		return fmt.Sprintf("%s of run %d", q.kind, q.run)
	case heardCanceled:
		return fmt.Sprintf("%s, number %d", q.kind, q.number)
	default:
		return q.kind
	}
}
