// Package throttleprom shows throttlers in Prometheus: how often they run, why, with
// what result, for how long and how late, and what they are up to.
//
//	metrics := throttle.Must(throttleprom.New())
//	prometheus.MustRegister(metrics)
//
//	reload, err := throttle.New(throttle.Every(time.Second), loadConfig,
//		throttle.WithName("reload"), throttle.WithObserver(metrics.Observe))
//	if err != nil {
//		return err
//	}
//	if err := metrics.Add(reload); err != nil {
//		return err
//	}
//	http.Handle("/metrics", promhttp.Handler())
//
// One [Metrics] is enough for all Throttlers, Groups and Coalescers of a program.
//
// # Metrics
//
// Of runs, as [Metrics.Observe] is told of them:
//
//   - throttle_runs_total: runs that have ended, by cause (call, retry, interval, flush)
//     and result (success, failure, panic, retry_in).
//   - throttle_run_duration_seconds: from a run's start to its end.
//   - throttle_run_lateness_seconds: from when a run was due to its start. It is the
//     lateness of timers and of the scheduler, unless runs are so slow that the next
//     one is due before, or a Group has more of them than throttle.WithMaxConcurrent
//     lets run.
//   - throttle_run_wait_seconds: from the first call that a run covers to its start, if
//     it covers one. It is what a call waits at most, by design or not.
//
// Of what was given to [Metrics.Add], as it is at each scrape:
//
//   - throttle_calls_total: calls accepted or dropped; from the first on, and only if
//     they are counted: by throttle.WithCallCount, or in a Coalescer.
//   - throttle_calls_dropped_total: calls dropped because the policy has no trailing edge.
//   - throttle_pending, throttle_running: 1 or 0.
//   - throttle_next_run_timestamp_seconds: when the next run is due, if one is.
//   - throttle_keys: how many keys a Group holds.
//
// All have the label "throttle", the name that throttle.WithName gave. No key of a Group
// is ever a label, unless [WithKeyLabel] says how. In names, bytes that are not UTF-8 are
// shown as U+FFFD.
//
// # Histograms
//
// The histograms are native: they need no choice of buckets, and tell any quantile with
// an error of at most 10%. A server stores them if its scrape_native_histograms is set; one
// before Prometheus 3.8 has a feature flag, native-histograms, instead. To others, and in
// the text format, they show no more than sum and count; [WithClassicBuckets] is for those.
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
