package throttle

import (
	"iter"
	"math/rand/v2"
	"time"
)

// A SimulatedRun is a run that [Simulate] predicts. Its instants are durations since the
// Throttler was built.
type SimulatedRun struct {
	Cause   Cause         // why the run starts
	Attempt int           // 1, and one more for each failed run in a row before it
	Due     time.Duration // when the policy wanted it to start
	Started time.Duration // later than Due if the run before was still active
	Ended   time.Duration
	First   int           // number of the first call that it covers; the others follow
	Calls   int           // how many calls it covers; 0 if it was periodic, or a retry
	Wait    time.Duration // how long the first of them had waited at Started: the longest wait
	Err     error         // what run returned
	Retry   time.Duration // when it will be repeated, as things stand at Ended; 0 if it will not be
}

// Simulate predicts the runs of a [Throttler] that is built at 0 with p and called at the
// given instants. It starts nothing and reads no clock, so it takes next to no time. Try a
// policy on your own traffic before you ship it:
//
//	runs, err := throttle.Simulate(throttle.Every(time.Second), slices.Values(calls), nil)
//	if err != nil {
//		return err // the policy is invalid
//	}
//	for run := range runs {
//		longest = max(longest, run.Wait)
//	}
//
// calls are durations since the Throttler was built, in order: a call that is earlier than
// the one before counts as simultaneous with it. What is due at the instant of a call
// happens before the call. Calls, like runs, are numbered from 0. No run covers a call that
// the policy drops, see [WithDropped].
//
// run says how long run number n takes, where a negative duration counts as 0, and what its
// callback returns: nil, an error, or a [RetryIn]. A nil run takes no time and succeeds.
//
// The runs come in order, each as soon as it ends; one that never ends does not come.
// Calls are read as they are needed. With MaxInterval, or if a run is retried for ever,
// there is no last run: then leave the loop when you have seen enough.
//
// If calls and run always give the same answers, then each loop over the runs sees the same
// ones, even with Jitter: its random numbers start anew with each loop. A [Coalescer] may
// make more runs than Simulate predicts, because it fills another batch after MaxCalls.
//
// The error joins a [*PolicyError] for each problem with p.
func Simulate(
	p Policy, calls iter.Seq[time.Duration], run func(n int) (took time.Duration, err error), opts ...SimulateOption,
) (iter.Seq[SimulatedRun], error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	s := simulation{
		policy:  p,
		run:     run,
		within:  func(int) time.Duration { return noLimit },
		dropped: func(int, time.Duration) {},
	}
	if run == nil {
		s.run = func(int) (time.Duration, error) { return 0, nil }
	}
	for _, opt := range opts {
		if opt != nil {
			opt(&s)
		}
	}
	return func(yield func(SimulatedRun) bool) {
		s := s // each loop starts anew
		s.yield = yield
		s.play(calls)
	}, nil
}

// A SimulateOption changes what [Simulate] simulates.
type SimulateOption func(*simulation)

// WithBounds makes call number n a [Throttler.CallWithin] of within(n). For a call without a
// bound, within returns [math.MaxInt64]. A nil within bounds no call.
func WithBounds(within func(n int) time.Duration) SimulateOption {
	if within == nil {
		return nil
	}
	return func(s *simulation) { s.within = within }
}

// WithDropped makes [Simulate] call fn for each call that the policy drops, with the call's
// number and its instant, before the runs that end later come. A nil fn is not called.
func WithDropped(fn func(n int, at time.Duration)) SimulateOption {
	if fn == nil {
		return nil
	}
	return func(s *simulation) { s.dropped = fn }
}

// A simulation moves a history through time, as a Throttler does with its own.
type simulation struct {
	policy  Policy
	run     func(n int) (took time.Duration, err error)
	within  func(n int) time.Duration
	dropped func(n int, at time.Duration)
	yield   func(SimulatedRun) bool

	history history
	random  *rand.Rand
	now     instant
	next    instant // when something happens by itself: a run ends, or one is due
	due     instant // of the next run; it may be before now
	cause   Cause   // of the next run

	runs   int          // that have started
	active bool         // a run has not ended
	latest SimulatedRun // the active run, or the last one
	first  int          // number of the first pending call
	calls  int          // number of pending calls
}

// play makes the calls, and plays what they cause.
func (s *simulation) play(calls iter.Seq[time.Duration]) {
	s.random = rand.New(rand.NewPCG(0, 0))
	s.history = newHistory(0, s.random.Float32())
	s.schedule()
	number := 0
	if calls != nil {
		for at := range calls {
			if !s.advance(max(instant(at), s.now)) {
				return
			}
			s.call(number)
			number++
		}
	}
	s.advance(never)
}

// advance plays what happens until to, and at to. It reports false if nobody wants more
// runs.
func (s *simulation) advance(to instant) bool {
	for s.next <= to && s.next != never {
		s.now = s.next
		if !s.active {
			s.start()
		} else if !s.end() {
			return false
		}
		s.schedule()
	}
	s.now = to
	return true
}

// schedule finds out what happens next.
func (s *simulation) schedule() {
	if s.active {
		s.next = instant(s.latest.Ended)
		return
	}
	s.due, s.cause = s.history.due(&s.policy)
	s.next = max(s.due, s.now)
}

// call makes the call with that number now.
func (s *simulation) call(number int) {
	if !s.history.call(&s.policy, s.now, max(s.within(number), 0), s.active) {
		s.dropped(number, time.Duration(s.now))
		return
	}
	if s.calls == 0 {
		s.first = number
	}
	s.calls++
	s.schedule()
}

// start starts the run that is due. It covers what is pending.
func (s *simulation) start() {
	r := SimulatedRun{
		Cause:   s.cause,
		Attempt: int(s.history.failures) + 1,
		Due:     time.Duration(s.due),
		Started: time.Duration(s.now),
		First:   s.first,
		Calls:   s.calls,
	}
	if s.calls > 0 {
		r.Wait = s.now.since(s.history.firstCall)
	}
	s.first, s.calls = 0, 0
	s.history.drop()
	s.history.enter(&s.policy, s.now, s.random.Float32())
	var took time.Duration
	took, r.Err = s.run(s.runs)
	r.Ended = time.Duration(s.now.add(max(took, 0)))
	s.runs++
	s.active, s.latest = true, r
}

// end ends the active run. It reports false if nobody wants more runs.
func (s *simulation) end() bool {
	var v verdict
	if s.latest.Err != nil {
		v = failure(s.latest.Err)
	}
	s.history.finish(&s.policy, s.now, v, false, s.random.Float64())
	if at, _ := s.history.due(&s.policy); s.history.retry && at != never {
		s.latest.Retry = time.Duration(max(at, s.now))
	}
	s.active = false
	return s.yield(s.latest)
}
