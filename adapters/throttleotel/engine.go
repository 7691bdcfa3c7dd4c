package throttleotel

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/throttle-go/throttle/adapters/internal/sources"
	"github.com/throttle-go/throttle/fleet"
)

// An Engine is an argument of [Telemetry.AddEngine]: any [fleet.Engine], because all of them
// embed a [fleet.Base]. Its Health method is called concurrently, and with no lock held.
type Engine interface {
	Health() fleet.Health
}

// AddEngine exports engine.Health at every collection until you call remove. name becomes
// the attribute throttle.engine, unless it is empty. Engines of one name are added up,
// except that of the times for which keys have been due, the longest counts. AddEngine
// ignores a nil engine and a nil pointer.
//
// The throttlers on engine are not added: pass each of them to [Telemetry.Add].
//
// Until it is removed, engine cannot be garbage collected. remove may be called several
// times, and concurrently.
func (t *Telemetry) AddEngine(name string, engine Engine) (remove func()) {
	return t.engines.Add(name, engine)
}

// engineInstruments are the instruments of Engines.
type engineInstruments struct {
	throttlers, inFlight, waiting, unreachable metric.Int64ObservableUpDownCounter
	dueKeys, oldestDue                         metric.Float64ObservableGauge
}

func newEngineInstruments(i *instruments) engineInstruments {
	return engineInstruments{
		throttlers:  i.level("throttle.engine.throttler.count", "{throttler}", "Throttlers of this process on the engine that are not closed."),
		inFlight:    i.level("throttle.engine.message.in_flight", "{message}", "Messages on their way to the store."),
		waiting:     i.level("throttle.engine.message.waiting", "{message}", "Messages that wait until others are answered."),
		unreachable: i.level("throttle.engine.unreachable", "{engine}", "Engines that cannot reach their store, or a part of it."),
		dueKeys:     i.gauge("throttle.engine.due.count", "{key}", "Keys that were due in the store, whichever process holds them."),
		oldestDue:   i.gauge("throttle.engine.due.oldest", "s", "How long the first of these keys had been due."),
	}
}

// all returns all instruments.
func (i engineInstruments) all() []metric.Observable {
	return []metric.Observable{i.throttlers, i.inFlight, i.waiting, i.unreachable, i.dueKeys, i.oldestDue}
}

// observe sends sum to o.
func (i engineInstruments) observe(o metric.Observer, sum sources.EngineSum) {
	of := metric.WithAttributeSet(attribute.NewSet())
	if sum.Name != "" {
		of = metric.WithAttributeSet(attribute.NewSet(engineKey.String(sum.Name)))
	}
	o.ObserveInt64(i.throttlers, int64(sum.Throttlers), of)
	o.ObserveInt64(i.inFlight, int64(sum.InFlight), of)
	o.ObserveInt64(i.waiting, int64(sum.Waiting), of)
	o.ObserveInt64(i.unreachable, int64(sum.Unreachable), of)
	o.ObserveFloat64(i.dueKeys, float64(sum.DueKeys), of)
	o.ObserveFloat64(i.oldestDue, sum.OldestDue.Seconds(), of)
}
