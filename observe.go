package throttle

import (
	"context"
	"log/slog"
	"runtime/trace"
	"slices"
	"time"
)

// A Cause says why a run started.
type Cause string

// The causes of a run. If several apply, the first in this order wins; a flush beats
// them all.
const (
	CauseCall     Cause = "call"     // a call was pending
	CauseRetry    Cause = "retry"    // a failed run's backoff, or its RetryIn, ended
	CauseInterval Cause = "interval" // MaxInterval has passed since the last run
	CauseFlush    Cause = "flush"    // Flush or Shutdown made what was pending due
)

// A Result says how a run ended.
type Result string

// The results of a run.
const (
	ResultSuccess Result = "success"  // the callback returned nil
	ResultFailure Result = "failure"  // it returned an error, or ended its goroutine
	ResultPanic   Result = "panic"    // it panicked
	ResultRetryIn Result = "retry_in" // it returned a RetryIn: neither success nor failure
)

// A Run describes one run. Observers get it once the run has finished, see
// [WithObserver]; tracers also get it as the run starts, see [WithTracer]. Its times
// carry monotonic readings, so their differences are exact. Runs keep
// Policy.Interval between them, except for those of CauseFlush and those that Burst
// lets pass.
type Run struct {
	Name    string    // of the Throttler, Group or Coalescer
	Key     any       // in a Group or KeyedCoalescer; nil otherwise
	Cause   Cause     // why the run started
	Attempt int       // 1, and one more for each failed run in a row before it; in a Coalescer, of the same batch
	Asked   time.Time // when the first call that it covers was made; zero if it covers none
	Due     time.Time // when the policy at its start wanted it to start
	Started time.Time // when the callback was entered, or the first of its tracers
	Ended   time.Time // when the callback returned
	Calls   uint64    // how many calls it covers; 0 unless they are counted: WithCallCount, or a Coalescer
	Result  Result    // how it ended
	Err     error     // what the callback returned, a *PanicError or ErrGoexit; nil for success
	Retry   time.Time // when it will be repeated, as things stood at its end; zero if it succeeded or was given up
}

// Stats is a snapshot of a Throttler or Coalescer at one instant, or the sum over the
// keys of a Group or KeyedCoalescer.
type Stats struct {
	Runs     uint64 // runs whose callback was entered
	Failures uint64 // runs that ended in an error other than RetryIn, panics included
	Panics   uint64 // runs that ended in a panic
	Dropped  uint64 // calls dropped because the policy has no trailing edge
	Calls    uint64 // calls accepted or dropped; 0 unless they are counted
	Refused  uint64 // calls of a Coalescer that WithMaxPending refused; Send and Do wait instead

	Batches int // batches that wait in a Coalescer
	Values  int // calls of a Coalescer whose values wait in these batches

	LastStart    time.Time     // start of the last run, the active one included; zero before the first
	LastDuration time.Duration // how long the last finished run took
	LastError    error         // error of the last finished run; nil if it succeeded

	Pending bool      // a call waits for its run, or a failed run for its retry
	Running bool      // a run is active
	Paused  bool      // no run starts until Resume
	Closed  bool      // Close was called, the parent context ended, or Shutdown has begun
	Next    time.Time // when the next run is due; a lower bound while a run is active or while paused, when it may have passed; zero if none is
}

// statsLocked returns the snapshot.
//
// +checklocks:t.mu
func (t *Throttler) statsLocked() Stats {
	clock := t.clock()
	s := Stats{Closed: t.history.phase != open}
	t.addPastLocked(&s)
	t.addLocked(&s, clock)
	s.LastStart = clock.time(t.history.lastStart())
	if t.run != nil {
		s.LastDuration = t.run.previous
	} else {
		s.LastDuration = t.history.ended.since(t.history.started)
	}
	if t.rare != nil {
		s.LastError = t.rare.lastError
	}
	return s
}

// addPastLocked adds to s what was counted of all runs and calls. Calls that have
// recorded themselves in a word alone are missing until the next absorbLocked.
//
// +checklocks:d.mu
func (d *domain) addPastLocked(s *Stats) {
	dropped := d.dropped.Load()
	s.Runs += d.runs
	s.Dropped += dropped
	if d.config.counting {
		s.Calls += dropped
	}
	if d.rare != nil {
		s.Failures += d.rare.failures
		s.Panics += d.rare.panics
		s.Calls += d.rare.calls
		s.Refused += d.rare.refused
	}
}

// A lastRun is what a Group's Stats shows of the last runs of its keys.
type lastRun struct {
	started instant // the last of all starts; beginning before the first
	ended   instant // the last of all ends, as are the next two; beginning before the first
	took    time.Duration
	err     error
}

// addTo sets what s shows of the last run.
func (l *lastRun) addTo(s *Stats, clock clock) {
	s.LastStart, s.LastDuration, s.LastError = clock.time(l.started), l.took, l.err
}

// addLocked adds the present state of t to s.
//
// +checklocks:t.mu
func (t *Throttler) addLocked(s *Stats, clock clock) {
	h := t.history
	if t.run != nil {
		h = h.whileActive(t.policy, clock.instant, t.run.entered)
	}
	if h := t.holder(); h != nil {
		batches, values := h.waitingLocked()
		s.Batches += batches
		s.Values += values
	}
	s.Pending = s.Pending || t.pendingLocked()
	s.Running = s.Running || t.run != nil
	s.Paused = t.paused
	due, _ := h.due(t.policy)
	if next := clock.time(due); s.Next.IsZero() || !next.IsZero() && next.Before(s.Next) {
		s.Next = next
	}
}

// epoch is when the package was initialized. A duration since then takes less memory
// than a time.Time.
//
//nolint:gochecknoglobals // never written
var epoch = time.Now()

// A clock is one reading of the clock, in all forms.
type clock struct {
	wall       time.Time
	sinceEpoch time.Duration
	instant    instant
}

// readClock reads the clock for a domain with the given base.
func readClock(base time.Duration) clock {
	now := time.Now()
	since := now.Sub(epoch)
	return clock{now, since, instant(since - base)}
}

// inTest reports whether the clock is that of a testing/synctest bubble, which has no
// monotonic reading.
func (c clock) inTest() bool {
	return c.wall == c.wall.Round(0) // the same value, not the same time
}

// foreignClock is the panic of a method that needs the clock on one side of a bubble's
// border if the Throttler was built on the other. It has no error to return there, and
// going on would start runs at wrong times.
const foreignClock = "throttle: built outside the testing/synctest bubble and used inside, or the other way round: " +
	"the two have different clocks"

// clock reads the clock, to show instants as times. It does not check that it is the
// right one: on the wrong side of a bubble's border, Stats shows wrong times, but a
// program's metrics must not make it panic.
func (d *domain) clock() clock { return readClock(d.base) }

// now reads the clock. Readings under the lock never go back.
func (d *domain) now() instant {
	now := d.reading()
	if now < 0 || d.inTest {
		return d.checked(now)
	}
	return now
}

func (d *domain) reading() instant { return instant(time.Since(epoch) - d.base) }

// checked returns now if it is of the right clock, and panics otherwise.
func (d *domain) checked(now instant) instant {
	if !d.isOwn(now) {
		panic(foreignClock) //nolint:forbidigo // see there
	}
	return max(now, 0)
}

// isOwn reports whether now was read from the clock by which the Throttler was built. A
// look at every reading would cost as much as the reading. But a bubble begins in the
// year 2000: seen from outside, that is before the Throttler was built.
func (d *domain) isOwn(now instant) bool {
	return now >= 0 && !d.inTest || readClock(0).inTest() == d.inTest
}

// time returns i as a time.Time, zero for beginning and never. It counts from this
// reading and not from the Throttler's construction, so that it shows what the wall
// clock has been set to since then.
func (c clock) time(i instant) time.Time {
	if i == beginning || i == never {
		return time.Time{}
	}
	return c.wall.Add(i.since(c.instant))
}

// notify gives r's error to the handler if it is unclaimed, and then r to the tracers,
// the latest first, and to the observers. No lock may be held.
func (t *Throttler) notify(r *run) {
	if r.unclaimed {
		if t.config.handler != nil {
			t.config.handler(t.keyed(r.outcomeErr))
		} else {
			t.logFailed(r)
		}
	}
	if len(r.ends) == 0 && len(t.config.observers) == 0 {
		return
	}
	clock := t.clock()
	seen := t.describe(r, clock)
	seen.Ended = clock.time(r.ended)
	seen.Result = r.verdict.result()
	seen.Err = r.err
	seen.Retry = clock.time(r.retry)
	for _, end := range slices.Backward(r.ends) {
		end(seen)
	}
	for _, observe := range t.config.observers {
		observe(seen)
	}
}

// describe returns what is known of r at its start.
func (t *Throttler) describe(r *run, clock clock) Run {
	seen := Run{
		Name:    t.config.name,
		Cause:   r.cause,
		Attempt: r.attempt,
		Asked:   clock.time(r.asked),
		Due:     clock.time(r.due),
		Started: clock.time(r.started),
		Calls:   r.calls,
	}
	seen.Key, _ = t.key()
	return seen
}

// key returns the Group's key that t belongs to, if any.
func (t *Throttler) key() (key any, ok bool) {
	if t.config.owner == nil {
		return nil, false
	}
	return t.fn.(runner).keyOf(), true //nolint:errcheck,forcetypeassert // a key's Throttler has one
}

// keyed returns err, which must not be nil, as a *KeyError if t belongs to a Group's key.
func (t *Throttler) keyed(err error) error {
	key, ok := t.key()
	if !ok {
		return err
	}
	return &KeyError{Key: key, Err: err, name: t.config.name}
}

// result returns the Result for v.
func (v verdict) result() Result {
	switch {
	case v.panicked:
		return ResultPanic
	case v.failed:
		return ResultFailure
	case v.again:
		return ResultRetryIn
	default:
		return ResultSuccess
	}
}

// startTraces calls the tracers in order, and returns the context for r's callback. No
// lock may be held.
func (t *Throttler) startTraces(ctx context.Context, r *run) context.Context {
	if len(t.config.tracers) == 0 {
		return ctx
	}
	seen, callers := t.describe(r, t.clock()), t.callers(r)
	for _, start := range t.config.tracers {
		traced, end := start(ctx, seen, slices.Clone(callers))
		if traced != nil {
			ctx = traced //nolint:fatcontext // traces nest
		}
		if end != nil {
			r.ends = append(r.ends, end)
		}
	}
	return ctx
}

// callers returns the contexts of the Do calls that r covers. r must have started.
func (t *Throttler) callers(r *run) []context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.awaited == nil || r.awaited.callers == nil {
		return nil
	}
	return *r.awaited.callers
}

// startTask makes r's callback a task of the execution tracer, which must be on, and
// a region of its goroutine. It returns the context for the callback, and a function
// that ends both.
func (t *Throttler) startTask(ctx context.Context, r *run) (traced context.Context, end func()) {
	name := "throttle"
	if t.config.name != "" {
		name += ": " + t.config.name
	}
	traced, task := trace.NewTask(ctx, name)
	trace.Log(traced, "cause", string(r.cause))
	region := trace.StartRegion(traced, "run")
	return traced, func() {
		region.End()
		task.End()
	}
}

// logFailed is the default error handler for r's error.
func (t *Throttler) logFailed(r *run) {
	if r.verdict.canceled && !isLost(r.outcomeErr) && (r.afterClose || t.config.parent.Err() != nil) {
		return // the callback ended because its context did
	}
	attrs := []slog.Attr{slog.String("cause", string(r.cause)), slog.Int("attempt", r.attempt)}
	if r.verdict.panicked {
		attrs = append(attrs, slog.String("stack", string(r.err.(*PanicError).Stack))) //nolint:errcheck,errorlint,forcetypeassert // see invoke
	}
	t.log("throttle: run failed", r.outcomeErr, attrs...)
}

// log writes err to the default log, with the name and the key, if there are any.
func (t *Throttler) log(message string, err error, attrs ...slog.Attr) {
	all := make([]slog.Attr, 0, 6)
	if t.config.name != "" {
		all = append(all, slog.String("name", t.config.name))
	}
	all = append(append(all, slog.Any("error", t.keyed(err))), attrs...)
	if key, ok := t.key(); ok {
		all = append(all, slog.Any("key", key))
	}
	slog.Default().LogAttrs(t.config.parent, slog.LevelError, message, all...)
}
