package throttleprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/throttle-go/throttle/fleet"
)

// fleetReadings describes the metrics that are read from throttlers of a fleet.
type fleetReadings struct {
	claims, failed, late, local, lost *prometheus.Desc
}

func newFleetReadings() fleetReadings {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{nameLabel}, labels...), nil)
	}
	return fleetReadings{
		claims: desc("throttle_claims_total", "Claims that the store has answered, by its verdict.", "verdict"),
		failed: desc("throttle_messages_failed_total", "Failed attempts to send a claim or a finish to the store."),
		late:   desc("throttle_grants_late_total", "Grants that came too late to be used."),
		local:  desc("throttle_runs_local_total", "Runs without a grant, because the store could not be reached."),
		lost:   desc("throttle_leases_lost_total", "Runs that have lost their lease."),
	}
}

// describe sends the descriptions.
func (r fleetReadings) describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{r.claims, r.failed, r.late, r.local, r.lost} {
		ch <- desc
	}
}

// collect sends counts as the metrics of that name.
func (r fleetReadings) collect(ch chan<- prometheus.Metric, name string, counts fleet.Counts) {
	show := func(desc *prometheus.Desc, value uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), append([]string{name}, labels...)...)
	}
	show(r.claims, counts.Served, "served")
	show(r.claims, counts.Granted, "granted")
	show(r.claims, counts.Deferred, "deferred")
	show(r.failed, counts.Failed)
	show(r.late, counts.Late)
	show(r.local, counts.LocalRuns)
	show(r.lost, counts.LostLeases)
}
