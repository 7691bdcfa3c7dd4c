package throttleprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/internal/sources"
)

// A Source is an argument of [Metrics.Add]: a [*throttle.Throttler], a
// [*throttle.Coalescer], a [*throttle.Group], a [*throttle.KeyedCoalescer], a
// [*fleet.Throttler] or a [*fleet.Group]. A Source with a Len() int method counts as a Group;
// Len is its number of keys. A Source with a Counts() [fleet.Counts] method counts as a
// throttler of a fleet. A fleet.Group has both. The methods of a Source are called
// concurrently, and with no lock held.
type Source interface {
	Name() string
	Stats() throttle.Stats
}

// Add exports source.Stats at every scrape, under the current name of source, until you
// call remove. Sources of one name are added up. The counts of a removed source stay in the
// sum for as long as the program runs. To include its last calls, close source before you
// remove it. A source that is added twice is counted twice. Add ignores a nil source and a
// nil pointer.
//
// Add does not see runs: pass [Metrics.Observe] to source as its observer. But Add starts
// the run counters of that name at zero, for every cause and result, so that the first
// failure shows as an increase. Without the observer they stay at zero. Under
// [WithKeyLabel] those of a source with keys start with the first run, because the label is
// unknown before.
//
// Until it is removed, source cannot be garbage collected. remove may be called several
// times, and concurrently.
func (m *Metrics) Add(source Source) (remove func()) {
	if sources.IsNil(source) {
		return func() {}
	}
	m.showRuns(source)
	return m.sources.Add(source)
}

// showRuns starts the run counters of source at zero, if their labels are known.
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

// readings describes the metrics that are read from sources.
type readings struct {
	calls, dropped, refused, pending, running, next, keys, values, batches *prometheus.Desc
}

func newReadings() readings {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{nameLabel}, nil)
	}
	return readings{
		calls:   desc("throttle_calls_total", "Calls accepted or dropped, if they are counted."),
		dropped: desc("throttle_calls_dropped_total", "Calls dropped because the policy has no trailing edge."),
		refused: desc("throttle_calls_refused_total", "Calls refused because too many values wait."),
		pending: desc("throttle_pending", "Throttles in which a call waits for its run, or a failed run for its retry."),
		running: desc("throttle_running", "Throttles in which a run is active."),
		next:    desc("throttle_next_run_timestamp_seconds", "Unix time at which the next run is due, at the earliest while one is active."),
		keys:    desc("throttle_keys", "Keys that groups and keyed coalescers hold."),
		values:  desc("throttle_values", "Calls whose values wait for a run."),
		batches: desc("throttle_batches", "Batches of values that wait for a run."),
	}
}

// describe sends the descriptions.
func (r readings) describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		r.calls, r.dropped, r.refused, r.pending, r.running, r.next, r.keys, r.values, r.batches,
	} {
		ch <- desc
	}
}

// collect sends the metrics of sum.
func (r readings) collect(ch chan<- prometheus.Metric, sum sources.Sum) {
	show := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64) {
		ch <- prometheus.MustNewConstMetric(desc, kind, value, sum.Name)
	}
	counted := sum.Calls > 0 // 0 may mean that calls are not counted, which Coalescers always do
	if counted {
		show(r.calls, prometheus.CounterValue, float64(sum.Calls))
		show(r.refused, prometheus.CounterValue, float64(sum.Refused))
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
	if counted {
		show(r.values, prometheus.GaugeValue, float64(sum.Values))
		show(r.batches, prometheus.GaugeValue, float64(sum.Batches))
	}
}
