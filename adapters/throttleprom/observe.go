package throttleprom

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/internal/sources"
)

// An origin identifies the series in which a run is counted.
type origin struct {
	name   string
	key    string // the class of the key; empty without a key or a label for it
	cause  throttle.Cause
	result throttle.Result
}

// A series counts the runs of one origin. Origins share histograms: duration is the same
// for all causes, and lateness and wait are the same for all causes and results.
type series struct {
	runs                     prometheus.Counter
	duration, lateness, wait prometheus.Observer
}

// Observe records a finished run. Pass it to [throttle.WithObserver], for any number of
// throttles. Throttles with the same name, or with none, are counted together. The counts
// of a name stay for as long as the program runs, so throttles that come and go should
// share one. A run that covers no call has no wait. Observe allocates only for the first
// run of each kind.
func (m *Metrics) Observe(run throttle.Run) {
	of := origin{name: run.Name, cause: run.Cause, result: run.Result}
	if m.class != nil && run.Key != nil {
		of.key = m.class(run.Key)
	}
	s := m.seriesOf(of)
	s.runs.Inc()
	s.duration.Observe(run.Ended.Sub(run.Started).Seconds())
	s.lateness.Observe(run.Started.Sub(run.Due).Seconds())
	if !run.Asked.IsZero() {
		s.wait.Observe(run.Started.Sub(run.Asked).Seconds())
	}
}

// seriesOf returns the series of an origin, and makes it if there is none. It keeps the
// series because looking up all four metrics by their labels costs more than recording
// the run.
func (m *Metrics) seriesOf(of origin) *series {
	m.mu.RLock()
	s := m.series[of]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	s = m.newSeries(of) // if another goroutine does the same, both hold the same metrics
	m.mu.Lock()
	defer m.mu.Unlock()
	m.series[of] = s
	return s
}

func (m *Metrics) newSeries(of origin) *series {
	labels := []string{sources.Valid(of.name)}
	if m.class != nil {
		labels = append(labels, sources.Valid(of.key))
	}
	labels = slices.Clip(labels)
	cause, result := sources.Valid(string(of.cause)), sources.Valid(string(of.result))
	return &series{
		runs:     m.runs.WithLabelValues(append(labels, cause, result)...),
		duration: m.duration.WithLabelValues(append(labels, result)...),
		lateness: m.lateness.WithLabelValues(labels...),
		wait:     m.wait.WithLabelValues(labels...),
	}
}
