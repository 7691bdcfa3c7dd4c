package throttleprom

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle/adapters/internal/sources"
)

// Metrics is a [prometheus.Collector] for the throttles of a program. It collects the runs
// that [Metrics.Observe] recorded, the Stats of the sources given to [Metrics.Add], and the
// Health of the engines given to [Metrics.AddEngine]. One is enough for a whole program.
//
// Create one with [New]; the zero value cannot be used. A Metrics must not be copied. Its
// methods may be called concurrently. It starts no goroutine and needs no closing.
type Metrics struct {
	runs           *prometheus.CounterVec
	duration       *prometheus.HistogramVec
	lateness       *prometheus.HistogramVec
	wait           *prometheus.HistogramVec
	readings       readings
	fleetReadings  fleetReadings
	engineReadings engineReadings
	class          func(key any) string // nil: runs have no label for their key

	sources sources.Set
	engines sources.Engines

	mu sync.RWMutex // guards the field below

	// +checklocks:mu
	series map[origin]*series // one for each kind of run observed so far
}

// New returns a Metrics. Register it with the registry that is scraped. If opts are
// invalid, the error joins one [*throttle.PolicyError] for each problem. Without options
// the error is nil.
//
// To add labels to all metrics, or a prefix to their names, register the Metrics with
// [prometheus.WrapRegistererWith] or [prometheus.WrapRegistererWithPrefix].
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
			Help: "Runs that have ended, by cause and result.",
		}, append(labels, "cause", resultLabel)),
		duration:       newHistogram("throttle_run_duration_seconds", "Time from a run's start to its end.", append(labels, resultLabel), o),
		lateness:       newHistogram("throttle_run_lateness_seconds", "Time from when a run was due to its start.", labels, o),
		wait:           newHistogram("throttle_run_wait_seconds", "Time from the first call that a run covers to its start.", labels, o),
		readings:       newReadings(),
		fleetReadings:  newFleetReadings(),
		engineReadings: newEngineReadings(),
		class:          o.class,
		series:         map[origin]*series{},
	}, nil
}

func newHistogram(name, help string, labels []string, o options) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    name,
		Help:    help,
		Buckets: o.bounds,
		// This factor gives 8 buckets between powers of two, so 160 buckets in a row reach
		// from any value to 2^20 times it. A value that needs one more merges all buckets
		// in pairs, and the histogram starts anew an hour after it was made or last started
		// anew. If that hour is over already, it starts anew at once instead.
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
	m.fleetReadings.describe(ch)
	m.engineReadings.describe(ch)
}

// Collect implements [prometheus.Collector]. It calls Stats on every source added. With
// keys, that takes time in proportion to their number. For a [*fleet.Throttler] it takes
// about a microsecond.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, observed := range m.observed() {
		observed.Collect(ch)
	}
	for _, sum := range m.sources.Sums() {
		m.readings.collect(ch, sum)
		if sum.Fleet {
			m.fleetReadings.collect(ch, sum.Name, sum.Counts)
		}
	}
	for _, sum := range m.engines.Sums() {
		m.engineReadings.collect(ch, sum)
	}
}

// observed returns the metrics that Observe records.
func (m *Metrics) observed() []prometheus.Collector {
	return []prometheus.Collector{m.runs, m.duration, m.lateness, m.wait}
}

// Labels used by several metrics.
const (
	nameLabel   = "throttle"
	engineLabel = "engine"
	resultLabel = "result"
)
