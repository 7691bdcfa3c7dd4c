package fleetpg

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/throttle-go/throttle/fleet/machine"
)

// A place is how far looks have come in the index of due keys, and in the calls of transactions.
type place struct {
	due    int64
	key    string
	called string
}

// beginning returns the place before all keys.
func beginning() place { return place{due: math.MinInt64} }

// Due implements [fleet.Engine]. Of keys that are due because of a call in a transaction, it counts
// 100. Count is exact up to 2000 keys. Beyond that it is at least 2000, and otherwise as good as the
// planner's statistics.
//
// A look at more than [machine.MaxDue] keys goes on near where the previous one of this engine has
// ended. How near is random, so that the processes of a fleet do not all see the same keys.
func (e *Engine) Due(ctx context.Context, held []string) (machine.Due, error) {
	if err := e.check(ctx); err != nil {
		return machine.Due{}, err
	}
	from := e.lookFrom()
	if held == nil {
		held = []string{} // nil is NULL
	}
	var d machine.Due
	var oldest, next int64
	err := e.with(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, e.calls.due, e.namespace, held, from.due, from.key, from.called).
			Scan(&from.due, &from.key, &from.called, &d.Keys, &d.Count, &oldest, &next, &d.Now)
	})
	if err != nil {
		return machine.Due{}, failure("", err)
	}
	e.lookedUpTo(from)
	d.Oldest, d.Next = span(oldest), machine.None
	if next >= 0 {
		d.Next = span(next)
	}
	return d, nil
}

func (e *Engine) lookFrom() place {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.place
}

func (e *Engine) lookedUpTo(p place) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.place = p
}
