package throttleprom

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle/adapters/internal/sources"
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

	sources sources.Set

	mu sync.RWMutex // guards the field below

	// +checklocks:mu
	series map[origin]*series // what has been observed
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
		labels = append(labels, "key")
	}
	labels = slices.Clip(labels)
	return &Metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "throttle_runs_total",
			Help: "Runs that have ended, by why they started and what became of them.",
		}, append(labels, "cause", resultLabel)),
		duration: newHistogram("throttle_run_duration_seconds", "Time from a run's start to its end.", append(labels, resultLabel), o),
		lateness: newHistogram("throttle_run_lateness_seconds", "Time from when a run was due to its start.", labels, o),
		wait:     newHistogram("throttle_run_wait_seconds", "Time from the first call that a run covers to its start.", labels, o),
		readings: newReadings(),
		class:    o.class,
		series:   map[origin]*series{},
	}, nil
}

func newHistogram(name, help string, labels []string, o options) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    name,
		Help:    help,
		Buckets: o.bounds,
		// With this factor there are 8 buckets from one power of two to the next, and
		// 160 in a row reach from any value to 2^20 times it. A value that needs one more
		// has all merged in pairs, and the histogram start anew an hour after it was
		// made or last did so; or at once, instead, if that was longer ago.
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
	for _, sum := range m.sources.Sums() {
		m.readings.collect(ch, sum)
	}
}

// observed returns the metrics of what has been observed.
func (m *Metrics) observed() []prometheus.Collector {
	return []prometheus.Collector{m.runs, m.duration, m.lateness, m.wait}
}

// Labels that several metrics have.
const (
	nameLabel   = "throttle"
	resultLabel = "result"
)
