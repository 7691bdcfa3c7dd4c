package throttleprom

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle"
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
// the other causes and results.
type series struct {
	runs                     prometheus.Counter
	duration, lateness, wait prometheus.Observer
}

// Observe records a finished run: it is for [throttle.WithObserver], of any number of
// throttlers. Those of the same name, or of none, are counted together. A run that
// covers no call has no wait. Observe allocates for the first run of its kind only.
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
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seriesLocked(of)
}

// seriesLocked is seriesOf for one who has the lock.
//
// +checklocks:m.mu
func (m *Metrics) seriesLocked(of origin) *series {
	if s := m.series[of]; s != nil {
		return s
	}
	labels := []string{label(of.name)}
	if m.class != nil {
		labels = append(labels, label(of.key))
	}
	s := &series{
		duration: m.duration.WithLabelValues(labels...),
		lateness: m.lateness.WithLabelValues(labels...),
		wait:     m.wait.WithLabelValues(labels...),
	}
	s.runs = m.runs.WithLabelValues(append(labels, label(string(of.cause)), label(string(of.result)))...)
	m.series[of] = s
	return s
}

// startLocked shows that no run has been observed under name yet.
//
// +checklocks:m.mu
func (m *Metrics) startLocked(name string) {
	for _, cause := range []throttle.Cause{
		throttle.CauseCall, throttle.CauseRetry, throttle.CauseInterval, throttle.CauseFlush,
	} {
		for _, result := range []throttle.Result{
			throttle.ResultSuccess, throttle.ResultFailure, throttle.ResultPanic, throttle.ResultRetryIn,
		} {
			m.seriesLocked(origin{name: name, cause: cause, result: result})
		}
	}
}

// forgetLocked forgets what has been observed under name.
//
// +checklocks:m.mu
func (m *Metrics) forgetLocked(name string) {
	maps.DeleteFunc(m.series, func(of origin, _ *series) bool { return label(of.name) == name })
	of := prometheus.Labels{nameLabel: name}
	m.runs.DeletePartialMatch(of)
	m.duration.DeletePartialMatch(of)
	m.lateness.DeletePartialMatch(of)
	m.wait.DeletePartialMatch(of)
}
