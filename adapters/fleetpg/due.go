package fleetpg

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/throttle-go/throttle/fleet/machine"
)

// A place is how far the looks have come among the keys that are due by their state, in the order of
// due and key, and among those that are called in transactions, in their own order.
type place struct {
	due    int64
	key    string
	called string
}

// beginning returns the place before all keys.
func beginning() place { return place{due: math.MinInt64} }

// Due implements [fleet.Engine]. Keys with calls in transactions are due until a claim finds the
// calls.
//
// Count is exact up to 2000 keys, of which 100 may be due only because of such calls. Beyond that it is
// an estimate by the planner's statistics, and at least 2000. Oldest considers the calls of 100 keys.
//
// If more than [machine.MaxDue] keys are due, a look skips a random number of keys after those of this
// engine's last look. So the processes of a fleet do not all see the same keys.
func (e *Engine) Due(ctx context.Context, held []string) (machine.Due, error) {
	if err := e.check(ctx); err != nil {
		return machine.Due{}, err
	}
	at := e.lastPlace()
	if held == nil {
		held = []string{} // nil is NULL
	}
	var d machine.Due
	var oldest, next int64
	err := e.with(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, e.calls.due, e.namespace, held, at.due, at.key, at.called).
			Scan(&at.due, &at.key, &at.called, &d.Keys, &d.Count, &oldest, &next, &d.Now)
	})
	if err != nil {
		return machine.Due{}, failure("", err)
	}
	e.setPlace(at)
	d.Oldest, d.Next = span(oldest), machine.None
	if next >= 0 {
		d.Next = span(next)
	}
	return d, nil
}

// lastPlace returns the place of the last look.
func (e *Engine) lastPlace() place {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.place
}

// setPlace records the place of a look.
func (e *Engine) setPlace(p place) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.place = p
}
