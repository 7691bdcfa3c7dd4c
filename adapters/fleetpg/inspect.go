package fleetpg

import (
	"context"
	"errors"
	"math"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/throttle-go/throttle/fleet/machine"
)

// Inspect implements [fleet.Engine]. The identifiers of claims are hashes, in decimal. A call in a
// transaction counts as requested once that has committed, though no claim has found it yet. The
// error is a [*fleet.StateError] if the row of key is not valid.
func (e *Engine) Inspect(ctx context.Context, key string) (machine.State, error) {
	if err := e.ready(ctx, key); err != nil {
		return machine.State{}, err
	}
	var s machine.State
	err := e.with(ctx, func(conn *pgxpool.Conn) (err error) {
		if s, err = scanState(conn.QueryRow(ctx, e.calls.inspect, e.namespace, key)); err != nil {
			return err
		}
		var called bool
		err = conn.QueryRow(ctx, e.calls.called, e.namespace, key).Scan(&called)
		if called {
			s.Requested = max(s.Requested, s.Taken+1)
		}
		return err
	})
	if err != nil {
		return machine.State{}, failure(key, err)
	}
	return s, nil
}

// scanState returns the state in row, which is valid. It is the zero State if there is none.
func scanState(row pgx.Row) (s machine.State, err error) {
	var ahead, lease, failures int64
	var ids, at []int64
	err = row.Scan(&s.Requested, &s.Acknowledged, &s.Taken, &s.Token, &s.Granted, &s.Next, &ahead, &s.Limit, &s.Owner,
		&s.Until, &lease, &s.Policy, &failures, &s.Last.From, &s.Last.Through, &s.Last.Token, &s.Last.Outcome.Failed,
		&s.Last.Outcome.Message, &ids, &at)
	if errors.Is(err, pgx.ErrNoRows) {
		return machine.State{}, nil
	}
	s.Span, s.Lease, s.Failures = span(ahead), span(lease), int(min(failures, math.MaxInt))
	for i, id := range ids {
		s.IDs = append(s.IDs, machine.Recent{ID: strconv.FormatInt(id, 10), At: machine.Time(at[i])})
	}
	return s, err
}

// Forget implements [fleet.Engine]. It also deletes the calls of key made in transactions.
func (e *Engine) Forget(ctx context.Context, key string) error {
	if err := e.ready(ctx, key); err != nil {
		return err
	}
	err := e.with(ctx, func(conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, e.calls.forget, e.namespace, key, !e.volatile)
		return err
	})
	if err != nil {
		return failure(key, err)
	}
	return nil
}
