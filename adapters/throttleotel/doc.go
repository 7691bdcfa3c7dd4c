// Package throttleotel exports OpenTelemetry traces and metrics of throttles: a span and
// measurements of every run, and how many throttles wait for one.
//
//	telemetry, err := throttleotel.New() // with the global providers
//	...
//	reload := throttle.Must(throttle.New(throttle.Every(time.Second), loadConfig,
//		throttle.WithName("reload"), throttle.WithTracer(telemetry.Trace)))
//	telemetry.Add(reload)
//
// One [Telemetry] is enough for all throttles of a program, whatever their kind.
// [Telemetry.Trace] records runs. [Telemetry.Add] exports the current state of a throttle
// at each collection. You can use either without the other. For throttles of package fleet,
// [Telemetry.AddEngine] also exports what the process sees of their store. To get only metrics or only
// spans, pass a no-op provider for the other: see [WithTracerProvider] and
// [WithMeterProvider].
//
// # Spans
//
// A span lasts from the start of the run's first tracer to the callback's return. Spans
// that the callback starts with its context are its children. The name of the span is
// "throttle.run" and the throttle's name. A run may serve many callers, so its span is not
// a child of any of them. It is the root of its own trace, or a child of the span in the
// context given to [throttle.WithContext], if there is one. It is linked to the spans of
// the first 16 calls of Do that the run serves; calls outside of a span count among the 16.
// Samplers see the links and these attributes:
//
//	throttle.name     the name that throttle.WithName gave
//	throttle.cause    why the run started: call, retry, interval, flush
//	throttle.attempt  1, and one more for each failed run in a row before it
//	throttle.calls    how many calls it covers, if they are counted
//	throttle.wait     seconds from the first of them to the start, if it covers one
//	throttle.key      of a Group, KeyedCoalescer or fleet.Group, with WithKeys
//
// The end of the run adds
//
//	throttle.result   success, failure, panic, retry_in
//	error.type        of the error, if the run failed
//
// The span of a failed run has the status Error and an exception event with the error. For
// a panic the event includes the stack. [throttle.RetryIn] is not a failure.
//
// # Metrics
//
// [Telemetry.Trace] records, from the first run on:
//
//	throttle.runs          counter    {run}  name, cause, result  runs that have ended
//	throttle.run.duration  histogram  s      name, result         from the run's start to the callback's return
//	throttle.run.lateness  histogram  s      name                 from when a run was due to its start
//	throttle.run.wait      histogram  s      name                 from the first call that it covers to its start
//
// These are read at each collection from the sources given to [Telemetry.Add], with
// throttle.name as the only attribute:
//
//	throttle.calls         counter          {call}      calls accepted or dropped
//	throttle.call.dropped  counter          {call}      calls dropped because the policy has no trailing edge
//	throttle.call.refused  counter          {call}      calls refused because of throttle.WithMaxPending
//	throttle.pending       up-down counter  {throttle}  throttles in which a call or a retry waits
//	throttle.running       up-down counter  {throttle}  throttles in which a run is active
//	throttle.run.due       gauge            s           Unix time at which the next run is due, if one is
//	throttle.key.count     up-down counter  {key}       keys that Groups and KeyedCoalescers hold
//	throttle.value.count   up-down counter  {call}      calls whose values wait for a run
//	throttle.batch.count   up-down counter  {batch}     batches in which these values wait
//
// There is no throttle.calls unless calls are counted: see [throttle.WithCallCount]. A
// [fleet.Throttler] or [fleet.Group] always counts them. It does not include refused calls.
// throttle.call.refused, throttle.value.count and throttle.batch.count appear together with
// it. They are zero for throttles whose calls carry no values.
//
// Throttles of one name are added up. A Group, KeyedCoalescer or fleet.Group counts as one
// throttle and has no more series than any other, because a key is never an attribute of a
// metric. Runs are measured in the context of their span, for exemplars. The boundaries of
// the histograms range from 100 µs to 5 min; a view can set others. Lateness follows the
// policy at the run's start: if SetPolicy makes a run due in the past, the run is late.
//
// # Fleets
//
// Pass [Telemetry.Trace] to [fleet.WithTracer], and each [fleet.Throttler] or [fleet.Group] to
// [Telemetry.Add]. The metrics above then count the calls and runs of this process. Each other
// process exports its own. throttle.run.due is when the throttler will ask the store next.
// throttle.key.count is how many keys a [fleet.Group] holds in this process. If a grant turns
// out to be too late once its span has started, the span and throttle.runs show a failed run,
// although the callback was not called. These are read at each collection, too:
//
//	throttle.claims          counter  {claim}    name, verdict  claims that the store has answered
//	throttle.message.failed  counter  {message}  name           failed attempts to send a claim or a finish
//	throttle.grant.late      counter  {grant}    name           grants that came too late to be used
//	throttle.run.local       counter  {run}      name           runs without a grant, by fleet.RunLocal
//	throttle.lease.lost      counter  {lease}    name           runs that have lost their lease
//
// throttle.verdict is served (no call is pending any more), granted (the replica may run) or
// deferred (no run is due, or another replica has the grant). Local runs are in throttle.runs
// as well.
//
// The name of a [fleet.Throttler] is its key, unless [fleet.WithName] sets it. If a process
// has throttlers for many keys, give them one name: then their series are as few as those of
// one throttler. A [fleet.Group] has one name for all its keys: the one that [fleet.WithName]
// sets, or none.
//
// These are read at each collection from the engines given to [Telemetry.AddEngine], with
// throttle.engine, the name given there, as the only attribute:
//
//	throttle.engine.throttler.count    up-down counter  {throttler}  throttlers of this process that are not closed
//	throttle.engine.message.in_flight  up-down counter  {message}    messages on their way to the store
//	throttle.engine.message.waiting    up-down counter  {message}    messages that wait until others are answered
//	throttle.engine.unreachable        up-down counter  {engine}     1 if the store, or a part of it, cannot be reached
//	throttle.engine.due.count          gauge            {key}        keys that were due, whichever process holds them
//	throttle.engine.due.oldest         gauge            s            how long the first of them had been due
//
// All processes see the same due keys, so do not add these up. If the first one stays due for
// more than a few seconds, no process runs that key.
//
// # Text
//
// In all exported text, bytes that are not UTF-8 become U+FFFD. Otherwise a receiver would
// refuse the whole batch.
package throttleotel
