package throttleprom

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle"
)

// This file holds the metrics of what throttlers say of themselves, read at each scrape.

// A Source is what [Metrics.Add] takes: a [*throttle.Throttler], a [*throttle.Coalescer]
// or a [*throttle.Group], whose method Len tells how many keys it holds. Its methods are
// called concurrently, with no lock held.
type Source interface {
	Name() string
	Stats() throttle.Stats
}

// A keyed is a source that holds keys: a Group.
type keyed interface{ Len() int }

var (
	// ErrNoName is returned by Add for a source that was not given a name with
	// [throttle.WithName], whose metrics nobody could tell from others', and for nil.
	ErrNoName = errors.New("throttleprom: source has no name")

	// ErrNameTaken is returned by Add for a source of the same name as one that was
	// added before. Bytes of a name that are not UTF-8 count as equal.
	ErrNameTaken = errors.New("throttleprom: name is taken")
)

// Add has every scrape show the Stats of s, under the name that it has now, and its runs
// from zero on, so that the first failure shows as an increase. Add does not see the runs
// themselves: for those, s needs [Metrics.Observe] as observer.
//
// It returns [ErrNoName] or [ErrNameTaken], and then has changed nothing. Metrics keeps s
// until [Metrics.Remove], closed or not. What lasts as long as the program need not be
// removed.
func (m *Metrics) Add(s Source) error {
	if s == nil {
		return ErrNoName
	}
	name := label(s.Name())
	if name == "" {
		return ErrNoName
	}
	_, hasKeys := s.(keyed)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sources[name] != nil {
		return fmt.Errorf("%w: %s", ErrNameTaken, name)
	}
	m.sources[name] = s
	if m.class == nil || !hasKeys { // else the label of its runs is not known yet
		m.startLocked(name)
	}
	return nil
}

// Remove forgets the source of the given name, and the runs that were observed under it,
// so that both can be garbage collected, and the name given anew. It reports whether
// there was such a source. It is for throttlers that end before the program does; call it
// after Shutdown, as a run observed later would be shown again.
func (m *Metrics) Remove(name string) bool {
	name = label(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	_, added := m.sources[name]
	delete(m.sources, name)
	m.forgetLocked(name)
	return added
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
		pending: desc("throttle_pending", "1 if a call waits for its run or a failed run for its retry, of any key, else 0."),
		running: desc("throttle_running", "1 if a run is active, of any key, else 0."),
		next:    desc("throttle_next_run_timestamp_seconds", "Unix time at which the next run is due, at the earliest while one is active."),
		keys:    desc("throttle_keys", "Keys that a group holds."),
	}
}

// describe hands over what describes the readings.
func (r readings) describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{r.calls, r.dropped, r.pending, r.running, r.next, r.keys} {
		ch <- desc
	}
}

// collect hands over the readings of s, shown as name.
func (r readings) collect(ch chan<- prometheus.Metric, name string, s Source) {
	show := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64) {
		ch <- prometheus.MustNewConstMetric(desc, kind, value, name)
	}
	stats := s.Stats()
	if stats.Calls > 0 { // else it may be that nobody counts
		show(r.calls, prometheus.CounterValue, float64(stats.Calls))
	}
	show(r.dropped, prometheus.CounterValue, float64(stats.Dropped))
	show(r.pending, prometheus.GaugeValue, truth(stats.Pending))
	show(r.running, prometheus.GaugeValue, truth(stats.Running))
	if !stats.Next.IsZero() {
		show(r.next, prometheus.GaugeValue, unix(stats.Next))
	}
	if group, ok := s.(keyed); ok {
		show(r.keys, prometheus.GaugeValue, float64(group.Len()))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unix returns t in seconds. UnixNano ends in 2262, which is within a policy's reach.
func unix(t time.Time) float64 {
	return float64(t.Unix()) + float64(t.Nanosecond())/1e9
}
