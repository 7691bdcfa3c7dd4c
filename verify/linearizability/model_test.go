package linearizability_test

// This file holds the sequential model that a real-time history of a Throttler is
// compared with: what each method and each event of a run may find, answer and
// change, if one came after the other. The model knows no time. When a run may
// start is for other tests; here a run may start whenever something is pending.

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// A request is what a history's operation asks: a method of the Throttler, or
// something that was seen of a run or of an answer.
type request struct {
	kind  string // one of the below
	run   int    // of runStarts, runEnds and heardRun: which one
	again bool   // of runEnds: the callback returned RetryIn
	spent bool   // of do and flush: the context had ended before
	told  int    // of heardCanceled: which answer, as in answer.told
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
	setPolicy     = "SetPolicy" // changes nothing that the model knows of
	stats         = "Stats"
	runStarts     = "start"                 // a run covers what is pending, and later enters the callback
	runEnds       = "end"                   // a run is over
	heardRun      = "answer known"          // somebody has been told a run's error: the run is over
	heardCanceled = "cancellation known"    // somebody has been told ErrCanceled: Cancel has been there
	heardClosed   = "being closed is known" // somebody has been told ErrClosed: it is so
	atRest        = "rest"                  // nothing pending, nothing running
)

// An answer is what came of a request.
type answer struct {
	outcome string // of a method that waits: one of the below
	run     int    // whose error the outcome is
	told    int    // numbers the answers ErrCanceled of one history, from 0
	yes     bool   // of cancel: something was pending; of setPolicy: it was done
	glance  glance // of stats
}

// The outcomes of methods that wait: what they returned.
const (
	nothing   = "nil" // as every run fails, there was none to wait for
	byRun     = "a run's error"
	canceled  = "ErrCanceled"
	closed    = "ErrClosed"
	throttled = "ErrThrottled"
	abandoned = "the context's error"
	unknown   = "an error that is not allowed"
)

// A glance is the part of Stats that the model knows.
type glance struct {
	runs                     int
	pending, running, closed bool
}

// A state is what the model has come to. It is comparable, so == tells whether two
// are the same.
type state struct {
	phase   phase
	pending bool

	// What has been promised to those who wait for what is pending: the history
	// tells what they will have been answered, so anything else is refused.
	run      int    // this run's error; 0 if nobody
	canceled uint64 // ErrCanceled: the set of their answers' numbers
	closed   bool   // ErrClosed

	runs   int  // started
	active bool // a run is
	undone bool // and it will not enter the callback, as Close will undo its start
	met    bool // Cancel met the active run
}

// mostCanceled is how many answers ErrCanceled a history may have: as many as there are
// bits in state.canceled. Of a number beyond them nothing would be checked.
const mostCanceled = 64

type phase int

const (
	isOpen phase = iota
	isDraining
	isClosed
)

// A model is the rules for a policy.
type model struct {
	leadingOnly bool // a call may be dropped
	undoes      bool // Close may undo a start that nobody has seen
}

// forPorcupine returns the model as the checker wants it. It is nondeterministic in
// two ways: whether a call is dropped is for the clock to say, and a start that
// Close has undone leaves no trace in the history but in what others found.
func (m model) forPorcupine() porcupine.Model {
	nondeterministic := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{}} },
		Step: func(from, in, out any) []any {
			var next []any
			for _, s := range m.step(from.(state), in.(request), out.(answer)) { //nolint:errcheck,forcetypeassert // they hold nothing else
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

// step returns the states in which q, answered with a, may leave the Throttler;
// none if q cannot have been answered so.
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
	case drained:
		if s.phase == isOpen {
			return nil // it comes after its own begin
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

// await promises a to one who waits for what is pending, else for the active run,
// else for nothing.
func (s state) await(a answer) []state {
	switch {
	case a.outcome == abandoned:
		return []state{s}
	case s.pending:
		return s.promise(a)
	case s.undone:
		return only(s, a.outcome == closed)
	case s.active:
		return only(s, a.outcome == byRun && a.run == s.runs)
	default:
		return only(s, a.outcome == nothing)
	}
}

// promise promises a to one who waits for what is pending.
func (s state) promise(a answer) []state {
	next := s
	switch a.outcome {
	case byRun:
		next.run = a.run
		return only(next, a.run == s.runs+1 && s.canceled == 0 && !s.closed)
	case canceled:
		next.canceled |= 1 << a.told
		return only(next, s.run == 0 && !s.closed)
	case closed:
		next.closed = true
		return only(next, s.run == 0 && s.canceled == 0)
	default:
		return nil
	}
}

// flush waits for what was asked before.
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

// drain refuses calls from now on, and waits as a flush does.
func (s state) drain(a answer) []state {
	if s.phase == isClosed {
		return only(s, a.outcome == nothing)
	}
	next := s
	next.phase = isDraining
	return next.await(a)
}

// cancel drops what is pending, and keeps the active run from being repeated.
func (s state) cancel(dropped bool) []state {
	next := s
	next.met = s.active
	next.pending, next.canceled = false, 0
	return only(next, dropped == s.pending && s.run == 0 && !s.closed)
}

// close drops what is pending, for good.
func (s state) close() []state {
	next := s
	next.phase, next.pending, next.closed = isClosed, false, false
	return only(next, s.run == 0 && s.canceled == 0)
}

// start begins a run that is seen to enter the callback.
func (s state) start(run int) []state {
	next := s
	next.pending, next.active, next.met = false, true, false
	next.runs, next.run = run, 0
	return only(next, s.pending && !s.active && s.phase != isClosed && run == s.runs+1 &&
		s.canceled == 0 && !s.closed)
}

// end ends a run.
func (s state) end(run int, again bool) []state {
	next := s
	next.active = false
	next.pending = s.pending || again && !s.met && s.phase == isOpen
	return only(next, s.active && !s.undone && run == s.runs)
}

// unseen returns the state after what may happen in s without being seen, if
// anything may: a run starts but does not enter the callback, as Close comes before
// that; and after Close, this start is undone.
func (s state) unseen() (next state, ok bool) {
	next = s
	switch {
	case s.pending && !s.active && s.phase != isClosed && s.run == 0 && s.canceled == 0:
		next.pending, next.closed = false, false // who waits will be told ErrClosed
		next.active, next.undone = true, true
		return next, true
	case s.undone && s.phase == isClosed:
		next.active, next.undone = false, false
		return next, true
	default:
		return s, false
	}
}

// shows reports whether s is as the request and its answer say.
func (s state) shows(q request, a answer) bool {
	switch q.kind {
	case setPolicy:
		return a.yes == (s.phase == isOpen)
	case stats:
		// Stats counts a run when it enters the callback, a little after its start.
		entering := s.active && !s.undone && a.glance.runs == s.runs-1
		return (a.glance.runs == s.runs || entering) &&
			a.glance.pending == s.pending && a.glance.running == s.active &&
			a.glance.closed == (s.phase != isOpen)
	case heardRun:
		return s.runs > q.run || s.runs == q.run && (!s.active || s.undone)
	case heardCanceled:
		return s.canceled&(1<<q.told) == 0
	case heardClosed:
		return s.phase != isOpen
	case atRest:
		return !s.pending && !s.active
	default:
		return false
	}
}

// describe returns what a reader of a history sees of an operation.
func describe(q request, a answer) string {
	switch q.kind {
	case do, flush, draining:
		switch a.outcome {
		case byRun:
			return fmt.Sprintf("%s: error of run %d", q.kind, a.run)
		case canceled:
			return fmt.Sprintf("%s: %s, number %d", q.kind, a.outcome, a.told)
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
		return fmt.Sprintf("%s, number %d", q.kind, q.told)
	default:
		return q.kind
	}
}
