//go:build linux

package fleetpg_test

import (
	"context"
	"crypto/rand"
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

// TestEngine_CallTx_Quiet checks how calls in transactions postpone a run. Each counts as made when
// a claim finds it.
func TestEngine_CallTx_Quiet(t *testing.T) {
	const second = time.Second
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	set := standClock(t, pool)
	var now machine.Time
	setSeconds := func(seconds int64) {
		now = machine.Time(seconds * second.Microseconds())
		set(now)
	}
	call := func(key string) {
		require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			return engine.CallTx(t.Context(), tx, key)
		}))
	}
	claim := func(key string, c machine.Claim) machine.Reply {
		c.ID, c.By, c.Lease = rand.Text(), now, time.Minute
		reply, err := engine.Claim(t.Context(), key, c)
		require.NoError(t, err)
		return reply
	}
	requireHold := func(hold time.Duration, reply machine.Reply) {
		t.Helper()
		require.Equal(t, machine.Deferred, reply.Verdict)
		require.Equal(t, hold, reply.Hold)
	}
	poll := machine.Claim{Age: machine.None, First: machine.None, Quiet: 10 * second, MaxWait: 25 * second}

	// Each call postpones the run, up to the limit of the first call.
	setSeconds(1000)
	call("key")
	requireHold(10*second, claim("key", poll))
	setSeconds(1004)
	requireHold(6*second, claim("key", poll))
	setSeconds(1009)
	call("key")
	requireHold(10*second, claim("key", poll))
	setSeconds(1018)
	call("key")
	requireHold(7*second, claim("key", poll))
	setSeconds(1025)
	call("key")
	grant := claim("key", poll)
	require.Equal(t, machine.Granted, grant.Verdict)

	// A call during the run has its own limit, and a retry does not change that.
	setSeconds(1030)
	call("key")
	requireHold(10*second, claim("key", poll))
	_, err := engine.Finish(t.Context(), "key", machine.Finish{Token: grant.Token, Ran: true, Again: true})
	require.NoError(t, err)
	setSeconds(1039)
	call("key")
	requireHold(10*second, claim("key", poll))
	setSeconds(1048)
	call("key")
	requireHold(7*second, claim("key", poll))

	// So has a call after the run, even if a retry is pending already.
	setSeconds(1055)
	grant = claim("key", poll)
	require.Equal(t, machine.Granted, grant.Verdict)
	_, err = engine.Finish(t.Context(), "key", machine.Finish{Token: grant.Token, Ran: true, Again: true})
	require.NoError(t, err)
	call("key")
	requireHold(10*second, claim("key", poll))

	// A poll's First has no effect on the call that it finds.
	known := poll
	known.First = 20 * second
	call("known")
	requireHold(10*second, claim("known", known))

	// If a claim registers calls, too, the newest call is the one that it finds, and the first is its own.
	own := poll
	own.New, own.Age, own.First = true, 6*second, 20*second
	call("own")
	requireHold(5*second, claim("own", own))
	own.MaxWait = 0
	call("own without a limit")
	requireHold(10*second, claim("own without a limit", own))
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
