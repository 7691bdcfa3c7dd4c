// Package throttleprom exports Prometheus metrics of throttles: how often they run and
// why, with what result, how long runs take, how late they start, and what waits.
//
//	metrics := throttle.Must(throttleprom.New())
//	prometheus.MustRegister(metrics)
//
//	http.Handle("/metrics", promhttp.Handler())
//
//	reload := throttle.Must(throttle.New(throttle.Every(time.Second), loadConfig,
//		throttle.WithName("reload"), throttle.WithObserver(metrics.Observe)))
//	metrics.Add(reload)
//
// One [Metrics] is enough for all throttles of a program, whatever their kind.
// [Metrics.Observe] records runs. [Metrics.Add] exports the current state of a throttle at
// each scrape. You can use either without the other. For throttles of package fleet,
// [Metrics.AddEngine] also exports what the process sees of their store.
//
// # Metrics
//
// [Metrics.Observe] records these metrics of runs:
//
//   - throttle_runs_total: finished runs, by cause (call, retry, interval, flush) and
//     result (success, failure, panic, retry_in).
//   - throttle_run_duration_seconds: from a run's start to its end, by result.
//   - throttle_run_lateness_seconds: from when a run was due to its start. Usually this is
//     the lateness of timers and of the scheduler. It is more if the next run is due before
//     the last one ends, or if more keys have runs due than throttle.WithMaxConcurrent
//     allows. Lateness follows the policy at the run's start: if SetPolicy makes a run due
//     in the past, the run is late.
//   - throttle_run_wait_seconds: from the first call that a run covers to the run's start,
//     if it covers one. This is the longest time that any of its calls waited, by design or
//     not.
//
// These are read at each scrape from the throttles given to [Metrics.Add]. Throttles of
// one name are added up:
//
//   - throttle_calls_total: calls accepted or dropped. It appears with the first call, and
//     only if calls are counted: by throttle.WithCallCount, or in a Coalescer,
//     KeyedCoalescer, fleet.Throttler or fleet.Group.
//   - throttle_calls_dropped_total: calls dropped because the policy has no trailing edge.
//   - throttle_calls_refused_total: calls refused because of throttle.WithMaxPending. They
//     are not in throttle_calls_total.
//   - throttle_pending: throttles in which a call or a retry waits for its run.
//   - throttle_running: throttles in which a run is active.
//   - throttle_next_run_timestamp_seconds: when the next run is due, if one is.
//   - throttle_keys: how many keys Groups and KeyedCoalescers hold.
//   - throttle_values: calls whose values wait for a run.
//   - throttle_batches: batches in which these values wait.
//
// throttle_calls_refused_total, throttle_values and throttle_batches appear together with
// throttle_calls_total. They are zero for throttles whose calls carry no values.
//
// A Group, KeyedCoalescer or fleet.Group counts as one throttle. All metrics have the label
// "throttle": the name given with throttle.WithName, or an empty one. Keep the number of
// names small, because the series of each name stay for as long as the program runs. A key
// never becomes a label unless you map it to one with [WithKeyLabel]. In names, bytes that
// are not UTF-8 become U+FFFD.
//
// # Fleets
//
// Pass [Metrics.Observe] to fleet.WithObserver, and each fleet.Throttler or fleet.Group to
// [Metrics.Add]. The metrics above then count the calls and runs of this process. Each other
// process exports its own. throttle_next_run_timestamp_seconds is when the throttler will
// ask the store next. throttle_keys is how many keys a fleet.Group holds in this process.
// These are read at each scrape, too:
//
//   - throttle_claims_total: claims that the store has answered, by verdict: served (no
//     call is pending any more), granted (the replica may run) or deferred (no run is due,
//     or another replica has the grant).
//   - throttle_messages_failed_total: failed attempts to send a claim or a finish.
//   - throttle_grants_late_total: grants that came too late to be used. If there are many,
//     the store is slow, or fleet.WithGuard too short.
//   - throttle_runs_local_total: runs without a grant, because the store could not be
//     reached: see fleet.RunLocal. They are in throttle_runs_total as well.
//   - throttle_leases_lost_total: runs that have lost their lease. Another replica may have
//     run at the same time.
//
// The name of a fleet.Throttler is its key, unless fleet.WithName sets it. If a process has
// throttlers for many keys, give them one name. Their series are then as few as those of one
// throttler, and a scrape of ten thousand takes about 10 ms of processor time. With ten
// thousand names, it takes seconds, and has more than 400 000 lines. A fleet.Group has one
// name for all its keys: the one that fleet.WithName sets, or an empty one.
//
// These are read at each scrape from the engines given to [Metrics.AddEngine]. Their only
// label is "engine", the name given there:
//
//   - throttle_engine_throttlers: throttlers of this process on the engine that are not
//     closed.
//   - throttle_engine_messages_in_flight: messages on their way to the store.
//   - throttle_engine_messages_waiting: messages that wait until others are answered. If
//     many wait for long, the store is slow, or the limit of messages in flight too low.
//   - throttle_engine_unreachable: engines that cannot reach their store, or a part of it: 0
//     or 1 for each.
//   - throttle_engine_due_keys: keys that were due when the process last looked, whichever
//     process holds them. All processes see the same keys, so do not add this up.
//   - throttle_engine_oldest_due_seconds: how long the first of these keys had been due. If
//     it stays above a few seconds, no process runs that key.
//
// # Histograms
//
// The histograms are native, so you choose no buckets. Any quantile is exact to within 10%
// as long as the values fall into no more than 160 buckets. They do if the greatest value
// is less than about 900 000 times the smallest: one second and two microseconds, for
// example. Beyond that, buckets are merged in pairs, and the error grows to 20%, then 42%,
// and so on. The histogram starts anew an hour after it was made or last started anew.
//
// A server stores native histograms if its scrape_native_histograms is set. Before
// Prometheus 3.8 this is the feature flag native-histograms. Other servers, and the text
// format, get only the sum, the count and one bucket for everything. Use
// [WithClassicBuckets] for those.
//
//	histogram_quantile(0.99, sum by (throttle) (rate(throttle_run_duration_seconds[5m])))
//	histogram_quantile(0.99, sum by (throttle, le) (rate(throttle_run_duration_seconds_bucket[5m])))
//
// The first query reads native histograms, the second classic ones.
//
// # Dashboard
//
// The file dashboard.json in this directory is a dashboard for Grafana 11 and later. It
// reads native histograms and, where there are none, classic ones, so it works with either
// unchanged.
package throttleprom
