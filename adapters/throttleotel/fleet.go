package throttleotel

import (
	"go.opentelemetry.io/otel/metric"

	"github.com/throttle-go/throttle/fleet"
)

// fleetInstruments are the instruments of throttlers of a fleet.
type fleetInstruments struct {
	claims, failed, late, local, lost metric.Int64ObservableCounter
}

func newFleetInstruments(i *instruments) fleetInstruments {
	return fleetInstruments{
		claims: i.total("throttle.claims", "{claim}", "Claims that the store has answered."),
		failed: i.total("throttle.message.failed", "{message}", "Failed attempts to send a claim or a finish to the store."),
		late:   i.total("throttle.grant.late", "{grant}", "Grants that came too late to be used."),
		local:  i.total("throttle.run.local", "{run}", "Runs without a grant, because the store could not be reached."),
		lost:   i.total("throttle.lease.lost", "{lease}", "Runs that have lost their lease."),
	}
}

// all returns all instruments.
func (i fleetInstruments) all() []metric.Observable {
	return []metric.Observable{i.claims, i.failed, i.late, i.local, i.lost}
}

// observe sends counts to o as the measurements of that name.
func (i fleetInstruments) observe(o metric.Observer, name string, counts fleet.Counts) {
	o.ObserveInt64(i.claims, number(counts.Served), named(name, verdictKey.String("served")))
	o.ObserveInt64(i.claims, number(counts.Granted), named(name, verdictKey.String("granted")))
	o.ObserveInt64(i.claims, number(counts.Deferred), named(name, verdictKey.String("deferred")))
	of := named(name)
	o.ObserveInt64(i.failed, number(counts.Failed), of)
	o.ObserveInt64(i.late, number(counts.Late), of)
	o.ObserveInt64(i.local, number(counts.LocalRuns), of)
	o.ObserveInt64(i.lost, number(counts.LostLeases), of)
}
