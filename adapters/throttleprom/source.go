package throttleprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/internal/sources"
)

// This file holds the metrics of what throttlers say of themselves, read at each scrape.

// A Source is what [Metrics.Add] takes: a [*throttle.Throttler], a [*throttle.Coalescer]
// or a [*throttle.Group], whose method Len tells how many keys it holds; whatever else has
// that method counts as a Group. Its methods are called concurrently, with no lock held.
type Source interface {
	Name() string
	Stats() throttle.Stats
}

// Add has every scrape show what source.Stats says, until remove is called, under the
// name that source has now. Those of one name are shown as their sum. The counts of those
// that were removed stay in it for as long as the program runs: to count to the end, close
// source first. A source that is added again is counted again. A nil source, or a nil
// pointer, counts for nothing.
//
// Add does not see runs: for those, source needs [Metrics.Observe] as observer. But it
// shows the runs of that name from zero on, by every cause and result, so that the first
// failure shows as an increase. Those of a source without the observer stay at zero. Those
// of a Group under [WithKeyLabel] show from the first on, since the label is not known
// before.
//
// Metrics keeps source from being garbage collected until it is removed. remove may be
// called several times, and concurrently.
func (m *Metrics) Add(source Source) (remove func()) {
	if !sources.IsNil(source) {
		m.showRuns(source)
	}
	return m.sources.Add(source)
}

// showRuns shows the runs of source before there are any, if their labels are known.
func (m *Metrics) showRuns(source Source) {
	if _, keyed := source.(sources.Keyed); keyed && m.class != nil {
		return
	}
	name := source.Name()
	for _, cause := range []throttle.Cause{
		throttle.CauseCall, throttle.CauseRetry, throttle.CauseInterval, throttle.CauseFlush,
	} {
		for _, result := range []throttle.Result{
			throttle.ResultSuccess, throttle.ResultFailure, throttle.ResultPanic, throttle.ResultRetryIn,
		} {
			m.seriesOf(origin{name: name, cause: cause, result: result})
		}
	}
}

// A readings is what describes the metrics that are read from sources.
type readings struct {
	calls, dropped, pending, running, next, keys *prometheus.Desc
}

func newReadings() readings {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{nameLabel}, nil)
	}
	return readings{
		calls:   desc("throttle_calls_total", "Calls accepted or dropped, if they are counted."),
		dropped: desc("throttle_calls_dropped_total", "Calls dropped because the policy has no trailing edge."),
		pending: desc("throttle_pending", "Throttles in which a call waits for its run, or a failed run for its retry."),
		running: desc("throttle_running", "Throttles in which a run is active."),
		next:    desc("throttle_next_run_timestamp_seconds", "Unix time at which the next run is due, at the earliest while one is active."),
		keys:    desc("throttle_keys", "Keys that groups hold."),
	}
}

// describe hands over what describes the readings.
func (r readings) describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{r.calls, r.dropped, r.pending, r.running, r.next, r.keys} {
		ch <- desc
	}
}

// collect hands over the readings of sum.
func (r readings) collect(ch chan<- prometheus.Metric, sum sources.Sum) {
	show := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64) {
		ch <- prometheus.MustNewConstMetric(desc, kind, value, sum.Name)
	}
	if sum.Calls > 0 { // else it may be that nobody counts
		show(r.calls, prometheus.CounterValue, float64(sum.Calls))
	}
	show(r.dropped, prometheus.CounterValue, float64(sum.Dropped))
	if sum.Sources == 0 {
		return
	}
	show(r.pending, prometheus.GaugeValue, float64(sum.Pending))
	show(r.running, prometheus.GaugeValue, float64(sum.Running))
	if !sum.Next.IsZero() {
		show(r.next, prometheus.GaugeValue, sum.NextUnix())
	}
	if sum.Groups > 0 {
		show(r.keys, prometheus.GaugeValue, float64(sum.Keys))
	}
}
