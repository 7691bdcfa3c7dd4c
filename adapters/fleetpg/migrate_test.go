//go:build linux

package fleetpg_test

import (
	"crypto/rand"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// claimOf returns a claim for a new call that the store grants if it can.
func claimOf(id string) machine.Claim {
	return machine.Claim{ID: id, New: true, Age: machine.None, By: machine.MaxNumber, Spacing: 0, Lease: 3600e9}
}

// requireWorks requires that the engine can run a key that no other test uses.
func requireWorks(t *testing.T, engine *fleetpg.Engine) {
	t.Helper()
	reply, err := engine.Claim(t.Context(), "works "+t.Name(), claimOf(rand.Text()))
	require.NoError(t, err)
	require.Equal(t, machine.Granted, reply.Verdict)
	finished, err := engine.Finish(t.Context(), "works "+t.Name(), machine.Finish{Token: reply.Token, Ran: true})
	require.NoError(t, err)
	require.False(t, finished.Stale)
}

func TestMigrate_Concurrent(t *testing.T) {
	// At this isolation level a transaction does not see what others commit meanwhile.
	pool := makeDatabase(t, "").pool(t, "pool_max_conns=16", "default_transaction_isolation=serializable")
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() { assert.NoError(t, fleetpg.Migrate(t.Context(), pool)) })
	}
	group.Wait()
	var versions int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM throttle.version").Scan(&versions))
	require.Equal(t, 1, versions)
}

func TestMigrate_SameVersion(t *testing.T) {
	d := newDatabase(t)
	pool := d.pool(t)
	engine := newEngine(t, pool)
	reply, err := engine.Claim(t.Context(), "key", claimOf("a"))
	require.NoError(t, err)

	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	mustExec(t, pool, "CREATE ROLE reader") // it may only read the version
	mustExec(t, pool, "GRANT USAGE ON SCHEMA throttle TO reader; GRANT SELECT ON throttle.version TO reader")
	_, err = conn.Exec(t.Context(), "SET ROLE reader")
	require.NoError(t, err)
	require.NoError(t, fleetpg.Migrate(t.Context(), conn))
	_, err = conn.Exec(t.Context(), "RESET ROLE; DROP OWNED BY reader; DROP ROLE reader")
	require.NoError(t, err)

	held, err := engine.Renew(t.Context(), "key", reply.Token)
	require.NoError(t, err)
	require.True(t, held)
}

func TestMigrate_ExistingSchema(t *testing.T) {
	pool := makeDatabase(t, "").pool(t)
	mustExec(t, pool, "CREATE SCHEMA throttle; CREATE ROLE owner; ALTER SCHEMA throttle OWNER TO owner")
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), "SET ROLE owner") // it may not create schemas
	require.NoError(t, err)
	require.NoError(t, fleetpg.Migrate(t.Context(), conn.Conn()))
	_, err = conn.Exec(t.Context(), "RESET ROLE; REASSIGN OWNED BY owner TO postgres; DROP OWNED BY owner; DROP ROLE owner")
	require.NoError(t, err)
	requireWorks(t, newEngine(t, pool))
}

func TestMigrate_Permissions(t *testing.T) {
	d := newDatabase(t)
	pool := d.pool(t)
	mustExec(t, pool, `CREATE ROLE program LOGIN; GRANT USAGE ON SCHEMA throttle TO program;
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA throttle TO program`)
	program := d.pool(t, "user=program")
	requireWorks(t, newEngine(t, program))
	require.NoError(t, pgx.BeginFunc(t.Context(), program, func(tx pgx.Tx) error {
		return newEngine(t, program).CallTx(t.Context(), tx, "key")
	}))
	mustExec(t, pool, "DROP OWNED BY program; DROP ROLE program")
}

// TestMigrate_NewerSchema makes the schema newer than the program, as a newer program does during a
// rolling deployment or before a rollback.
func TestMigrate_NewerSchema(t *testing.T) {
	pool := newDatabase(t).pool(t)
	mustExec(t, pool, "INSERT INTO throttle.version (version, oldest) VALUES (7, 1)")
	require.NoError(t, fleetpg.Migrate(t.Context(), pool))
	requireWorks(t, newEngine(t, pool))

	// The latest version counts, not the ones before it.
	mustExec(t, pool, "INSERT INTO throttle.version (version, oldest) VALUES (8, 2)")
	err := fleetpg.Migrate(t.Context(), pool)
	newer := &fleetpg.VersionError{}
	require.ErrorAs(t, err, &newer)
	require.Equal(t, fleetpg.VersionError{Schema: "throttle", Found: 8, Oldest: 2, Known: 1}, *newer)
	require.ErrorContains(t, err, `throttle: schema "throttle" has version 8, which needs a program of version 2 to 8, and this one has 1`)
	_, err = newEngine(t, pool).Claim(t.Context(), "key", claimOf("a"))
	require.ErrorAs(t, err, &newer)
	require.NotErrorIs(t, err, fleet.ErrEngineUnavailable)
	var versions int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM throttle.version").Scan(&versions))
	require.Equal(t, 3, versions, "Migrate has changed a schema that is newer")
}

// TestEngine_NewerFormat works on a row that newer functions have written, but that these can use.
func TestEngine_NewerFormat(t *testing.T) {
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	requireWorks(t, engine)
	mustExec(t, pool, "UPDATE throttle.state SET format = 7")
	requireWorks(t, engine)
	var format int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT format FROM throttle.state").Scan(&format))
	require.Equal(t, 7, format)
}

func TestEngine_MissingSchema(t *testing.T) {
	pool := makeDatabase(t, "").pool(t)
	_, err := newEngine(t, pool).Due(t.Context(), nil)
	missing := &fleetpg.VersionError{}
	require.ErrorAs(t, err, &missing)
	require.Equal(t, fleetpg.VersionError{Schema: "throttle", Found: 0, Known: 1}, *missing)
	require.EqualError(t, missing, `throttle: there is no schema "throttle", and this program needs version 1 of it`)
	require.NotErrorIs(t, err, fleet.ErrEngineUnavailable)
}

func TestMigrate_Failure(t *testing.T) {
	pool := makeDatabase(t, "").pool(t)
	mustExec(t, pool, "CREATE SCHEMA throttle; CREATE TABLE throttle.calls (mine int)")
	require.ErrorContains(t, fleetpg.Migrate(t.Context(), pool), "calls")
	mustExec(t, pool, "DROP TABLE throttle.calls")
	require.NoError(t, fleetpg.Migrate(t.Context(), pool))
	requireWorks(t, newEngine(t, pool))
}

// hostileNames returns names that could break out of quotes.
func hostileNames() []string {
	return []string{`we"ird; DROP SCHEMA throttle; --`, `'`, `''''`, `\`, "new\nline", "{schema}", "é%s", "Throttle", "select", " "}
}

func TestWithSchema(t *testing.T) {
	pool := makeDatabase(t, "").pool(t)
	for _, name := range hostileNames() {
		require.NoError(t, fleetpg.Migrate(t.Context(), pool, fleetpg.WithSchema(name)), "%q", name)
		requireWorks(t, newEngine(t, pool, fleetpg.WithSchema(name)))
	}
	var schemas []string
	rows, err := pool.Query(t.Context(), "SELECT nspname FROM pg_namespace WHERE oid >= 16384 AND nspname NOT LIKE 'pg\\_%'")
	require.NoError(t, err)
	schemas, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.ElementsMatch(t, hostileNames(), schemas)
}

func TestWithNamespace(t *testing.T) {
	pool := newDatabase(t).pool(t)
	for _, name := range []string{"default", "Default", "a'b", `"; --`, " "} {
		requireWorks(t, newEngine(t, pool, fleetpg.WithNamespace(name)))
		// If namespaces shared the key, its generation would be higher.
		reply, err := newEngine(t, pool, fleetpg.WithNamespace(name)).Claim(t.Context(), "works "+t.Name(), claimOf("b"))
		require.NoError(t, err)
		require.EqualValues(t, 2, reply.Generation)
	}

	// A claim does not find a call of another namespace's transaction.
	engine := newEngine(t, pool, fleetpg.WithNamespace("caller"))
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return engine.CallTx(t.Context(), tx, "key")
	}))
	c := claimOf("c")
	c.New = false
	reply, err := newEngine(t, pool).Claim(t.Context(), "key", c)
	require.NoError(t, err)
	require.Equal(t, machine.Served, reply.Verdict)
	due, err := newEngine(t, pool).Due(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, due.Keys)
	due, err = engine.Due(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"key"}, due.Keys)
}

func TestNew_InvalidOptions(t *testing.T) {
	unused, err := pgxpool.New(t.Context(), "postgres://127.0.0.1:1/none")
	require.NoError(t, err)
	defer unused.Close()
	long := string(make([]byte, 65))
	for _, c := range []struct {
		field string
		opt   fleetpg.Option
	}{
		{"Option", nil},
		{"WithSchema", fleetpg.WithSchema("")},
		{"WithSchema", fleetpg.WithSchema("a$b")},
		{"WithSchema", fleetpg.WithSchema("a\x00")},
		{"WithSchema", fleetpg.WithSchema(long[:64])},
		{"WithNamespace", fleetpg.WithNamespace("")},
		{"WithNamespace", fleetpg.WithNamespace(long)},
		{"WithNamespace", fleetpg.WithNamespace("a\n")},
		{"WithNamespace", fleetpg.WithNamespace("é")},
		{"WithMaxInFlight", fleetpg.WithMaxInFlight(0)},
		{"WithMaxInFlight", fleetpg.WithMaxInFlight(1025)},
	} {
		for _, err := range []error{
			fleetpg.Migrate(t.Context(), unused, fleetpg.WithVolatile(), c.opt),
			func() error { _, err := fleetpg.New(unused, fleetpg.WithVolatile(), c.opt); return err }(),
		} {
			problem := &throttle.PolicyError{}
			require.ErrorAs(t, err, &problem)
			require.Equal(t, c.field, problem.Field)
		}
	}
	_, err = fleetpg.New(nil, fleetpg.WithSchema(""))
	require.ErrorContains(t, err, "throttle: New <nil>: pool must not be nil")
	require.ErrorContains(t, err, "WithSchema", "the error must contain all problems")
}
