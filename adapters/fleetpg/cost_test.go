//go:build linux

package fleetpg_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet/machine"
)

// TestEngine_Due_Cost makes more and more keys due, and counts the server's buffers that a look uses.
// The planner's statistics are wrong at first: they must not mislead it.
func TestEngine_Due_Cost(t *testing.T) {
	pool := newDatabase(t).pool(t, "pool_max_conns=1", hasty)
	mustExec(t, pool, "ALTER TABLE throttle.state SET (autovacuum_enabled = off)")
	mustExec(t, pool, "ALTER TABLE throttle.calls SET (autovacuum_enabled = off)")
	const few, many = 5000, 50_000
	insertDue(t, pool, 0, 10)
	mustExec(t, pool, "ANALYZE")
	insertDue(t, pool, 10, few)
	cost := costOfLook(t, pool, few)
	insertDue(t, pool, few, many)
	mustExec(t, pool, `INSERT INTO throttle.state (namespace, key, requested, next, due)
		SELECT 'default', 'later ' || i, 1, 9e15, 9e15 FROM generate_series(1, $1::int) i`, many)
	require.LessOrEqual(t, costOfLook(t, pool, many), cost*3/2, "before ANALYZE")
	mustExec(t, pool, "ANALYZE")
	require.LessOrEqual(t, costOfLook(t, pool, many), cost*3/2, "after ANALYZE")

	due, err := newEngine(t, pool, fleetpg.WithVolatile()).Due(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, due.Keys, machine.MaxDue)
	require.InEpsilon(t, many, due.Count, 0.1)

	// Each of a few keys has many calls.
	mustExec(t, pool, `INSERT INTO throttle.calls (namespace, key, at)
		SELECT 'default', 'called ' || i % 10, i FROM generate_series(1, $1::int) i`, many)
	require.LessOrEqual(t, costOfLook(t, pool, many), cost*3/2, "with calls")
}

// costOfLook returns the highest number of buffers that looks use from random places.
func costOfLook(t *testing.T, pool *pgxpool.Pool, keys int) (highest int) {
	t.Helper()
	for look := range 20 {
		used := buffers(t, pool, fmt.Sprintf("SELECT * FROM throttle.due('default', '{1,2,3}', %d, '%d', '')", rand.N(keys/4000), rand.N(keys)))
		if look > 5 { // the session has its plans
			highest = max(highest, used)
		}
	}
	t.Logf("%d buffers for %d keys", highest, keys)
	return highest
}

// buffers returns how many of the server's buffers a statement uses.
func buffers(t *testing.T, pool *pgxpool.Pool, statement string) int {
	t.Helper()
	var plan []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		} `json:"Plan"`
	}
	require.NoError(t, pool.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+statement).Scan(&plan))
	return plan[0].Plan.Hit + plan[0].Plan.Read
}

// TestEngine_Cost makes operations in a session that has made its plans while there were few keys.
func TestEngine_Cost(t *testing.T) {
	pool := newDatabase(t).pool(t, "pool_max_conns=1", hasty)
	mustExec(t, pool, "ALTER TABLE throttle.state SET (autovacuum_enabled = off)")
	mustExec(t, pool, "ALTER TABLE throttle.calls SET (autovacuum_enabled = off)")
	operate := func(key string) (highest int) {
		for _, call := range []string{
			"claim('default', '%s', false, md5(random()::text), true, -1, 0, 0, 0, 0, 0, 0, 1, '')", "renew('default', '%s', false, 1)",
			"finish('default', '%s', false, 1, true, false, '', false, 0, 0)", "inspect('default', '%s')",
			"forget('default', '%s', false)",
		} {
			highest = max(highest, buffers(t, pool, "SELECT * FROM throttle."+fmt.Sprintf(call, key)))
		}
		return highest
	}
	insertDue(t, pool, 0, 5)
	mustExec(t, pool, "VACUUM ANALYZE")
	for range 10 {
		operate("few")
	}
	insertDue(t, pool, 5, 20_000)
	mustExec(t, pool, `INSERT INTO throttle.calls (namespace, key, at) SELECT 'default', i, i FROM generate_series(1, 20000) i`)
	require.Less(t, operate("many"), 200, "buffers; the tables have more than a thousand")
}

// The first claim of a session must find its plans ready, because others may wait for the row that it
// locks. The buffers of a statement include what the planner reads of the catalog.
func TestEngine_Claim_newSession(t *testing.T) {
	d := newDatabase(t)
	firstClaim := func(before string) int {
		pool := d.pool(t, "pool_max_conns=1", hasty)
		mustExec(t, pool, before)
		return buffers(t, pool, "SELECT * FROM throttle.claim('default', 'key', false, 'id', true, 0, 0, 0, 0, 0, 0, 0, 1, '')")
	}
	unplanned := firstClaim("SELECT 1")
	planned := firstClaim("SELECT throttle.claim(NULL, NULL, false, '', false, 0, 0, 0, 0, 0, 0, 0, 0, '')")
	t.Logf("%d and %d buffers", unplanned, planned)
	assert.Less(t, planned, unplanned/4)

	claims := claimTracer{}
	engine := newEngine(t, d.configured(t, func(c *pgxpool.Config) { c.ConnConfig.Tracer = &claims }, "pool_max_conns=1"))
	for _, key := range []string{"a", "b"} {
		_, err := engine.Claim(t.Context(), key, machine.Claim{ID: key, New: true, Spacing: time.Second, Lease: time.Second})
		require.NoError(t, err)
	}
	assert.Equal(t, []any{nil, "a", "b"}, claims.keys)
}

// A claimTracer records the keys of claims.
type claimTracer struct{ keys []any }

func (c *claimTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if len(data.Args) == 14 {
		c.keys = append(c.keys, data.Args[1])
	}
	return ctx
}

func (c *claimTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
