package throttleprom

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/internal/sources"
)

// This file holds the metrics of runs, each of which is observed as it ends.

// An origin is what decides in which series a run is counted.
type origin struct {
	name   string
	key    string // its class; empty if there is no label for it
	cause  throttle.Cause
	result throttle.Result
}

// A series is where the runs of one origin are counted. The histograms are shared with
// other origins: duration with other causes, the rest with other results, too.
type series struct {
	runs                     prometheus.Counter
	duration, lateness, wait prometheus.Observer
}

// Observe records a finished run: it is for [throttle.WithObserver], of any number of
// throttlers. Those of the same name, or of none, are counted together, for as long as
// the program runs: so throttlers that come and go should share a name. A run that covers
// no call has no wait. Observe allocates for the first run of its kind only.
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

// seriesOf returns the series for of, made if it is the first of its kind. To look all
// four up by their labels costs more than to count and measure.
func (m *Metrics) seriesOf(of origin) *series {
	m.mu.RLock()
	s := m.series[of]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	s = m.newSeries(of) // of others who do the same now, theirs has the same metrics
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
