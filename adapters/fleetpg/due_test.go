//go:build linux

package fleetpg_test

import (
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

// insertDue makes keys due by their state, since several instants. Their names are numbers.
func insertDue(t *testing.T, pool *pgxpool.Pool, from, to int) {
	t.Helper()
	mustExec(t, pool, `INSERT INTO throttle.state (namespace, key, requested, next, due)
		SELECT 'default', i, 1, i / 4000, i / 4000 FROM generate_series($1::int, $2::int - 1) i`, from, to)
}

// TestEngine_Due_Count makes keys due by their state, by calls, and by both.
func TestEngine_Due_Count(t *testing.T) {
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	count := func() int {
		due, err := engine.Due(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, due.Keys, min(due.Count, machine.MaxDue))
		return due.Count
	}
	mustExec(t, pool, `INSERT INTO throttle.calls (namespace, key, at) SELECT 'default', i, i FROM generate_series(1, 100) i`)
	require.Equal(t, 100, count())
	insertDue(t, pool, 0, 1)
	require.Equal(t, 101, count())
	insertDue(t, pool, 1, 51)
	require.Equal(t, 101, count(), "half of the calls are of other keys")
	insertDue(t, pool, 201, 2150)
	require.Equal(t, 2050, count())
}

// TestEngine_Due_All looks again and again, until every key has come up: more than Due counts, by
// their state, by calls, and by both.
func TestEngine_Due_All(t *testing.T) {
	const states, keys = 5000, 5500
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	insertDue(t, pool, 0, states)
	mustExec(t, pool, `INSERT INTO throttle.calls (namespace, key, at)
		SELECT 'default', i, i FROM generate_series($1::int, $2::int) i, generate_series(1, 3)`, states-100, keys-1)
	mustExec(t, pool, `INSERT INTO throttle.state (namespace, key, requested, next, due) VALUES ('default', 'later', 1, 9e15, 9e15)`)
	seen := map[string]bool{}
	for looks := 0; len(seen) < keys; looks++ {
		require.Less(t, looks, keys/2, "%d keys were seen", len(seen))
		due, err := engine.Due(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, due.Keys, machine.MaxDue)
		require.GreaterOrEqual(t, due.Count, 2000)
		for _, key := range due.Keys {
			seen[key] = true
		}
	}
	require.NotContains(t, seen, "later")

	// Of those that it is asked for, it returns those that are due by their state or by a call.
	due, err := engine.Due(t.Context(), []string{"1", "later", strconv.Itoa(keys - 1), "unknown"})
	require.NoError(t, err)
	require.Subset(t, due.Keys, []string{"1", strconv.Itoa(keys - 1)})
	require.NotContains(t, due.Keys, "later")
	require.NotContains(t, due.Keys, "unknown")
}
