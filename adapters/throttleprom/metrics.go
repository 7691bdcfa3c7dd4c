package throttleprom

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// This file holds Metrics: how it is built, and what it hands to a registry.

// Metrics is the [prometheus.Collector] of a program's throttlers: of what
// [Metrics.Observe] is told of their runs, and of what those given to [Metrics.Add] say
// of themselves when it is scraped. One is enough for all of them.
//
// It is built by [New], and its zero value cannot be used. It must not be copied. Its
// methods may be called concurrently. It owns no goroutine and needs no closing.
type Metrics struct {
	runs     *prometheus.CounterVec
	duration *prometheus.HistogramVec
	lateness *prometheus.HistogramVec
	wait     *prometheus.HistogramVec
	readings readings
	class    func(key any) string // nil: runs have no label for their key

	mu sync.RWMutex // guards the fields below; not held while a source is read

	// +checklocks:mu
	series map[origin]*series // what has been observed
	// +checklocks:mu
	sources map[string]Source // what has been added, by name as it is shown
}

// New returns a Metrics, to be registered with the registry that is scraped. Its error
// joins a [*throttle.PolicyError] for everything that is wrong with opts; without
// options there is none.
//
// For labels that all its metrics are to carry, or a prefix of their names, there are
// [prometheus.WrapRegistererWith] and [prometheus.WrapRegistererWithPrefix].
func New(opts ...Option) (*Metrics, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	labels := []string{nameLabel}
	if o.class != nil {
		labels = append(labels, keyLabel)
	}
	return &Metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "throttle_runs_total",
			Help: "Runs that have ended, by why they started and what became of them.",
		}, append(slices.Clip(labels), "cause", "result")),
		duration: newHistogram("throttle_run_duration_seconds", "Time from a run's start to its end.", labels, o),
		lateness: newHistogram("throttle_run_lateness_seconds", "Time from when a run was due to its start.", labels, o),
		wait:     newHistogram("throttle_run_wait_seconds", "Time from the first call that a run covers to its start.", labels, o),
		readings: newReadings(),
		class:    o.class,
		series:   map[origin]*series{},
		sources:  map[string]Source{},
	}, nil
}

func newHistogram(name, help string, labels []string, o options) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    name,
		Help:    help,
		Buckets: o.bounds,
		// Each at most 10% wider than the one below. Values so far apart that it takes
		// more than 160 of them make them wider for the rest of the hour, or, once that
		// is over, the histogram start anew.
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, observed := range m.observed() {
		observed.Describe(ch)
	}
	m.readings.describe(ch)
}

// Collect implements [prometheus.Collector]. It calls the Stats of all that was added,
// which for a Group takes time in proportion to the keys held.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, observed := range m.observed() {
		observed.Collect(ch)
	}
	m.mu.RLock()
	sources := maps.Clone(m.sources)
	m.mu.RUnlock()
	for name, source := range sources {
		m.readings.collect(ch, name, source)
	}
}

// observed returns the metrics of what has been observed.
func (m *Metrics) observed() []prometheus.Collector {
	return []prometheus.Collector{m.runs, m.duration, m.lateness, m.wait}
}

// Labels that metrics share.
const (
	nameLabel = "throttle"
	keyLabel  = "key"
)

// label returns s as the value of a label, which must be valid UTF-8.
func label(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
