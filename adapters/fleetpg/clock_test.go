//go:build linux

package fleetpg_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

// This file takes the clock out of the schema: all of its functions read the time from
// the function clock, which tests replace. Nothing else differs from what users run.

// standClock has the schema's clock stand, and returns what sets it.
func standClock(t testing.TB, pool *pgxpool.Pool) (set func(machine.Time)) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `CREATE TABLE public.clock (at bigint NOT NULL); INSERT INTO public.clock VALUES (0);
		CREATE OR REPLACE FUNCTION throttle.clock() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT at FROM public.clock'`)
	require.NoError(t, err)
	return func(now machine.Time) {
		_, err := pool.Exec(t.Context(), "UPDATE public.clock SET at = $1", int64(now))
		require.NoError(t, err)
	}
}
