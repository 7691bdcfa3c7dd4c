//go:build linux

package main

import "time"

// A plan is a fleet whose keys are all called all the time on every replica.
type plan struct {
	replicas, keys int
	interval       time.Duration
	guard          time.Duration
}

func largeFleet() plan { return plan{replicas: 100, keys: 10_000, interval: interval, guard: guard} }

// A demand is the load of a plan on a store: numbers per second, processors, and bytes.
type demand struct {
	runs, claims, wakes, looks float64
	cores                      float64
	bytes                      float64
}

// demand returns the demand of p on a store. Each replica makes the given number of claims
// of each key between two runs, and looks per second for keys that are due. A look counts
// as a claim. Each key has as many recent claims as the store remembers.
func (p plan) demand(claims, looks float64, l load, c runCost) demand {
	d := demand{runs: float64(p.keys) / (p.interval + p.guard).Seconds()}
	d.claims = d.runs * float64(p.replicas) * claims
	d.wakes = d.runs * float64(p.replicas)
	d.looks = float64(p.replicas) * looks
	// The claim of a grant is counted already: this is the rest.
	grants := d.runs * max(0, c.grant-l.few.cpu)
	d.cores = (d.claims*l.few.cpu + grants + d.wakes*c.wake + d.looks*l.few.cpu) / float64(time.Second)
	d.bytes = float64(p.keys) * (l.hotKey + l.most - l.hotState)
	return d
}
