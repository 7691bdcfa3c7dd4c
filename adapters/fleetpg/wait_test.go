//go:build linux

package fleetpg_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet/machine"
)

// TestEngine_Claim_Context lets a claim wait for the lock of its row until its context ends.
func TestEngine_Claim_Context(t *testing.T) {
	d := newDatabase(t)
	pool := d.pool(t, "pool_max_conns=1")
	other := d.pool(t)
	engine := newEngine(t, pool)
	requireWorks(t, engine)
	key := "works " + t.Name()
	before := stored(t, other, key, nil)

	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM throttle.state FOR UPDATE")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = engine.Claim(ctx, key, claimOf("b"))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	// The server must give it up too, and the pool must replace its only connection.
	eventually(t, other, 0, "wait_event_type = 'Lock'")
	_, err = engine.Due(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, before, stored(t, other, key, nil))
}

// patience is how long to wait for something that must come, however busy the machine is.
const patience = 30 * time.Second

// eventually waits until the condition holds for n sessions of the database.
func eventually(t *testing.T, pool *pgxpool.Pool, n int, condition string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var found int
		err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity "+
			"WHERE datname = current_database() AND pid <> pg_backend_pid() AND "+condition).Scan(&found)
		require.NoError(c, err)
		require.Equal(c, n, found)
	}, patience, 10*time.Millisecond)
}

// receive receives from a channel. It fails the test if nothing comes.
func receive[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
	}
	return value
}

// TestEngine_ClockAfterLock checks that operations read the clock after they get the lock of their
// row. An earlier instant would let runs come too close.
func TestEngine_ClockAfterLock(t *testing.T) {
	d := newDatabase(t)
	pool, other := d.pool(t), d.pool(t)
	engine := newEngine(t, pool)
	grant, err := engine.Claim(t.Context(), "key", claimOf("a"))
	require.NoError(t, err)
	for _, operation := range []func() (machine.Time, error){
		func() (machine.Time, error) {
			reply, err := engine.Claim(t.Context(), "key", claimOf("b"))
			return reply.Now, err
		},
		func() (machine.Time, error) {
			held, err := engine.Renew(t.Context(), "key", grant.Token)
			assert.True(t, held)
			return stored(t, pool, "key", nil).Until.Add(-time.Hour), err // minus the lease
		},
		func() (machine.Time, error) {
			finished, err := engine.Finish(t.Context(), "key", machine.Finish{Token: grant.Token, Ran: true})
			return finished.Now, err
		},
	} {
		tx, err := other.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "SELECT FROM throttle.state FOR UPDATE")
		require.NoError(t, err)
		done := make(chan machine.Time, 1)
		go func() {
			now, err := operation()
			assert.NoError(t, err)
			done <- now
		}()
		eventually(t, other, 1, "wait_event_type = 'Lock'")
		var locked machine.Time
		require.NoError(t, tx.QueryRow(t.Context(), "SELECT throttle.clock()").Scan(&locked))
		require.NoError(t, tx.Commit(t.Context()))
		require.GreaterOrEqual(t, receive(t, done), locked)
	}
}

func TestEngine_Listen(t *testing.T) {
	d := newDatabase(t)
	engine, pool := newEngine(t, d.pool(t)), d.pool(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	wakes := make(chan machine.Wake, 10)
	go func() { ended <- engine.Listen(ctx, func(w machine.Wake) { wakes <- w }) }()
	eventually(t, pool, 1, "query LIKE 'LISTEN %' AND state = 'idle'")
	elsewhere := newEngine(t, d.pool(t), fleetpg.WithNamespace("elsewhere"))
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return elsewhere.CallTx(t.Context(), tx, "a key of another namespace")
	}))
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, engine.CallTx(t.Context(), tx, "it's a key"))
	require.Empty(t, wakes)
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, machine.Wake{Key: "it's a key"}, receive(t, wakes))
	cancel()
	require.ErrorIs(t, receive(t, ended), context.Canceled)
	eventually(t, pool, 0, "query LIKE 'LISTEN %'") // Listen has closed its connection
}

func TestEngine_Listen_ConnectionLost(t *testing.T) {
	d := newDatabase(t)
	engine, pool := newEngine(t, d.pool(t)), d.pool(t)
	ended := make(chan error, 1)
	wakes := make(chan machine.Wake, 100)
	go func() { ended <- engine.Listen(t.Context(), func(w machine.Wake) { wakes <- w }) }()
	eventually(t, pool, 1, "query LIKE 'LISTEN %' AND state = 'idle'")

	// Others may notify on the channel with anything.
	var channel string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT substring(query FROM '"(.*)"') FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'LISTEN %'`).Scan(&channel))
	for _, text := range []string{"", " ", "a", "1", "1,a", "99999999999999999999 a", "- a", "-5 low", "9223372036854775807 high", "7 "} {
		mustExec(t, pool, "SELECT pg_notify($1::text, $2::text)", channel, text)
	}
	for _, expected := range []machine.Wake{
		{Key: "low", Poll: machine.None}, {Key: "high", Poll: machine.MaxSpan}, {Key: "", Poll: 7 * time.Microsecond},
	} {
		require.Equal(t, expected, receive(t, wakes))
	}

	mustExec(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'LISTEN %'`)
	require.ErrorContains(t, receive(t, ended), "throttle: listen: ")
}

// TestEngine_Listen_Pool takes the pool's only connection to listen: operations must still work.
func TestEngine_Listen_Pool(t *testing.T) {
	engine := newEngine(t, newDatabase(t).pool(t, "pool_max_conns=1"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	wakes := make(chan machine.Wake, 1000)
	go func() { ended <- engine.Listen(ctx, func(w machine.Wake) { wakes <- w }) }()
	for i := 0; len(wakes) == 0; i++ {
		reply, err := engine.Claim(t.Context(), "key "+strconv.Itoa(i), claimOf("a"))
		require.NoError(t, err)
		_, err = engine.Finish(t.Context(), "key "+strconv.Itoa(i), machine.Finish{Token: reply.Token, Ran: true})
		require.NoError(t, err)
	}
	cancel()
	require.ErrorIs(t, receive(t, ended), context.Canceled)
}
