// Package throttleotel tells OpenTelemetry what throttles do: a span and metrics of
// every run, and what waits for one.
//
//	telemetry, err := throttleotel.New() // with the global providers
//	...
//	reload := throttle.Must(throttle.New(throttle.Every(time.Second), loadConfig,
//		throttle.WithName("reload"), throttle.WithTracer(telemetry.Trace)))
//	telemetry.Add(reload)
//
// One [Telemetry] is enough for all Throttlers, Groups and Coalescers of a program.
// [Telemetry.Trace] is for the runs, [Telemetry.Add] for what is told between them;
// either will do without the other. Who wants metrics only, or spans only, gives a
// no-op provider for the rest: see [WithTracerProvider] and [WithMeterProvider].
//
// # Spans
//
// A span lasts from the start of the run's first tracer to the callback's return, and
// spans that the callback begins with its context are its children. It is named
// "throttle.run" and the throttle's name. A run may be for many callers, so it is a
// child of none of them: it is the root of a trace of its own, or a child of the span
// in the context of [throttle.WithContext] if that carries one, and it is linked to the
// spans in which Do was called for it, of the first 16 calls of Do, in a span or not.
// Samplers see the links, and these attributes:
//
//	throttle.name     the name that throttle.WithName gave
//	throttle.cause    why the run started: call, retry, interval, flush
//	throttle.attempt  1, and one more for each failed run in a row before it
//	throttle.calls    how many calls it covers, if they are counted
//	throttle.wait     seconds from the first of them to the start, if it covers one
//	throttle.key      of a Group, if WithKeys asks for it
//
// At the end come
//
//	throttle.result   success, failure, panic, retry_in
//	error.type        of the error, if the run failed
//
// The span of a run that failed has the status Error, and the error as an exception
// event, a panic's with its stack. [throttle.RetryIn] is no failure.
//
// # Metrics
//
//	throttle.runs          counter    {run}  name, cause, result  runs that have ended
//	throttle.run.duration  histogram  s      name, result         from the run's start to the callback's return
//	throttle.run.lateness  histogram  s      name                 from when a run was due to its start
//	throttle.run.wait      histogram  s      name                 from the first call that it covers to its start
//
// are of runs, from the first on. What follows is of sources that were added, and has
// the attribute throttle.name alone:
//
//	throttle.calls         counter          {call}      calls accepted or dropped
//	throttle.call.dropped  counter          {call}      those dropped, as there is no trailing edge
//	throttle.pending       up-down counter  {throttle}  throttles in which a call or a retry waits
//	throttle.running       up-down counter  {throttle}  throttles in which a run is active
//	throttle.run.due       gauge            s           Unix time at which the next run is due, if one is
//	throttle.key.count     up-down counter  {key}       keys that Groups hold
//
// There is no throttle.calls unless calls are counted: see [throttle.WithCallCount].
// Throttles of one name are told as their sum. A Group is one throttle here, and has no
// more series than another: a key is never an attribute of a metric. Measurements of
// runs are made in the context of the run's span, for exemplars. The histograms'
// boundaries reach from 100 µs to 5 min; a view may set others. Lateness counts by the
// policy at the run's start: what SetPolicy makes due in the past is late.
//
// In all that is told, bytes that are not UTF-8 become U+FFFD: a receiver would refuse
// everything that is sent along with them.
package throttleotel
