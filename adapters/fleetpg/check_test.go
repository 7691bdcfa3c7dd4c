//go:build linux

package fleetpg_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// requireNotDurable requires that every operation fails because the server is not durable, for
// reason.
func requireNotDurable(t *testing.T, pool *pgxpool.Pool, reason string) {
	t.Helper()
	engine := newEngine(t, pool)
	err := engine.Check(t.Context())
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	require.ErrorContains(t, err, reason)
	_, err = engine.Claim(t.Context(), "key", claimOf("a"))
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	_, err = engine.Finish(t.Context(), "key", machine.Finish{Token: 1, Ran: true})
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	_, err = engine.Renew(t.Context(), "key", 1)
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	_, err = engine.Due(t.Context(), nil)
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	_, err = engine.Inspect(t.Context(), "key")
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	require.ErrorIs(t, engine.Forget(t.Context(), "key"), fleet.ErrNotDurable)

	volatile := newEngine(t, pool, fleetpg.WithVolatile())
	require.NoError(t, volatile.Check(t.Context()))
	requireWorks(t, volatile)
}

func TestEngine_Check_Settings(t *testing.T) {
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		t.Run(setting, func(t *testing.T) {
			d := newServer(t)
			d.start(t, setting+"=off")
			require.NoError(t, d.migrate())
			requireNotDurable(t, d.pool(t), setting+" is off")
		})
	}
	t.Run("of the pool's sessions", func(t *testing.T) {
		d := newDatabase(t)
		requireNotDurable(t, d.pool(t, hasty), "synchronous_commit is off")
		requireWorks(t, newEngine(t, d.pool(t, "synchronous_commit=local")))
	})
	t.Run("of the database", func(t *testing.T) {
		d := newDatabase(t)
		mustExec(t, d.pool(t), "ALTER DATABASE "+d.name+" SET synchronous_commit = off")
		requireNotDurable(t, d.pool(t), "synchronous_commit is off")
	})
}

func TestEngine_Check_Tables(t *testing.T) {
	for _, table := range []string{"state", "calls"} {
		pool := newDatabase(t).pool(t)
		mustExec(t, pool, "ALTER TABLE throttle."+table+" SET UNLOGGED")
		requireNotDurable(t, pool, "a table is unlogged")
	}
}

// TestEngine_SessionSettings changes the settings of a session after the engine has checked the
// server.
func TestEngine_SessionSettings(t *testing.T) {
	pool := newDatabase(t).pool(t, "pool_max_conns=1")
	engine := newEngine(t, pool)
	requireWorks(t, engine)
	before := stored(t, pool, "works "+t.Name(), nil)

	mustExec(t, pool, "SET synchronous_commit = off")
	_, err := engine.Claim(t.Context(), "works "+t.Name(), claimOf("b"))
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	_, err = engine.Finish(t.Context(), "works "+t.Name(), machine.Finish{Token: before.Token, Ran: true})
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	_, err = engine.Renew(t.Context(), "works "+t.Name(), before.Token)
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	require.ErrorIs(t, engine.Forget(t.Context(), "works "+t.Name()), fleet.ErrNotDurable)
	require.Equal(t, before, stored(t, pool, "works "+t.Name(), nil))

	mustExec(t, pool, "RESET synchronous_commit")
	mustExec(t, pool, "SET default_transaction_isolation = 'repeatable read'")
	_, err = engine.Claim(t.Context(), "works "+t.Name(), claimOf("b"))
	require.ErrorContains(t, err, "default_transaction_isolation is not read committed")
	require.NotErrorIs(t, err, fleet.ErrEngineUnavailable)
}

func TestEngine_Check_Encoding(t *testing.T) {
	d := makeDatabase(t, "TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
	require.NoError(t, d.migrate())
	err := newEngine(t, d.pool(t)).Check(t.Context())
	require.ErrorContains(t, err, "the encoding of the database is LATIN1, not UTF8")
}

func TestEngine_Check_Standby(t *testing.T) {
	d := newServer(t)
	d.start(t)
	require.NoError(t, d.migrate())
	d.Kill()
	signal := filepath.Join(d.Folder(), "data", "standby.signal")
	require.NoError(t, os.WriteFile(signal, nil, 0o644))
	d.start(t)
	pool := d.pool(t)
	engine := newEngine(t, pool, fleetpg.WithVolatile())
	_, err := engine.Claim(t.Context(), "key", claimOf("a"))
	require.ErrorContains(t, err, "throttle: check: the server is a standby")
	require.NotErrorIs(t, err, fleet.ErrEngineUnavailable)

	mustExec(t, pool, "SELECT pg_promote()")
	requireWorks(t, engine)
}

func TestEngine_Check_Once(t *testing.T) {
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	mustExec(t, pool, "ALTER TABLE throttle.state SET UNLOGGED")
	_, err := engine.Claim(t.Context(), "key", claimOf("a"))
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	mustExec(t, pool, "ALTER TABLE throttle.state SET LOGGED")
	requireWorks(t, engine)
	mustExec(t, pool, "ALTER TABLE throttle.state SET UNLOGGED")
	_, err = engine.Claim(t.Context(), "key", claimOf("b"))
	require.NoError(t, err, "the engine checks only until it succeeds")
	require.ErrorIs(t, engine.Check(t.Context()), fleet.ErrNotDurable)
}

// TestEngine_KilledServer kills the server right after each confirmed operation, and checks that it
// has kept it. Of claims, those count that are granted, register a call or postpone the run.
func TestEngine_KilledServer(t *testing.T) {
	d := newServer(t)
	d.start(t)
	require.NoError(t, d.migrate())
	const key = "key"
	var token int64
	for _, operate := range []func(engine *fleetpg.Engine) error{
		func(engine *fleetpg.Engine) error {
			reply, err := engine.Claim(t.Context(), key, claimOf("a"))
			token = reply.Token
			return err
		},
		func(engine *fleetpg.Engine) error { // a call during the run
			_, err := engine.Claim(t.Context(), key, claimOf("b"))
			return err
		},
		func(engine *fleetpg.Engine) error { // it postpones the run
			c := claimOf("postpones")
			c.Quiet = time.Hour
			_, err := engine.Claim(t.Context(), key, c)
			return err
		},
		func(engine *fleetpg.Engine) error { // it only sets the limit
			c := claimOf("limits")
			c.Quiet, c.MaxWait = time.Second, 24*time.Hour
			_, err := engine.Claim(t.Context(), key, c)
			return err
		},
		func(engine *fleetpg.Engine) error {
			_, err := engine.Renew(t.Context(), key, token)
			return err
		},
		func(engine *fleetpg.Engine) error {
			_, err := engine.Finish(t.Context(), key, machine.Finish{Token: token, Ran: true})
			return err
		},
		func(engine *fleetpg.Engine) error {
			return pgx.BeginFunc(t.Context(), d.pool(t), func(tx pgx.Tx) error {
				return engine.CallTx(t.Context(), tx, key)
			})
		},
		func(engine *fleetpg.Engine) error { // it finds the call
			_, err := engine.Claim(t.Context(), key, machine.Claim{ID: "c", Age: machine.None, Lease: time.Hour})
			return err
		},
		func(engine *fleetpg.Engine) error { return engine.Forget(t.Context(), key) },
	} {
		before := stored(t, d.pool(t), key, nil)
		engine := newEngine(t, d.pool(t))
		require.NoError(t, engine.Check(t.Context()))
		require.NoError(t, operate(engine))
		after, err := engine.Inspect(t.Context(), key)
		require.NoError(t, err)
		require.NotEqual(t, before, after)
		d.Kill()
		d.start(t)
		kept, err := newEngine(t, d.pool(t)).Inspect(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, after, kept)
	}
}
