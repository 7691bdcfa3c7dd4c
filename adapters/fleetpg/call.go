package fleetpg

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/throttle-go/throttle/fleet/machine"
)

// This file makes calls in transactions.

// CallTx makes a call of key, in all of the fleet, that is part of the transaction tx on
// the engine's database. It counts once tx commits, and not at all if that is rolled
// back. So the run that follows sees what tx has written: the call becomes visible with it.
//
// A replica with a throttler of key runs it, when that is due: a call made by CallTx
// alone is for no Do to wait for. CallTx takes no lock that an operation on key waits for.
// But it notifies, and the server lets transactions that do, in all of its databases,
// commit one after the other: see the package's documentation. Such a transaction cannot be
// prepared for a two-phase commit. As after any failed statement, tx can only be rolled
// back after an error.
//
// Whether the server is durable is tx's matter, and not checked.
func (e *Engine) CallTx(ctx context.Context, tx pgx.Tx, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, e.calls.call, e.namespace, key, e.channel, payload(machine.Wake{Key: key})); err != nil {
		return failure("call", key, err)
	}
	return nil
}
