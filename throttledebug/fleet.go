package throttledebug

import (
	"context"
	"errors"

	"github.com/throttle-go/throttle/fleet"
)

// A replica is a part that a fleet shares.
type replica struct{ *fleet.Throttler }

func (r replica) look(string, []string) Throttle {
	t := newThrottle(fleetKind, r)
	counts := Counts(r.Counts())
	t.Counts = &counts
	return t
}

// errNoFlush is returned by the action flush on a throttle of a fleet: the fleet's interval
// holds for every run.
var errNoFlush = errors.New("a throttle of a fleet cannot be flushed")

func (r replica) act(_ context.Context, action action, _ string) error {
	if action == flush {
		return errNoFlush
	}
	r.Cancel()
	return nil
}

// A fleetGroup is a part with keys that a fleet shares.
type fleetGroup struct {
	group[string]

	counts func() fleet.Counts
}

func newFleetGroup(g *fleet.Group) fleetGroup {
	return fleetGroup{group[string]{fleetKeys{g}, fleetGroupKind, func(key string) { g.Cancel(key) }}, g.Counts}
}

func (g fleetGroup) look(query string, busy []string) Throttle {
	t := g.group.look(query, busy)
	counts := Counts(g.counts())
	t.Counts = &counts
	return t
}

// fleetKeys makes a fleet.Group a keyed.
type fleetKeys struct{ *fleet.Group }

func (fleetKeys) Flush(context.Context, string) error { return errNoFlush }

// An engine is an engine on the page.
type engine struct {
	name   string
	source interface{ Health() fleet.Health }
}

// look returns what the process sees of the engine.
func (e engine) look() Health {
	health := e.source.Health()
	h := Health{
		Name:       text(e.name),
		Throttlers: health.Throttlers,
		InFlight:   health.InFlight,
		Waiting:    health.Waiting,
		DueKeys:    health.DueKeys,
		OldestDue:  health.OldestDue.Seconds(),
	}
	if health.Unreachable != nil {
		h.Unreachable = text(health.Unreachable)
	}
	return h
}
