//go:build linux

package fleetpg_test

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

// benchKeys is the number of keys in benchmarks. A replica runs each of them all the time.
const benchKeys = 10_000

func benchPool(b *testing.B) *pgxpool.Pool {
	b.Helper()
	pool := newDatabase(b).pool(b, "pool_max_conns=16")
	mustExec(b, pool, `INSERT INTO throttle.state
			(namespace, key, requested, taken, token, granted, next, span, until, lease, due, owner, policy)
		SELECT 'default', 'key-' || i, 2, 1, 1, 1, 9e15, 3e15, 9e15, 3e15, 9e15, 'claim-of-a-replica-1', 'Interval=1m'
		FROM generate_series(0, $1::int) i`, benchKeys-1)
	mustExec(b, pool, `CREATE TABLE public.bare (namespace text, key text, a bigint, b bigint, PRIMARY KEY (namespace, key))`)
	mustExec(b, pool, `INSERT INTO public.bare SELECT namespace, key, 0, 0 FROM throttle.state`)
	mustExec(b, pool, "VACUUM ANALYZE")
	b.ResetTimer()
	return pool
}

// BenchmarkInServer measures the server's work for a claim without its commit. For comparison,
// "update" only updates a row by its key, the least that any solution needs. The claims are volatile:
// one that does not wait for the disk turns that off for the rest of its transaction.
func BenchmarkInServer(b *testing.B) {
	const claim = `PERFORM throttle.claim('default', k, false, 'claim-' || i || clock_timestamp(), false, -1, 0, 0, 0, 60000000, 0, 0, 10000000, 'Interval=1m')`
	const update = `UPDATE public.bare t SET a = t.a + 1, b = i WHERE t.namespace = 'default' AND t.key = k RETURNING t.a INTO n`
	for name, statement := range map[string]string{"claim": claim, "update": update} {
		b.Run(name, func(b *testing.B) {
			pool := benchPool(b)
			const batch = 500 // in a transaction
			for done := 0; done < b.N; done += batch {
				mustExec(b, pool, fmt.Sprintf(`DO $$ DECLARE k text; n bigint; BEGIN
					FOR i IN %d..%d LOOP k := 'key-' || i %% %d; %s; END LOOP; END $$`, done, done+batch-1, benchKeys, statement))
			}
		})
	}
}

// BenchmarkClaim makes polls over 16 connections. It reports which share of the updates did not
// change the indexes, and the size of the table with its indexes at the end.
func BenchmarkClaim(b *testing.B) {
	pool := benchPool(b)
	engine := newEngine(b, pool)
	var number atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := int(number.Add(1))
			c := machine.Claim{
				ID: "claim-of-benchmark-" + strconv.Itoa(n), Age: machine.None,
				Spacing: 60e9, Lease: 10e9, Policy: "Interval=1m",
			}
			if _, err := engine.Claim(b.Context(), "key-"+strconv.Itoa(n%benchKeys), c); err != nil {
				b.Error(err)
			}
		}
	})
	reportTable(b, pool)
}

// BenchmarkUpdate makes plain updates, to compare BenchmarkClaim with.
func BenchmarkUpdate(b *testing.B) {
	pool := benchPool(b)
	var number atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := number.Add(1)
			var a int64
			err := pool.QueryRow(b.Context(), "UPDATE public.bare SET a = a + 1, b = $1 WHERE namespace = 'default' AND key = $2 RETURNING a",
				n, "key-"+strconv.Itoa(int(n%benchKeys))).Scan(&a)
			if err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkRun claims and finishes runs.
func BenchmarkRun(b *testing.B) {
	pool := benchPool(b)
	engine := newEngine(b, pool)
	var number atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := strconv.Itoa(int(number.Add(1)))
			reply, err := engine.Claim(b.Context(), "new-"+n, claimOf("claim-of-benchmark-"+n))
			if err != nil {
				b.Error(err)
			}
			if _, err := engine.Finish(b.Context(), "new-"+n, machine.Finish{Token: reply.Token, Ran: true}); err != nil {
				b.Error(err)
			}
		}
	})
}

func reportTable(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	var bytes, hot, updates float64
	require.NoError(b, pool.QueryRow(b.Context(), "SELECT pg_total_relation_size('throttle.state')").Scan(&bytes))
	b.ReportMetric(bytes/benchKeys, "B/key")
	require.NoError(b, pool.QueryRow(b.Context(), `SELECT pg_stat_get_tuples_hot_updated(oid) + pg_stat_get_xact_tuples_hot_updated(oid),
		pg_stat_get_tuples_updated(oid) + pg_stat_get_xact_tuples_updated(oid) FROM pg_class WHERE oid = 'throttle.state'::regclass`).Scan(&hot, &updates))
	b.ReportMetric(100*hot/max(updates, 1), "%HOT")
}
