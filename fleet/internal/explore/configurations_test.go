package explore_test

import (
	"github.com/throttle-go/throttle/fleet/internal/explore"
	"github.com/throttle-go/throttle/fleet/machine"
)

// In tables, the long name would hide what differs from line to line.
type configuration = explore.Configuration

// of returns budgets for one fault of each kind. A kind that is given twice may happen twice.
func of(kinds ...explore.Kind) (budgets [explore.KindCount]int) {
	for _, k := range kinds {
		budgets[k]++
	}
	return budgets
}

// small returns a configuration of two replicas with so many calls, hints, and faults of the
// given kinds.
func small(calls, hints, faults int, kinds ...explore.Kind) configuration {
	return configuration{
		Replicas: 2, Calls: calls, Hints: hints,
		Interval: 2, Guard: 1, Lease: 7, Second: explore.Policy{Interval: 1, Guard: 2},
		Run: 1, Slow: 2, Patience: 4, Retries: []int{1, 5}, Step: 5,
		Faults: faults, Of: of(kinds...),
	}
}

// with returns c, changed by changes.
func with(c configuration, changes ...func(*configuration)) configuration {
	for _, change := range changes {
		change(&c)
	}
	return c
}

func local(c *configuration)      { c.Local = true }
func group(c *configuration)      { c.Group = true }
func three(c *configuration)      { c.Replicas = 3 }
func shortLease(c *configuration) { c.Lease, c.Run = 3, 2 }

// quiet debounces, without an interval.
func quiet(c *configuration)     { c.Interval, c.Quiet, c.MaxWait, c.Slack = 0, 2, 4, 1 }
func slack(c *configuration)     { c.Slack, c.MaxWait = 2, 0 }
func spaced(c *configuration)    { c.Interval = 2 }
func unlimited(c *configuration) { c.MaxWait = 0 }
func far(c *configuration)       { c.Step = 60 }
func near(c *configuration)      { c.Step = 1 }
func slowThere(c *configuration) { c.There = 1 }
func slowBack(c *configuration)  { c.Back = 1 }

// forgetful makes ticks so long that the store forgets claims within a search.
func forgetful(c *configuration) { c.Tick, c.Patience = machine.KeepIDs/5, 2 }
