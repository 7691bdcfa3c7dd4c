package throttleprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle/adapters/internal/sources"
	"github.com/throttle-go/throttle/fleet"
)

// An Engine is an argument of [Metrics.AddEngine]: any [fleet.Engine], because all of them
// embed a [fleet.Base]. Its Health method is called concurrently, and with no lock held.
type Engine interface {
	Health() fleet.Health
}

// AddEngine exports engine.Health at every scrape until you call remove. name becomes the
// label "engine". Engines of one name are added up, except that of the times for which keys
// have been due, the longest counts. AddEngine ignores a nil engine and a nil pointer.
//
// The throttlers on engine are not added: pass each of them to [Metrics.Add].
//
// Until it is removed, engine cannot be garbage collected. remove may be called several
// times, and concurrently.
func (m *Metrics) AddEngine(name string, engine Engine) (remove func()) {
	return m.engines.Add(name, engine)
}

// engineReadings describes the metrics that are read from Engines.
type engineReadings struct {
	throttlers, inFlight, waiting, unreachable, dueKeys, oldestDue *prometheus.Desc
}

func newEngineReadings() engineReadings {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{engineLabel}, nil)
	}
	return engineReadings{
		throttlers:  desc("throttle_engine_throttlers", "Throttlers of this process on the engine that are not closed."),
		inFlight:    desc("throttle_engine_messages_in_flight", "Messages on their way to the store."),
		waiting:     desc("throttle_engine_messages_waiting", "Messages that wait until others are answered."),
		unreachable: desc("throttle_engine_unreachable", "Engines that cannot reach their store, or a part of it."),
		dueKeys:     desc("throttle_engine_due_keys", "Keys that were due in the store, whichever process holds them."),
		oldestDue:   desc("throttle_engine_oldest_due_seconds", "How long the first of these keys had been due."),
	}
}

// describe sends the descriptions.
func (r engineReadings) describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		r.throttlers, r.inFlight, r.waiting, r.unreachable, r.dueKeys, r.oldestDue,
	} {
		ch <- desc
	}
}

// collect sends the metrics of sum.
func (r engineReadings) collect(ch chan<- prometheus.Metric, sum sources.EngineSum) {
	show := func(desc *prometheus.Desc, value float64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, sum.Name)
	}
	show(r.throttlers, float64(sum.Throttlers))
	show(r.inFlight, float64(sum.InFlight))
	show(r.waiting, float64(sum.Waiting))
	show(r.unreachable, float64(sum.Unreachable))
	show(r.dueKeys, float64(sum.DueKeys))
	show(r.oldestDue, sum.OldestDue.Seconds())
}
