package throttle

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// This file holds the state record of a Throttler, its one mutex, and every
// transition. A transition begins with lock and ends with settle.
//
//	              call                    due, maybe at once
//	   ┌────────────────────────► armed ──────────────────────► running
//	   │                         │  ▲ ▲                          │ │ │  ▲
//	   │         Cancel          │  │ │   end, failed: retry     │ │ │  │
//	 idle ◄──────────────────────┘  │ └──────────────────────────┘ │ │  │
//	   ▲                            │             end              │ │  │
//	   └────────────────────────────┼──────────────────────────────┘ │  │
//	                                │                           call │  │ Cancel
//	                                │                                ▼  │
//	                                │                           running+pending
//	                                │              end               │
//	                                └────────────────────────────────┘
//
//	 any ── Shutdown ──► draining ── nothing pending, nothing running ──► closed
//	 any ── Close, or the parent context ended ─────────────────────────► closed
//
// In the fields' terms: running is run != nil; pending is a call or a failed run's
// retry, history.pending or history.retry; armed is something due later, which is
// what is pending or MaxInterval's run, and alarm != nil; draining and closed are
// history.phase. In a closed Throttler a run may still be active, and then ends.

// A Throttler runs a callback as often as its [Policy] allows, however many
// goroutines ask for it, and never loses the last request. It is built by
// [New], and its zero value cannot be used; its methods may be called
// concurrently, from the callback too. It must not be copied.
//
// A Throttler with nothing pending owns no goroutine and no timer, unless
// MaxInterval is set, and needs no Close if it has no parent context.
type Throttler struct {
	*domain
	fn any // the callback: of one of the types in Callback, or a part

	// word is the fast path: what a call has to record, see coalesce. Written
	// with mu held, but for the calls that record themselves in it.
	word atomic.Uint64

	// Guarded by mu, which is the domain's.

	// +checklocks:mu
	policy *Policy // what it points to never changes
	// +checklocks:mu
	history history
	// +checklocks:mu
	run *run // the active run; nil if none
	// +checklocks:mu
	awaited *outcome // of what is pending; nil if nobody waits for it
	// +checklocks:mu
	alarm *alarm // wakes the Throttler when something is due; nil if nothing will be
	// +checklocks:mu
	pendingCalls uint64 // made since the last start or drop, if they are counted
}

// A domain is a lock and what all Throttlers under it have in common. A Throttler
// that was built by New or NewCoalescer is alone in its domain; those of a
// Group's shard share one, so that a key costs little.
type domain struct {
	base   time.Time // instant 0
	extras *extras   // what options set

	mu sync.Mutex // guards the fields below, and the Throttlers' fields that say so

	// +checklocks:mu
	tally tally
}

// A tally is what Stats tells of the past.
type tally struct {
	runs      uint64
	failures  uint64
	panics    uint64
	dropped   uint64
	pastCalls uint64 // all but the pending ones, if calls are counted

	lastStart instant // of a run; beginning before the first
	lastEnd   instant // of the last finished run, as are the next two; beginning before the first
	lastTook  time.Duration
	lastError error
}

func newDomain(e *extras, base time.Time) domain {
	return domain{base: base, extras: e, tally: newTally()}
}

func newTally() tally { return tally{lastStart: beginning, lastEnd: beginning} }

// newAlone returns a Throttler in a domain of its own: one piece of memory.
func newAlone(p Policy, fn any, e *extras) *Throttler {
	alone := &struct {
		throttler Throttler
		domain    domain
		policy    Policy
	}{domain: newDomain(e, time.Now()), policy: p}
	t := &alone.throttler
	t.domain, t.fn, t.policy, t.history = &alone.domain, fn, &alone.policy, newHistory(0)
	return t
}

// A run is one execution of the callback. Its fields are written before its
// goroutine starts or by that goroutine, but for those that mu guards.
type run struct {
	of      *Throttler
	cause   Cause
	attempt int
	asked   instant // beginning if the run covers no call
	due     instant
	started instant
	ended   instant
	calls   uint64 // covered, if they are counted
	err     error
	report  error // what those who wait for it, or the handler, get: err, or a *LostError for it
	unheard bool  // nobody waits to take report
	stopped bool  // the Throttler was closed when the callback returned
	verdict verdict

	// Guarded by the Throttler's mu.
	awaited  *outcome                // nil if nobody waits
	cancel   context.CancelCauseFunc // of the run's context; nil before it is made, and if the run needs none
	entered  bool                    // the callback has been entered, and started is set
	canceled bool                    // Cancel met the run
	decided  bool                    // the callback has returned, and report is set
}

// An outcome is what those wait for who wait for the same run. Its fields are
// guarded by the Throttler's mu, but err may be read once decided was seen to be set,
// or done is closed: it changes no more.
type outcome struct {
	done    chan struct{} // closed once the run has ended or was dropped
	waiters int           // who will take err
	decided bool          // err is set
	dropped bool          // by Cancel or Close: no run comes
	err     error
	callers *[]context.Context // of the Do calls, for tracers; nil if there are none. A slice would need more memory
}

// maxCallers is how many callers are kept. They are links in a trace, of which
// tracing systems keep few, too.
const maxCallers = 16

// An alarm is what wakes a Throttler when something is due: a timer, or, once the
// instant has come and all turns are taken, a place in the queue for one.
type alarm struct {
	at    instant
	timer *time.Timer // nil in the queue
	place *place      // nil outside of it
}

// A waker is what an alarm wakes: a Throttler, or a Group's shard.
type waker interface{ wake() }

// A part is the callback of a Throttler that is part of something else.
type part interface {
	callback(ctx context.Context) error
}

// A carrier is a part whose runs carry a value, which calls hand over: a
// Coalescer. Its methods are called with the Throttler's lock held.
type carrier interface {
	part

	// load gives the run that starts all that was handed over.
	load()

	// unload records that the callback of r has returned: what r carried is
	// delivered, kept for its retry, or lost, and then r.report says so.
	unload(r *run)

	// strand returns a *LostError for what was handed over and has no run, and
	// another for what a run carries that will not be entered, each nil if there
	// is no such value. why is why it is lost.
	strand(why error) (waiting, carried error)
}

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

// now reads the clock. In the lock's critical section it never goes back.
func (d *domain) now() instant {
	// Negative only where a testing/synctest bubble uses a Throttler from
	// outside of it, which must not make the word's value spill into its kind.
	return instant(max(time.Since(d.base), 0))
}

// lock begins a transition: it sends all calls to the mutex, takes over what
// they have recorded in the word, and reads the clock.
//
// From here to settle the history is exact. That a start is preceded by this
// swap is what makes a lock-free call safe: all atomic operations have one total
// order, so a call that sees a run pending comes before the swap, the swap comes
// before the go statement, and that before the callback.
//
// +checklocksacquire:t.mu
func (t *Throttler) lock() instant {
	t.mu.Lock()
	return t.beginLocked()
}

// beginLocked is lock for one who has the lock already.
//
// +checklocks:t.mu
func (t *Throttler) beginLocked() instant {
	t.absorbLocked(t.word.Swap(wordLocked))
	return t.now()
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

// settle ends a transition that began at now. It alone starts runs, sets and
// stops the alarm, and opens the fast path, so that no transition can forget to;
// and as it trusts the clock alone, a stale alarm does no harm.
//
// +checklocksrelease:t.mu
func (t *Throttler) settle(now instant) {
	t.settleLocked(now, false)
	t.mu.Unlock()
}

// settleNow is settle for a transition that may have taken time.
//
// +checklocksrelease:t.mu
func (t *Throttler) settleNow() {
	t.settleLocked(t.now(), false)
	t.mu.Unlock()
}

// settleLocked is settle for one who goes on with the lock. turn tells that a turn
// is the Throttler's already; settleLocked reports whether a run was started.
//
// +checklocks:t.mu
func (t *Throttler) settleLocked(now instant, turn bool) (started bool) {
	due := never
	if t.run == nil {
		var cause Cause
		due, cause = t.history.due(t.policy)
		if due <= now && (turn || t.takeTurnLocked(due)) {
			t.startLocked(due, cause)
			due, started = never, true
		}
	}
	t.setAlarmLocked(now, due)
	t.word.Store(t.wordLocked())
	if t.extras.keeper != nil {
		t.extras.keeper.settledLocked(t, now)
	}
	return started
}

// startLocked starts a run that covers what is pending.
//
// +checklocks:t.mu
func (t *Throttler) startLocked(due instant, cause Cause) {
	r := &run{
		of:      t,
		cause:   cause,
		attempt: t.history.failures + 1,
		asked:   beginning,
		due:     due,
		calls:   t.takeCallsLocked(),
		awaited: t.awaited,
	}
	if t.history.pending {
		r.asked = t.history.firstCall
	}
	if c, ok := t.fn.(carrier); ok {
		c.load()
	}
	t.history.drop()
	t.run, t.awaited = r, nil
	go t.execute(r) // ends by itself, soon after the callback
}

// takeTurnLocked takes a turn for a run that is due, in a Group that has a limit
// to them, or joins the queue for one and reports false.
//
// +checklocks:t.mu
func (t *Throttler) takeTurnLocked(due instant) bool {
	if t.extras.turns == nil {
		return true
	}
	if t.alarm != nil && t.alarm.place != nil {
		return false // its place in the queue stays the same
	}
	wanted := &place{throttler: t, due: due}
	if t.extras.turns.take(wanted) {
		return true
	}
	t.alarm.set(t, due, never) // it is the place now that will wake the Throttler
	t.alarm = &alarm{at: due, place: wanted}
	return false
}

// setAlarmLocked sees to it that the Throttler wakes at due, and not at all if
// that is never.
//
// +checklocks:t.mu
func (t *Throttler) setAlarmLocked(now, due instant) {
	queued := t.alarm != nil && t.alarm.place != nil
	switch {
	case queued && due <= now:
		return
	case queued:
		t.extras.turns.leave(t.alarm.place)
		t.alarm = nil
	}
	t.alarm = t.alarm.set(t, now, due)
}

// set returns the alarm that wakes w at due, nil if that is never: a, which may be
// nil, or a new one.
func (a *alarm) set(w waker, now, due instant) *alarm {
	switch {
	case due == never:
		if a != nil {
			a.timer.Stop()
		}
		return nil
	case a == nil:
		return &alarm{at: due, timer: time.AfterFunc(due.since(now), w.wake)}
	case a.at <= now || a.at > due:
		// It has fired, or would fire too late. One that is only early stays:
		// with Quiet, resetting it at each call would cost more than waking up.
		a.at = due
		a.timer.Reset(due.since(now))
	}
	return a
}

// wake is what an alarm calls.
func (t *Throttler) wake() { t.settle(t.lock()) }

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

// callLocked records a call that must not wait beyond within from now, and reports
// whether a run will cover it. If not, it was dropped, or is refused as the
// Throttler is closed: who has somebody to tell asks refusalLocked.
//
// +checklocks:t.mu
func (t *Throttler) callLocked(now instant, within time.Duration) (covered bool) {
	if t.history.phase != open {
		return false
	}
	covered = t.history.call(t.policy, now, max(within, 0), t.run != nil)
	switch counting := t.extras.counting; {
	case covered && counting:
		t.pendingCalls++
	case !covered:
		t.tally.dropped++
		if counting {
			t.tally.pastCalls++
		}
	}
	return covered
}

// refusalLocked returns why a call at now was not covered: ErrClosed or a
// *ThrottledError.
//
// +checklocks:t.mu
func (t *Throttler) refusalLocked(now instant) error {
	if t.history.phase != open {
		return t.closedLocked()
	}
	h := t.history
	if t.run != nil {
		h = h.whileActive(t.policy, now, t.run.entered)
	}
	retryAfter := max(h.opens(t.policy).since(now), 0)
	return &ThrottledError{Name: t.extras.name, RetryAfter: retryAfter}
}

// takeCallsLocked returns how many calls are pending, if they are counted, and
// counts them as past.
//
// +checklocks:t.mu
func (t *Throttler) takeCallsLocked() uint64 {
	if !t.extras.counting {
		return 0
	}
	calls := t.pendingCalls
	t.tally.pastCalls += calls
	t.pendingCalls = 0
	return calls
}

// closedLocked returns the ErrClosed of this Throttler.
//
// +checklocks:t.mu
func (t *Throttler) closedLocked() error { return t.closedError(t.history.phase) }

// closedError returns the ErrClosed of what is draining or closed.
func (d *domain) closedError(p phase) error {
	if p != closed {
		return sentinel(ErrClosed, d.extras.name, nil) // a Group's ended may just be written, under another lock
	}
	return sentinel(ErrClosed, d.extras.name, d.extras.ended)
}

// adoptLocked makes p the policy.
//
// +checklocks:t.mu
func (t *Throttler) adoptLocked(now instant, p *Policy) {
	t.history.adopt(t.policy, p, now)
	t.policy = p
}

// pendingLocked returns whether anything waits for a run.
//
// +checklocks:t.mu
func (t *Throttler) pendingLocked() bool { return t.history.pending || t.history.retry }

// dropLocked drops what is pending, tells those who wait for it err, and reports
// whether there are any.
//
// +checklocks:t.mu
func (t *Throttler) dropLocked(err error) (heard bool) {
	t.history.drop()
	t.takeCallsLocked()
	o := t.awaited
	if o == nil {
		return false
	}
	t.awaited = nil
	o.decide(err)
	o.dropped = true
	close(o.done)
	return o.waiters > 0
}

// cancelLocked drops what is pending and the active run's retry, and reports
// whether anything was pending.
//
// +checklocks:t.mu
func (t *Throttler) cancelLocked() bool {
	pending := t.pendingLocked()
	t.history.failures = 0
	t.dropLocked(sentinel(ErrCanceled, t.extras.name, nil))
	if t.run != nil {
		t.run.canceled = true
	}
	return pending
}

// closeLocked closes the Throttler, because its parent context ended for cause
// if that is not nil. It returns what is to be called once mu is free, as foreign
// code may run in it; nil if nothing is.
//
// +checklocks:t.mu
func (t *Throttler) closeLocked(cause error) (release func()) {
	if t.history.phase == closed {
		return nil
	}
	t.history.phase = closed
	if cause != nil {
		t.extras.ended = cause // a parent's, so these are not the noExtras
	}
	why := t.closedLocked()
	unheard := t.strandLocked(why)
	var cancel context.CancelCauseFunc
	if t.run != nil {
		cancel = t.run.cancel
	}
	stop := t.extras.unwatch
	if cancel == nil && stop == nil && unheard == nil {
		return nil
	}
	var reported chan struct{}
	if unheard != nil {
		reported = make(chan struct{})
		t.extras.reported = reported // a Coalescer's, so these are not the noExtras
	}
	return func() {
		// Deferred, as the handler may panic or end the goroutine.
		if reported != nil {
			defer close(reported)
		}
		for _, err := range slices.Backward(unheard) {
			defer t.report(err)
		}
		if cancel != nil {
			cancel(why)
		}
		if stop != nil {
			stop()
		}
	}
}

// strandLocked drops what is pending, as the Throttler was closed, and returns
// the errors of lost values for which nobody waits.
//
// +checklocks:t.mu
func (t *Throttler) strandLocked(why error) (unheard []error) {
	c, ok := t.fn.(carrier)
	if !ok {
		t.dropLocked(why)
		return nil
	}
	waiting, carried := c.strand(why)
	if carried != nil { // by the active run, which now will not be entered
		o := t.run.awaited
		if o != nil {
			o.decide(carried)
		}
		if o == nil || o.waiters == 0 {
			unheard = append(unheard, carried)
		}
	}
	if waiting == nil {
		t.dropLocked(why)
	} else if !t.dropLocked(waiting) {
		unheard = append(unheard, waiting)
	}
	return unheard
}

// enterLocked records that the callback of the active run r is entered now. If
// the Throttler was closed meanwhile, it undoes the start and reports false.
// cancel ends the run's context.
//
// +checklocks:t.mu
func (t *Throttler) enterLocked(r *run, cancel context.CancelCauseFunc) bool {
	if t.history.phase == closed {
		t.run = nil
		if o := r.awaited; o != nil {
			if !o.decided {
				o.decide(t.closedLocked())
			}
			close(o.done)
		}
		return false
	}
	t.tally.runs++
	r.entered = true
	r.cancel = cancel
	r.started = t.now()
	t.tally.lastStart = max(t.tally.lastStart, r.started)
	t.history.enter(t.policy, r.started)
	return true
}

// decideLocked records the outcome of the active run's callback.
//
// +checklocks:t.mu
func (t *Throttler) decideLocked(r *run) {
	r.ended = t.now()
	r.cancel = nil
	r.report = r.err
	r.stopped = t.history.phase == closed
	defer t.decidedLocked(r) // deferred, as a Coalescer's merge may end the goroutine
	if c, ok := t.fn.(carrier); ok {
		r.verdict.kept = t.history.retries(t.policy, r.verdict, r.canceled)
		r.verdict.carried = true
		c.unload(r)
	}
}

// decidedLocked tells those who wait for r its outcome.
//
// +checklocks:t.mu
func (t *Throttler) decidedLocked(r *run) {
	r.decided = true
	r.unheard = r.report != nil && (r.awaited == nil || r.awaited.waiters == 0)
	if r.awaited != nil {
		r.awaited.decide(r.report)
	}
}

// endLocked records that the active run, with all hooks, is over.
//
// +checklocks:t.mu
func (t *Throttler) endLocked(r *run) {
	t.run = nil
	if r.ended >= t.tally.lastEnd { // another key's run may have ended later, but with quicker hooks
		t.tally.lastEnd, t.tally.lastTook, t.tally.lastError = r.ended, r.ended.since(r.started), r.err
	}
	t.history.finish(t.policy, r.ended, r.verdict, r.canceled, rand.Float64())
	if t.history.phase == draining && t.history.retry {
		t.history.flushNow(r.ended) // what Shutdown waits for waits for no backoff
	}
	if r.verdict.failed {
		t.tally.failures++
	}
	if r.verdict.panicked {
		t.tally.panics++
	}
	if r.awaited != nil {
		close(r.awaited.done)
	}
	// The callback may have kept its context, which refers to r: that must not
	// keep a value that was lost.
	r.report, r.awaited = nil, nil
}

// admitLocked returns why a method that waits must not: the active run is own,
// the caller's own; the Throttler is past the last phase that admits the method;
// or the caller's context has ended.
//
// +checklocks:t.mu
func (t *Throttler) admitLocked(last phase, own *run, ended error) error {
	switch {
	case t.isActiveLocked(own):
		return sentinel(ErrReentrant, t.extras.name, nil)
	case t.history.phase > last:
		return t.closedLocked()
	default:
		return ended
	}
}

// isActiveLocked returns whether own, which may be nil, is the active run.
//
// +checklocks:t.mu
func (t *Throttler) isActiveLocked(own *run) bool { return own != nil && own == t.run }

// flushLocked makes what is pending due now, and returns what the caller then
// waits for, nil if for nothing.
//
// +checklocks:t.mu
func (t *Throttler) flushLocked(now instant) *outcome {
	if t.pendingLocked() {
		t.history.flushNow(now)
	}
	return t.awaitLocked()
}

// drainLocked refuses calls from now on, makes what is pending due, and returns
// what is to be waited for, nil if nothing. On a closed Throttler it does nothing.
//
// +checklocks:t.mu
func (t *Throttler) drainLocked(now instant) *outcome {
	if t.history.phase == closed {
		return nil
	}
	t.history.phase = draining
	return t.flushLocked(now)
}

// awaitLocked returns the outcome that covers all calls so far, which the caller
// will take: that of what is pending, else of the active run; nil if there is
// neither.
//
// +checklocks:t.mu
func (t *Throttler) awaitLocked() *outcome {
	var o *outcome
	switch {
	case t.pendingLocked():
		if t.awaited == nil {
			t.awaited = newOutcome()
		}
		o = t.awaited
	case t.run != nil:
		o = t.run.outcome()
	default:
		return nil
	}
	o.waiters++
	return o
}

// awaitCallLocked is awaitLocked for who has just made a call with ctx.
//
// +checklocks:t.mu
func (t *Throttler) awaitCallLocked(ctx context.Context) *outcome {
	o := t.awaitLocked()
	if len(t.extras.tracers) > 0 {
		if o.callers == nil {
			o.callers = new([]context.Context)
		}
		if len(*o.callers) < maxCallers {
			*o.callers = append(*o.callers, ctx)
		}
	}
	return o
}

// active reports whether r is active.
func (r *run) active() bool {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	return r.of.isActiveLocked(r)
}

func newOutcome() *outcome { return &outcome{done: make(chan struct{})} }

// outcome returns what those wait for who wait for r. The Throttler's mu must be
// held.
func (r *run) outcome() *outcome {
	if r.awaited == nil {
		r.awaited = newOutcome()
		if r.decided {
			r.awaited.decide(r.report)
		}
	}
	return r.awaited
}

// decide sets what those who wait will take. The Throttler's mu must be held.
func (o *outcome) decide(err error) { o.decided, o.err = true, err }
