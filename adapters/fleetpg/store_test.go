//go:build linux

package fleetpg_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/internal/testkit/fleettest"
)

// A store is the server of the scenarios. A trigger in it records the grants.
type store struct {
	database

	prepared bool
}

// An opened engine has its own pool.
type opened struct {
	*fleetpg.Engine

	pool *pgxpool.Pool
}

// open returns the engine of a replica.
func open(addr string) (fleet.Engine, error) {
	pool, err := pgxpool.New(context.Background(), "postgres://postgres@"+addr+"/postgres?sslmode=disable&pool_max_conns=10")
	if err != nil {
		return nil, err
	}
	engine, err := fleetpg.New(pool)
	return &opened{engine, pool}, err
}

// Close closes the pool, and waits for the end of its connections.
func (o *opened) Close() { o.pool.Close() }

func (s *store) Name() string { return "PostgreSQL" }

// Start starts the server, for the first time or after Kill, and waits until it answers.
func (s *store) Start(tb testing.TB) {
	tb.Helper()
	s.start(tb)
	if s.prepared {
		return
	}
	require.NoError(tb, s.migrate())
	require.NoError(tb, s.exec(`
		CREATE TABLE public.grants (number bigint GENERATED ALWAYS AS IDENTITY, key text, token bigint, at bigint);
		CREATE FUNCTION public.record() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO public.grants (key, token, at) VALUES (NEW.key, NEW.token, NEW.granted);
			RETURN NULL;
		END $$;
		CREATE TRIGGER record AFTER UPDATE ON throttle.state
			FOR EACH ROW WHEN (OLD.token <> NEW.token) EXECUTE FUNCTION public.record();
		CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			RAISE EXCEPTION 'out of memory' USING ERRCODE = '53200';
		END $$;
		CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON throttle.state
			FOR EACH STATEMENT EXECUTE FUNCTION public.refuse();
		ALTER TABLE throttle.state DISABLE TRIGGER refuse;
		CREATE TABLE public.clock (shift bigint NOT NULL);
		INSERT INTO public.clock VALUES (0)`))
	s.prepared = true
}

// Kill kills all of the server's processes with SIGKILL, and waits for their end.
func (s *store) Kill(tb testing.TB) {
	tb.Helper()
	s.database.Kill()
}

// Signal sends a signal to all of the server's processes.
func (s *store) Signal(tb testing.TB, sig os.Signal) {
	tb.Helper()
	number, ok := sig.(syscall.Signal)
	require.True(tb, ok)
	s.database.Signal(number)
}

// Wipe deletes the state of fleets, but not the record.
func (s *store) Wipe(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, s.exec("TRUNCATE throttle.state, throttle.calls"))
}

// FlushScripts makes every session compile the functions and plan their statements again, as if
// somebody had replaced them.
func (s *store) FlushScripts(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, s.exec(`DO $$
		DECLARE f regprocedure;
		BEGIN
			FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'throttle'::regnamespace LOOP
				EXECUTE 'ALTER FUNCTION ' || f || ' COST 100';
			END LOOP;
		END $$`))
}

// Refuse makes every write of a state fail, or ends that.
func (s *store) Refuse(tb testing.TB, refuse bool) {
	tb.Helper()
	change := "DISABLE"
	if refuse {
		change = "ENABLE"
	}
	require.NoError(tb, s.exec("ALTER TABLE throttle.state "+change+" TRIGGER refuse"))
}

// Step moves the clock that the functions read by d.
func (s *store) Step(tb testing.TB, d time.Duration) {
	tb.Helper()
	require.NoError(tb, s.exec(`CREATE OR REPLACE FUNCTION throttle.clock() RETURNS bigint LANGUAGE sql SET enable_seqscan = on AS
		'SELECT (date_part(''epoch'', clock_timestamp()) * 1000000)::bigint + shift FROM public.clock'`))
	pool := s.pool(tb, "pool_max_conns=1")
	mustExec(tb, pool, "UPDATE public.clock SET shift = shift + $1", d.Microseconds())
}

// Grants returns the record in the order of the grants.
func (s *store) Grants(tb testing.TB) []fleettest.Grant {
	tb.Helper()
	rows, err := s.pool(tb, "pool_max_conns=1").Query(tb.Context(), "SELECT key, token, at FROM public.grants ORDER BY number")
	require.NoError(tb, err)
	defer rows.Close()
	var grants []fleettest.Grant
	for rows.Next() {
		var g fleettest.Grant
		require.NoError(tb, rows.Scan(&g.Key, &g.Token, &g.At))
		grants = append(grants, g)
	}
	require.NoError(tb, rows.Err())
	return grants
}

// TestScenarios runs the scenarios of package fleettest, or a few typical ones under -short.
func TestScenarios(t *testing.T) {
	var numbers []int
	if testing.Short() {
		numbers = []int{2, 7, 10, 16}
	}
	fleettest.Run(t, &store{database: newServer(t)}, numbers...)
}

// TestStore_Grants tests the record, as the scenarios rely on it.
func TestStore_Grants(t *testing.T) {
	s := &store{database: newServer(t)}
	s.Start(t)
	engine, err := open(s.Addr())
	require.NoError(t, err)
	var tokens []int64
	claim := func(key, id string) {
		reply, err := engine.Claim(t.Context(), key, claimOf(id))
		require.NoError(t, err)
		tokens = append(tokens, reply.Token)
	}
	claim("a", "1")
	s.FlushScripts(t)
	claim("b", "1")
	s.Wipe(t)
	claim("a", "2")
	s.Step(t, time.Hour)
	claim("c", "1")
	s.Refuse(t, true)
	_, err = engine.Claim(t.Context(), "d", claimOf("1"))
	require.ErrorContains(t, err, "out of memory")
	require.NotErrorIs(t, err, fleet.ErrEngineUnavailable)
	s.Refuse(t, false)
	s.Signal(t, syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = engine.Due(ctx, nil)
	require.Error(t, err)
	s.Signal(t, syscall.SIGCONT)
	s.Kill(t)
	s.Kill(t)
	_, err = engine.Due(t.Context(), nil)
	require.Error(t, err)
	s.Start(t)

	grants := s.Grants(t)
	require.Len(t, grants, 4)
	for i, key := range []string{"a", "b", "a", "c"} {
		require.Equal(t, fleettest.Grant{Key: key, Token: tokens[i], At: tokens[i]}, grants[i])
	}
	require.Greater(t, grants[3].At-grants[2].At, time.Hour.Microseconds())
}
