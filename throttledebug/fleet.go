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
	t.asks = true
	counts := Counts(r.Counts())
	t.Counts = &counts
	return t
}

// errNoFlush is returned by the action flush on a replica: the fleet's interval holds for
// every run.
var errNoFlush = errors.New("a throttler of a fleet cannot be flushed")

func (r replica) act(_ context.Context, action action, _ string) error {
	if action == flush {
		return errNoFlush
	}
	r.Cancel()
	return nil
}

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
