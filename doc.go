// Package throttle runs a callback at most once per interval, however many
// goroutines ask for it, and never loses the last request.
//
// Use it for work that must follow every change, but need not be done once per
// change: reload a configuration, write a snapshot, sync rules to the kernel, publish
// an update.
//
//	reload, err := throttle.New(throttle.Every(time.Second), loadConfig)
//	if err != nil {
//		return err
//	}
//	defer reload.Close()
//
//	reload.Call() // runs loadConfig at once, in a goroutine of its own
//	for range 1000 {
//		reload.Call() // all of these are covered by one more run, a second later
//	}
//
// Call never blocks. While a run is pending it costs one atomic load. [Throttler.Do]
// is a Call that waits for its run and returns the callback's error.
// [Throttler.Flush] runs at once what is pending, and waits. [Throttler.Shutdown] runs
// what is pending and closes the Throttler.
//
// A [Group] has one throttler per key. The calls of a [Coalescer] carry values.
//
// # Words
//
// A call asks for a run. A run is one execution of the callback. It covers every call
// that was made before it started and that no earlier run covers. A run is pending
// while a call is not covered, or while a failed run waits for its retry. It is due at
// the instant at which it may and must start.
//
// The window is the time during which spacing, or a failed run's backoff, holds off
// the next run. A call that finds no active run and no window runs at once, on the
// leading edge. Any other call is covered by a run on the trailing edge, at the end
// of the window.
//
// # Policies
//
// A [Policy] says when runs may start. [Every] allows one run per interval. [Debounce]
// waits until calls have stopped for a while, but no longer than a bound. The fields
// combine: Interval with Quiet collects calls and still keeps runs apart, MaxInterval
// adds a run when nobody has called, Retry repeats failed runs with backoff, MaxLoad
// keeps long runs further apart. [Policy.Validate] rejects combinations in which a field
// would have no effect, and [Policy.Clamp] mends them. A Policy prints in words.
// [Throttler.SetPolicy] replaces the policy while calls are pending: a pending run is
// then due when the new policy says. [Simulate] predicts the runs that a policy makes of
// given calls.
//
// A run is due at the earliest of three instants. Permit is the end of the window;
// from then on runs are allowed again.
//
//   - The pending call: not before permit. With Quiet, it waits until Quiet has passed
//     since the last call, or MaxWait since the first. With only a trailing edge, a
//     call outside any window waits for an Interval of its own. [Throttler.CallWithin]
//     and MaxCalls cut these two waits short, but never the wait for permit.
//   - The retry of a failed run: once its delay has passed, but not before permit.
//   - The periodic run: MaxInterval after the last run, but not before permit.
//
// Retries and periodic runs cover the pending calls and ignore Quiet. While a run is
// active, no other run starts.
//
// With Burst, a token bucket decides permit. It holds up to Burst tokens and gains one
// every Interval; each start takes one. A flushed run takes a token if there is one,
// and never makes a debt: with Burst 1, the window restarts at its start.
//
// With MaxLoad, permit also waits until the last run has rested in proportion to the time
// that it took, so that runs take no more than that share of the time. Burst does not pass
// this rest. Jitter shortens each MaxInterval at random, so that many instances do not
// run in step.
//
// # Groups
//
// A [Group] has one throttler for each key. Each tenant's cache, each file's watcher or
// each peer's connection has its own window, and none waits for another.
//
//	refresh, err := throttle.NewGroup(throttle.Every(time.Minute),
//		func(ctx context.Context, tenant string) error { return load(ctx, tenant) },
//		throttle.WithMaxConcurrent(8))
//	…
//	err = refresh.Call("acme") // runs at once; another call within a minute is deferred
//
// A Group holds a key from its first call until its state no longer matters, and then
// forgets it. You never have to delete a key, and a key that is called once needs
// memory for one window only. [WithMaxKeys] bounds the memory for keys that strangers
// choose. [WithMaxConcurrent] limits how many runs are active at once. The guarantees
// below hold for each key.
//
// # Values
//
// The calls of a [Coalescer] hand over values, which wait in batches. A run takes the
// oldest batch. A [Merger] says what a batch is: [Latest] keeps the last value, [Batch]
// keeps all of them, [Merge] merges them two by two, and you can write your own. A
// [KeyedCoalescer] is a Group whose calls carry values.
//
//	write, err := throttle.NewCoalescer(
//		throttle.Policy{Quiet: 10 * time.Millisecond, MaxWait: 10 * time.Millisecond, MaxCalls: 100},
//		throttle.Batch[Record](), func(ctx context.Context, batch []Record) error { return insert(ctx, batch) })
//	…
//	err = write.Call(r)
//
// A batch has the values of at most Policy.MaxCalls calls, and [WithMaxWeight] bounds its
// bytes, or whatever you count; the next value begins another batch. While a batch that
// takes no more waits, a run is due as soon as the window permits. [WithMaxPending]
// bounds what waits in all: Call then returns [ErrFull], and Send waits for room.
//
// If Call returns nil, the value belongs to the Coalescer, with everything that it
// refers to. You must no longer change it; the Merger may. From a run's start the batch
// belongs to the callback. If the callback fails and Policy.Retry repeats the run, the
// batch waits again, as the oldest one. So a callback that fails must leave its batch
// fit to be run again, and must not use it later. A callback that has delivered a part
// returns [Unfinished] with the rest. Values that Cancel returns or a [*LostError]
// reports belong to whoever receives them.
//
// A failed batch is joined with the next one if the Merger has a Join and both fit in
// one. Otherwise it is repeated by itself, and those behind it wait. Backoff.MaxAttempts
// counts the failures of each batch, so that a value is not lost because of an older
// value's failures. Without a Join and without MaxAttempts, a batch that always fails
// holds up all others for ever.
//
// No value disappears in silence. Each is in one run that delivers it, or Cancel returns
// it, or it is reported as lost. A value is lost if its run fails and is not repeated,
// or through Close or the end of the parent context. If the context of a Shutdown ends,
// Shutdown names what it leaves, and what an active run still carries ([ErrUndecided]).
//
// # Fleets
//
// Package fleet, in a directory of this module, shares one throttler among processes,
// over a store that all of them can reach.
//
// # Failures
//
// A run fails if the callback returns an error, panics, or ends its goroutine with
// runtime.Goexit. The Throttler works on after each of these. The error is the
// callback's own, a [*PanicError] or [ErrGoexit]. Everyone who waits for the run in Do,
// Flush, Wait or Shutdown gets it. If nobody waits, it goes to the handler given by
// [WithErrorHandler], or else to slog.Default(). In a Group, these get a [*KeyError].
//
// With Policy.Retry the failed run is repeated. Until then the window stays closed, so
// that calls do not hammer a failing callback; Backoff.Eager lets calls through. A
// callback that knows better when to run again returns [RetryIn], which is no failure:
// whoever waits gets it, but the handler and the log do not. Either lasts until the
// next run has ended: a successful run clears the backoff, even if Flush or an eager
// call started it early.
//
// # Pauses
//
// Once [Throttler.Pause] has returned, no run starts until [Throttler.Resume], whoever
// asks. Calls are kept, and all times go on. Pause is for "built now, started later"
// (with [WithPaused]), for "only while this process leads" and for maintenance. The
// active run goes on; [Throttler.Wait] waits for it. Shutdown of a paused Throttler
// drops what is pending, and says so by [ErrPaused].
//
// # Observation
//
// [Throttler.Stats] is a snapshot. An observer ([WithObserver]) gets a [Run] for each
// finished run; a tracer ([WithTracer]) is also called as a run starts. With [WithName]
// the goroutines of runs carry the pprof label "throttle". While the execution tracer
// of runtime/trace is on, each run's callback is a task there. You pay only for what
// you use.
//
// Package throttledebug serves a live page of throttlers. The modules
// adapters/throttleprom and adapters/throttleotel export them to Prometheus and
// OpenTelemetry.
//
// # Guarantees
//
//   - No overlap. Two runs of one Throttler never overlap. The end of a run is
//     synchronized before the start of the next, so the callback needs no lock for
//     state that nobody else uses.
//   - Spacing. Run starts are at least Interval apart; with FromEnd, a start is at
//     least Interval after the end of the run before. With MaxLoad, a start also comes
//     after the rest of the run before. The exceptions are Flush and Shutdown, and
//     Burst for Interval alone.
//   - No lost call. With the trailing edge on, every call is covered by a run that
//     starts after the call began, unless Cancel or Close dropped the call. This holds
//     even if the callback fails.
//   - No idle run. Every run covers a call, or is due because of MaxInterval or a
//     retry.
//   - Punctual. A run never starts before it is due. It starts later only by as much
//     as the timer and the scheduler are late, or because a run is still active, all
//     turns of WithMaxConcurrent are taken, or the Throttler is paused. Later calls
//     never postpone it, except through Quiet, which MaxWait bounds.
//   - Nothing when idle. A Throttler with nothing pending owns no goroutine and no
//     timer, unless MaxInterval is set. If it also has no parent context, you can leave
//     it to the garbage collector without calling Close.
//   - Close is final. After Close no run starts; one that has just started may still be
//     entering the callback. After Shutdown has returned nil, every earlier call was
//     covered, or dropped by Close, and nothing runs. Once the parent context has
//     ended, no run starts.
//   - No foreign code under a lock. The callback, the handler, observers, tracers and
//     the methods of contexts run with no lock held, and may call any method. The
//     functions of a Merger are the one exception: their Coalescer is locked meanwhile.
//
// Intervals are measured on the monotonic clock, which nobody sets: an instant is the
// time since the Throttler was built. So steps of the wall clock have no effect. Times
// in [Stats] and [Run] follow the wall clock at the moment you get them.
//
// # Concurrency
//
// All methods may be called concurrently, also from the callback, the error handler
// and the observers. Do, Flush, Wait and Shutdown return [ErrReentrant] if you give them
// the context of the active run: they would wait for themselves. A callback or
// hook that waits for its own Throttler with another context waits until that context
// ends, because a run is over only after its hooks.
//
// Each run has a goroutine of its own, which lives as long as the run. Tracers are
// called in it before the callback. The handler, the ends of traces and the observers
// are called after the callback, in this order, before the run counts as over. Their
// panics are not recovered. So to crash on a callback's panic, panic again with the
// [*PanicError] in the handler. Run.Ended, FromEnd and Backoff count from the
// callback's return.
//
// # Memory model
//
// In the terms of the Go memory model, a Call, CallWithin or Do that makes a run
// pending is synchronized before that run's callback. A call that finds a run pending
// is not a synchronizing operation. It loses nothing: whatever the callback reads
// under a mutex or through atomics is at least as new as when the call began.
//
// The reason is that all synchronizing operations, atomics and mutexes together, have
// one total order. The call's load sees "pending", so it comes before the store that
// clears it. A start clears it before its go statement, and only a start or a drop
// leaves it cleared. So the load comes before the callback. The callback therefore
// sees what the caller did before under a mutex or through atomics.
//
// For a Group this holds key by key. A call that hands over a value is synchronized
// before the run that takes the value, whether or not a run was pending.
//
// Plain variables are different: data that a caller writes and the callback reads
// needs its own lock, even with a single caller.
//
//	var mu sync.Mutex
//	var state State
//
//	save := throttle.Must(throttle.New(throttle.Every(time.Second), func() error {
//		mu.Lock()
//		snapshot := state.Clone()
//		mu.Unlock()
//		return write(snapshot)
//	}))
//
//	mu.Lock()
//	state.Count++ // without mu a data race, even if only this goroutine does it
//	mu.Unlock()
//	save.Call()
//
// The race detector shows a missing lock only when a call coalesces. Other calls are
// synchronized by the Throttler's own mutex.
//
// # Ending
//
// [WithContext] closes a Throttler when a context ends, and drops what is pending. At
// the end of a process you seldom want that, because the last change would be lost:
// call Shutdown before the context ends. To tie a Throttler to a context that you get
// later, use
//
//	stop := context.AfterFunc(ctx, func() { t.Close() })
//
// # Testing
//
// The package uses only the standard library's clock and timers. So you can test code
// that uses it in fake time, with testing/synctest. Build and close the Throttler
// inside the bubble, and call synctest.Wait after each time.Sleep. A Throttler that was
// built outside, such as a package's variable, has another clock: a call in the bubble
// that needs the clock panics, before it has changed anything.
//
//	synctest.Test(t, func(t *testing.T) {
//		var runs atomic.Int32
//		reload := throttle.Must(throttle.New(throttle.Every(time.Minute), func() { runs.Add(1) }))
//		defer reload.Close()
//		reload.Call() // at once
//		reload.Call() // a minute later
//		time.Sleep(time.Minute)
//		synctest.Wait()
//		if got := runs.Load(); got != 2 {
//			t.Errorf("%d runs, want 2", got)
//		}
//	})
//
// # Origin
//
// The idea of a deferred call that later calls join comes from the throttler in
// OpenStack Neutron (neutron/agent/common/utils.py, 2016), which relied on cooperative
// threads. Burst is a token bucket, and Backoff is the usual exponential backoff with
// jitter. Nomad's clients put a failed batch of allocation updates back under newer
// values; a Coalescer does the same.
package throttle
