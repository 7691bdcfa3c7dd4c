// Package throttle runs a callback at most once per interval, however many
// goroutines ask for it, and never loses the last request.
//
// It is for work that must follow every change but need not be done for each:
// reload a configuration, write a snapshot, sync rules to the kernel, publish
// what has changed.
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
// Call never blocks, and while a run is pending it costs one atomic load. [Throttler.Do]
// is a Call that waits for its run and returns the callback's error;
// [Throttler.Flush] runs now what is pending, and waits; [Throttler.Shutdown]
// ends it all cleanly.
//
// A [Group] is a throttle per key, and the calls of a [Coalescer] carry values.
//
// # Words
//
// A call asks for a run; a run is one execution of the callback. A run covers
// every call made before it started and not covered yet. A run is pending while
// a call is not covered, or while a failed run waits for its retry; it is due at
// the instant at which it may and must start.
//
// The window is the time during which spacing, or a failed run's backoff, keeps
// the next run away. A call that comes when no run is active and the window is
// over runs at once, on the leading edge; one that cannot is covered by a run on
// the trailing edge, at the window's end.
//
// # Policies
//
// A [Policy] says when runs may start. [Every] is one run per interval.
// [Debounce] waits until calls have stopped for a while, no longer than a bound.
// The fields combine: Interval with Quiet batches and keeps its distance,
// MaxInterval adds a run when nobody has called, Retry repeats failures with
// backoff. [Policy.Validate] refuses combinations in which a field would have no
// effect. [Throttler.SetPolicy] replaces the policy while calls are pending:
// what is pending is then due when the new policy says.
//
// A run is due at the earliest of three instants. Call permit the window's end,
// from which runs are allowed again.
//
//   - The pending call: not before permit; with Quiet, once that has passed since
//     the last call, or MaxWait since the first; with a trailing edge alone, a
//     call outside any window waits for an Interval of its own; [Throttler.CallWithin]
//     and MaxCalls cut these two waits short, but never the wait for permit.
//   - The retry of a failed run: once its delay has passed, not before permit.
//   - The periodic run: MaxInterval after the last one, not before permit.
//
// A retry and a periodic run cover the calls that are pending, and take no notice
// of Quiet. While a run is active nothing starts.
//
// With Burst, permit is that of a token bucket: it holds Burst tokens, gains one
// every Interval, and a start takes one. A flushed run takes one if it is there
// and makes no debt if not: with Burst 1 the window restarts at its start.
//
// # Groups
//
// A [Group] has one throttle for each key: each tenant's cache, file's watcher or
// peer's connection has its own window, and none waits for another.
//
//	refresh, err := throttle.NewGroup(throttle.Every(time.Minute),
//		func(ctx context.Context, tenant string) error { return load(ctx, tenant) },
//		throttle.WithMaxConcurrent(8))
//	…
//	err = refresh.Call("acme") // at once; the next one within a minute is deferred
//
// A key is held from its first call until its state decides nothing any more,
// and is then forgotten: no key is to be removed, and what is called once needs
// memory for one window only. [WithMaxKeys] bounds the memory for keys that
// strangers choose, [WithMaxConcurrent] how many runs are active at once. All the
// guarantees below hold for each key.
//
// # Values
//
// A [Coalescer]'s calls hand over values. Those of one run are merged, by [Latest]
// into the last, by [Append] into a batch, or as a merge of one's own says, and
// the callback gets what has come of them.
//
//	write, err := throttle.NewCoalescer(
//		throttle.Policy{Quiet: 10 * time.Millisecond, MaxWait: 10 * time.Millisecond, MaxCalls: 100},
//		throttle.Append[Record], func(ctx context.Context, batch []Record) error { return insert(ctx, batch) })
//	…
//	err = write.Call([]Record{r})
//
// A value that Call has taken, by returning nil, belongs to the Coalescer, with all
// that it refers to: the caller no longer changes it, and merge may. From a run's
// start it belongs to the callback, and if that fails and Policy.Retry repeats the
// run it goes back, as the older side of what has been handed over since; so a
// callback that fails must leave the value fit to be merged, and not use it later.
// What Cancel returns and a [*LostError] reports belongs to who receives it.
//
// No value disappears in silence. Each is in one run that succeeds, or Cancel
// returns it, or it is reported as lost: because its run failed and is not
// repeated, or because of Close or the end of the parent context.
//
// # Fleets
//
// Package fleet, in a folder of this module, shares one throttle among processes, over a
// store that they all reach.
//
// # Failures
//
// A run fails if the callback returns an error, panics, or ends its goroutine
// with runtime.Goexit. After each the Throttler works on. The error goes to those
// who wait for the run in Do, Flush or Shutdown; if nobody does, to the handler
// given by [WithErrorHandler], else to slog.Default(). It is the callback's own
// error, a [*PanicError] or [ErrGoexit].
//
// With Policy.Retry the failed run is repeated, and the window stays closed until
// then, so that calls do not hammer a callback that fails; Backoff.Eager lets
// them. A callback that knows better when to run again returns [RetryIn]. What a
// run demands holds until the next run has ended: one that succeeds, because
// Flush or an eager call started it earlier, leaves nothing of the backoff.
//
// # Observation
//
// [Throttler.Stats] is a snapshot, [WithObserver] hands over a [Run] for each that
// is over, and [WithTracer] is called when one starts, too. With [WithName] the
// goroutines of runs carry the pprof label "throttle", and while the execution
// tracer of runtime/trace is on, each run's callback is a task there. None of these
// costs anything where it is not used.
//
// Package throttledebug serves a live page of it all, and the modules
// adapters/throttleprom and adapters/throttleotel hand it to Prometheus and to
// OpenTelemetry.
//
// # Guarantees
//
//   - No overlap. Two runs of one Throttler never overlap, and the end of a run
//     is synchronized before the start of the next: the callback needs no lock
//     for state that nobody else uses.
//   - Spacing. Run starts keep Interval between them, or with FromEnd an end and
//     the next start do, but for Burst, Flush and Shutdown.
//   - No lost call. With the trailing edge on, every call is covered by a run
//     that starts after the call began, unless Cancel or Close dropped it. What
//     becomes of a run's callback changes nothing in this.
//   - No idle run. A run covers a call, or is due by MaxInterval or as a retry.
//   - Punctual. A run never starts before it is due, and after it only by the
//     lateness of timer and scheduler, or because a run is still active, or all
//     turns of WithMaxConcurrent are taken. Later calls never postpone it, except
//     by Quiet, which MaxWait bounds.
//   - Nothing when idle. A Throttler with nothing pending owns no goroutine and no
//     timer, unless MaxInterval is set. Without a parent context it can be
//     dropped for the garbage collector without Close.
//   - Close is final. After Close no run starts; one that has just started may
//     still be entering the callback. After Shutdown has returned nil every
//     earlier call was covered, or dropped by Close, and nothing runs. Once the
//     parent context has ended no run starts.
//   - No foreign code under a lock. Callback, handler, observers, tracers and the
//     methods of contexts run with no lock held, and may call any method. A
//     Coalescer's merge is the one exception: its Coalescer is locked meanwhile.
//
// Intervals are measured on the monotonic clock, which neither an administrator
// nor NTP sets: every instant is the time since the Throttler was built, by
// readings that both carry it. So the wall clock may be stepped without effect.
// Times in [Stats] and [Run] are what the wall clock shows when they are taken.
//
// # Concurrency
//
// All methods may be called concurrently, and from the callback, the error
// handler and the observers too. What would wait for itself, Do, Flush or
// Shutdown with the context of the active run, returns [ErrReentrant]. A callback
// or hook that waits for its own Throttler with another context waits until that
// context ends, since a run is over only after its hooks.
//
// A run is a goroutine of its own, which lives as long as the run. Tracers are
// called in it before the callback; handler, ends of traces and observers, in this
// order, after the callback and before the run counts as over. Their panics are not
// recovered: a handler that panics with the [*PanicError] it is given ends the
// process, as the callback's panic would have. Run.Ended, FromEnd and Backoff count
// from the callback's return.
//
// # Memory model
//
// In the terms of the Go memory model: a Call, CallWithin or Do that makes a run
// pending is synchronized before that run's callback. A call that finds a run
// pending is not a synchronizing operation. It has lost nothing by that: whatever
// the callback reads under a mutex or by atomics is at least as new as when the
// call began.
//
// For all synchronizing operations, atomics and mutexes together, have one total
// order. The call's load sees "pending", so it comes before the store that
// clears it. A start clears it before its go statement, and nothing but a start
// or a drop leaves it cleared. So the load comes before the callback, and what
// the caller did before, under a mutex or by atomics, is seen by what the
// callback does.
//
// For a Group this holds key by key. A Coalescer's Call is synchronized before the
// run that takes its value, whether a run was pending or not.
//
// Plain variables are another matter: data that a caller writes and the callback
// reads needs its lock, even with a single caller.
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
// The race detector shows a forgotten lock only when a call coalesces: the others
// are synchronized by the Throttler's own mutex.
//
// # Ending
//
// [WithContext] makes a Throttler end with a context, by dropping what is
// pending. At the end of a process that is seldom wanted, as the last change
// would be lost: call Shutdown before the context ends. A context that comes to
// be known later is tied by
//
//	stop := context.AfterFunc(ctx, func() { t.Close() })
//
// # Testing
//
// The package uses the standard library's clock and timers only, so code that
// uses it is tested with testing/synctest, in fake time. Build and close the
// Throttler inside the bubble, and call synctest.Wait after each time.Sleep:
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
// The idea, a deferred call that later ones join, is that of the throttler in
// OpenStack Neutron (neutron/agent/common/utils.py, 2016), which relied on
// cooperative threads. The bucket of Burst is a token bucket; the backoff doubles
// and jitters as is usual. A failed batch that goes back under newer values is
// what Nomad's clients do with allocation updates.
package throttle
