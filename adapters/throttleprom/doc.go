// Package throttleprom shows throttlers in Prometheus: how often they run, why, with
// what result, for how long and how late, and what they are up to.
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
// One [Metrics] is enough for all Throttlers, Groups and Coalescers of a program.
// [Metrics.Observe] is for the runs, [Metrics.Add] for what is shown between them; either
// will do without the other.
//
// # Metrics
//
// Of runs, as [Metrics.Observe] is told of them:
//
//   - throttle_runs_total: runs that have ended, by cause (call, retry, interval, flush)
//     and result (success, failure, panic, retry_in).
//   - throttle_run_duration_seconds: from a run's start to its end, by result.
//   - throttle_run_lateness_seconds: from when a run was due to its start. It is the
//     lateness of timers and of the scheduler, unless runs are so slow that the next
//     one is due before, or a Group has more of them than throttle.WithMaxConcurrent
//     lets run. It counts by the policy at the run's start: what SetPolicy makes due in
//     the past is late.
//   - throttle_run_wait_seconds: from the first call that a run covers to its start, if
//     it covers one. It is what a call waits at most, by design or not.
//
// Of what was given to [Metrics.Add], as it is at each scrape, the sum over those of one
// name:
//
//   - throttle_calls_total: calls accepted or dropped; from the first on, and only if
//     they are counted: by throttle.WithCallCount, or in a Coalescer.
//   - throttle_calls_dropped_total: calls dropped because the policy has no trailing edge.
//   - throttle_pending: throttles in which a call or a retry waits for its run.
//   - throttle_running: throttles in which a run is active.
//   - throttle_next_run_timestamp_seconds: when the next run is due, if one is.
//   - throttle_keys: how many keys Groups hold.
//
// A Group is one throttle here. All have the label "throttle", the name that
// throttle.WithName gave, or else an empty one. Names should be few, since the series of
// each stay for as long as the program runs. No key of a Group is ever a label, unless
// [WithKeyLabel] says how. In names, bytes that are not UTF-8 are shown as U+FFFD.
//
// # Histograms
//
// The histograms are native: they need no choice of buckets. They tell any quantile with
// an error of at most 10% while the values fall into no more than 160 buckets, as they do
// if the greatest is less than some 900 000 times the least: a second, and two microseconds.
// Beyond that buckets are merged in pairs, and the error grows to 20%, then to 42%, and so
// on, until the histogram starts anew: an hour after it was made, or last did so.
//
// A server stores native histograms if its scrape_native_histograms is set; one before
// Prometheus 3.8 has a feature flag, native-histograms, instead. To others, and in the
// text format, they show no more than sum, count and the bucket of all; [WithClassicBuckets] is for those.
//
//	histogram_quantile(0.99, sum by (throttle) (rate(throttle_run_duration_seconds[5m])))
//	histogram_quantile(0.99, sum by (throttle, le) (rate(throttle_run_duration_seconds_bucket[5m])))
//
// The first asks native histograms, the second classic ones.
//
// # Dashboard
//
// The file dashboard.json, beside this one, is a dashboard for Grafana 11 and later. It asks
// for native histograms and, where there are none, for classic ones, so it needs no change
// for either.
package throttleprom
