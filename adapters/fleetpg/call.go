package fleetpg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/throttle-go/throttle/fleet/machine"
)

// CallTx makes a call of key as part of the transaction tx on the engine's database. The call
// counts when tx commits; if tx is rolled back, there was no call. So the run that follows sees
// what tx wrote.
//
// Some replica with a throttler of key runs the call when it is due. You cannot wait for that run
// with Do. Quiet and MaxWait count from when a replica finds the call, soon after the commit.
//
// CallTx takes no lock that operations on key wait for. But it notifies, and the server commits
// notifying transactions of all its databases one after the other: see the package documentation.
// Nor can you prepare such a transaction for a two-phase commit. After an error you can only roll tx
// back, as after any failed statement.
//
// CallTx does not check whether the server is durable.
func (e *Engine) CallTx(ctx context.Context, tx pgx.Tx, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, e.calls.call, e.namespace, key, e.channel, payload(machine.Wake{Key: key})); err != nil {
		return fmt.Errorf("throttle: call %q: %w", key, failure(key, err))
	}
	return nil
}
