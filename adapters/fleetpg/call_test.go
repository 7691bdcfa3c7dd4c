//go:build linux

package fleetpg_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

func TestEngine_CallTx(t *testing.T) {
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	mustExec(t, pool, "CREATE TABLE public.orders (id int)")
	poll := func(id string) machine.Reply {
		c := claimOf(id)
		c.New = false
		reply, err := engine.Claim(t.Context(), "key", c)
		require.NoError(t, err)
		return reply
	}
	due := func() []string {
		d, err := engine.Due(t.Context(), nil)
		require.NoError(t, err)
		return d.Keys
	}

	// After a rollback there was no call.
	failed := errors.New("failed")
	require.ErrorIs(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		require.NoError(t, engine.CallTx(t.Context(), tx, "key"))
		return failed
	}), failed)
	require.Empty(t, due())
	require.Equal(t, machine.Served, poll("a").Verdict)

	// Before the commit there is no call, and nobody waits for the transaction.
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "INSERT INTO public.orders VALUES (1)")
	require.NoError(t, err)
	require.NoError(t, engine.CallTx(t.Context(), tx, "key"))
	require.Equal(t, machine.Served, poll("b").Verdict)
	require.Empty(t, due())
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return engine.CallTx(t.Context(), tx, "another key")
	}))
	require.Equal(t, []string{"another key"}, due())

	// After the commit the key is due, and the transaction's writes are visible.
	require.NoError(t, tx.Commit(t.Context()))
	require.ElementsMatch(t, []string{"key", "another key"}, due())
	state, err := engine.Inspect(t.Context(), "key")
	require.NoError(t, err)
	require.EqualValues(t, 1, state.Requested)
	grant := poll("c")
	require.Equal(t, machine.Granted, grant.Verdict)
	var orders int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM public.orders").Scan(&orders))
	require.Equal(t, 1, orders)
	require.Equal(t, []string{"another key"}, due())

	// A call during the run needs another run.
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return engine.CallTx(t.Context(), tx, "key")
	}))
	require.Contains(t, due(), "key")
	_, err = engine.Finish(t.Context(), "key", machine.Finish{Token: grant.Token, Ran: true})
	require.NoError(t, err)
	require.Contains(t, due(), "key")
	again := poll("d")
	require.Equal(t, machine.Granted, again.Verdict)
	_, err = engine.Finish(t.Context(), "key", machine.Finish{Token: again.Token, Ran: true})
	require.NoError(t, err)
	require.Equal(t, machine.Served, poll("e").Verdict)

	// Who forgets a key forgets its calls, too.
	require.NoError(t, engine.Forget(t.Context(), "another key"))
	require.Empty(t, due())
	state, err = engine.Inspect(t.Context(), "another key")
	require.NoError(t, err)
	require.Zero(t, state)
}

// TestEngine_CallTx_Run checks that throttlers run a key that only a transaction has called.
func TestEngine_CallTx_Run(t *testing.T) {
	d := newDatabase(t)
	pool := d.pool(t)
	mustExec(t, pool, "CREATE TABLE public.orders (id int)")
	seen := make(chan int, 10)
	for range 2 { // replicas
		engine := newEngine(t, d.pool(t))
		replica, err := fleet.New(engine, "orders", throttle.Every(50*time.Millisecond), func(ctx context.Context) error {
			var orders int
			err := pool.QueryRow(ctx, "SELECT count(*) FROM public.orders").Scan(&orders)
			seen <- orders
			return err
		})
		require.NoError(t, err)
		defer func() { assert.NoError(t, replica.Close()) }()
	}
	engine := newEngine(t, pool)
	for i := range 3 {
		require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if err := engine.CallTx(t.Context(), tx, "orders"); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), "INSERT INTO public.orders VALUES (1)")
			return err
		}))
		committed := time.Now()
		for orders := 0; orders != i+1; {
			select {
			case orders = <-seen:
				require.LessOrEqual(t, orders, i+1)
			case <-time.After(patience):
				require.FailNow(t, "no run came", "for call %d", i)
			}
		}
		t.Log("run after", time.Since(committed))
	}
}

func TestEngine_CallTx_InvalidKeys(t *testing.T) {
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		for _, key := range invalidKeys() {
			require.ErrorContains(t, engine.CallTx(t.Context(), tx, key), "key")
		}
		return engine.CallTx(t.Context(), tx, "key") // tx is still good
	}))
	d, err := engine.Due(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"key"}, d.Keys)
}
