//go:build linux

package fleetpg_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// operations returns the operations of engine, by name.
func operations(engine *fleetpg.Engine) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"check": engine.Check,
		"claim": func(ctx context.Context) error {
			_, err := engine.Claim(ctx, "key", claimOf("a"))
			return err
		},
		"finish": func(ctx context.Context) error {
			_, err := engine.Finish(ctx, "key", machine.Finish{Token: 1, Ran: true})
			return err
		},
		"renew": func(ctx context.Context) error {
			_, err := engine.Renew(ctx, "key", 1)
			return err
		},
		"due": func(ctx context.Context) error {
			_, err := engine.Due(ctx, []string{"key"})
			return err
		},
		"inspect": func(ctx context.Context) error {
			_, err := engine.Inspect(ctx, "key")
			return err
		},
		"forget": func(ctx context.Context) error { return engine.Forget(ctx, "key") },
	}
}

// connectionsForAll is a parameter of a pool: each operation can have a connection.
func connectionsForAll() string { return fmt.Sprintf("pool_max_conns=%d", len(operations(nil))) }

// requireFailures requires that all operations fail within the given time, at once. Unreachable says
// whether that is because the server cannot be reached.
func requireFailures(t *testing.T, engine *fleetpg.Engine, within time.Duration, unreachable bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var group sync.WaitGroup
	for name, operate := range operations(engine) {
		group.Go(func() {
			err := operate(ctx)
			if assert.Error(t, err, name) {
				assert.Equal(t, unreachable, errors.Is(err, fleet.ErrEngineUnavailable), "%s: %v", name, err)
				assert.Equal(t, ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), "%s: %v", name, err)
			}
		})
	}
	group.Wait()
}

// TestEngine_Failure_State makes the server answer with many error codes. Only some say that the server
// cannot be reached.
func TestEngine_Failure_State(t *testing.T) {
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	for code, unreachable := range map[string]bool{
		"08000": true, "08006": true, "08P01": true, // the connection failed
		"57P01": true, "57P02": true, "57P03": true, // the server shuts down, has crashed, is starting
		"57014": false, "57P04": false, "57P05": false, // canceled, database dropped, session idle
		"40001": false, "40P01": false, // serialization failure, deadlock
		"53100": false, "53200": false, "53300": false, // no disk, memory or connection is left
		"42501": false, "25006": false, "55P03": false, // no permission, read only, lock not available
		"58030": false, "XX000": false, "P0001": false,
	} {
		mustExec(t, pool, `CREATE OR REPLACE FUNCTION throttle.clock() RETURNS bigint LANGUAGE plpgsql AS $$
			BEGIN RAISE EXCEPTION 'no time' USING ERRCODE = '`+code+`'; END $$`)
		for _, name := range []string{"claim", "finish", "due"} {
			err := operations(engine)[name](t.Context())
			require.ErrorContains(t, err, "no time", name)
			require.Equal(t, unreachable, errors.Is(err, fleet.ErrEngineUnavailable), "%s: %v", name, err)
		}
	}
}

func TestEngine_Failure_Permission(t *testing.T) {
	d := newDatabase(t)
	mustExec(t, d.pool(t), "CREATE ROLE stranger LOGIN")
	stranger := d.pool(t, "user=stranger")
	requireFailures(t, newEngine(t, stranger), patience, false)
	stranger.Close()
	mustExec(t, d.pool(t), "DROP ROLE stranger")
}

func TestEngine_Failure_Schema(t *testing.T) {
	requireFailures(t, newEngine(t, makeDatabase(t, "").pool(t)), patience, false)
}

// TestEngine_Failure_PoolInUse leaves the engine no connection. Its errors are the context's.
func TestEngine_Failure_PoolInUse(t *testing.T) {
	d := newDatabase(t)
	pool := d.pool(t, "pool_max_conns=2")
	used, unused := newEngine(t, pool), newEngine(t, pool) // the latter has not checked the server
	requireWorks(t, used)
	for range 2 {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
	}
	for _, engine := range []*fleetpg.Engine{used, unused} {
		requireFailures(t, engine, 50*time.Millisecond, false)
	}
}

// TestEngine_Failure_EndedContext uses a context that has ended before the operation.
func TestEngine_Failure_EndedContext(t *testing.T) {
	requireFailures(t, newEngine(t, newDatabase(t).pool(t)), 0, false)
}

// connect makes the pool open connections.
func connect(t *testing.T, pool *pgxpool.Pool, connections int) {
	t.Helper()
	for range connections {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
	}
}

// TestEngine_Failure_Unsent uses a context that ends when the engine has a connection, but has sent
// nothing.
func TestEngine_Failure_Unsent(t *testing.T) {
	var wait atomic.Bool
	pool := newDatabase(t).configured(t, func(c *pgxpool.Config) {
		c.PrepareConn = func(ctx context.Context, _ *pgx.Conn) (bool, error) {
			if wait.Load() {
				<-ctx.Done()
			}
			return true, nil
		}
	}, connectionsForAll())
	engine := newEngine(t, pool)
	requireWorks(t, engine)
	connect(t, pool, len(operations(nil)))
	wait.Store(true)
	requireFailures(t, engine, 50*time.Millisecond, false)
}

// An expiring context ends at its deadline when the inner one ends.
type expiring struct{ context.Context }

func (e expiring) Err() error {
	if e.Context.Err() == nil {
		return nil
	}
	return context.DeadlineExceeded
}

// TestEngine_Failure_Listen lets the context of Listen end in silence.
func TestEngine_Failure_Listen(t *testing.T) {
	d := newDatabase(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	engine := newEngine(t, d.pool(t))
	go func() { ended <- engine.Listen(expiring{ctx}, func(machine.Wake) {}) }()
	eventually(t, d.pool(t), 1, "query LIKE 'LISTEN %' AND state = 'idle'")
	cancel()
	err := receive(t, ended)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, fleet.ErrEngineUnavailable)
}

// A resettable connection can be reset, as by the network.
type resettable struct {
	net.Conn

	reset *atomic.Bool
}

func (r resettable) Read(p []byte) (int, error) {
	if r.reset.Load() {
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return r.Conn.Read(p)
}

func TestEngine_Failure_Reset(t *testing.T) {
	var reset atomic.Bool
	engine := newEngine(t, newDatabase(t).configured(t, func(c *pgxpool.Config) {
		c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return resettable{conn, &reset}, err
		}
	}))
	requireWorks(t, engine)
	reset.Store(true)
	requireFailures(t, engine, patience, true)
	reset.Store(false)
	requireWorks(t, engine)
}

// TestEngine_Failure_ClosedPool closes the pool while it connects.
func TestEngine_Failure_ClosedPool(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	pool, err := pgxpool.New(t.Context(), "postgres://postgres@"+silent.Addr().String()+"/postgres?sslmode=disable")
	require.NoError(t, err)
	engine := newEngine(t, pool)
	failed := make(chan error, 1)
	go func() { failed <- engine.Check(t.Context()) }()
	require.Eventually(t, func() bool { return pool.Stat().ConstructingConns() > 0 }, patience, time.Millisecond)
	pool.Close()
	require.NotErrorIs(t, receive(t, failed), fleet.ErrEngineUnavailable)
}

// TestEngine_Failure_Canceled cancels claims that the server works on.
func TestEngine_Failure_Canceled(t *testing.T) {
	d := newDatabase(t)
	pool, other := d.pool(t), d.pool(t)
	engine := newEngine(t, pool)
	requireWorks(t, engine)
	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	defer func() { assert.NoError(t, tx.Rollback(t.Context())) }()
	_, err = tx.Exec(t.Context(), "LOCK TABLE throttle.state")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- operations(engine)["claim"](ctx) }()
	eventually(t, other, 1, "wait_event_type = 'Lock'")
	cancel()
	err = receive(t, failed)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, fleet.ErrEngineUnavailable)
	eventually(t, other, 0, "wait_event_type = 'Lock'")

	// The server ends the session of another.
	go func() { failed <- operations(engine)["claim"](t.Context()) }()
	eventually(t, other, 1, "wait_event_type = 'Lock'")
	mustExec(t, other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
	require.ErrorIs(t, receive(t, failed), fleet.ErrEngineUnavailable)
}

// TestEngine_Failure_Server stops and kills the server under engines in all phases.
func TestEngine_Failure_Server(t *testing.T) {
	d := newServer(t)
	d.start(t)
	require.NoError(t, d.migrate())
	open := func(connected bool, change func(*pgxpool.Config)) *fleetpg.Engine {
		pool := d.configured(t, change, connectionsForAll())
		engine := newEngine(t, pool)
		if connected {
			requireWorks(t, engine)
			connect(t, pool, len(operations(nil)))
		}
		return engine
	}
	connected := open(true, func(*pgxpool.Config) {})
	unconnected := open(false, func(*pgxpool.Config) {})
	pinged := open(true, func(c *pgxpool.Config) { // as the pool does with a connection that was idle for a second
		c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	})

	d.Signal(syscall.SIGSTOP)
	for _, engine := range []*fleetpg.Engine{connected, pinged, unconnected} {
		requireFailures(t, engine, 300*time.Millisecond, true)
	}
	d.Signal(syscall.SIGCONT)
	for _, engine := range []*fleetpg.Engine{connected, pinged, unconnected} {
		requireWorks(t, engine)
	}
	d.Kill()
	for _, engine := range []*fleetpg.Engine{connected, pinged, unconnected} {
		requireFailures(t, engine, patience, true)
	}
}

// TestWithMaxInFlight lets many throttlers claim while no claim is answered.
func TestWithMaxInFlight(t *testing.T) {
	d := newDatabase(t)
	other := d.pool(t)
	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	defer func() { assert.NoError(t, tx.Rollback(t.Context())) }()
	_, err = tx.Exec(t.Context(), "LOCK TABLE throttle.state")
	require.NoError(t, err)
	for _, c := range []struct {
		connections string
		opts        []fleetpg.Option
		expected    int
	}{
		{"pool_max_conns=1", nil, 1},
		{"pool_max_conns=4", nil, 3},
		{"pool_max_conns=40", nil, fleet.DefaultInFlight},
		{"pool_max_conns=40", []fleetpg.Option{fleetpg.WithMaxInFlight(20)}, 20},
		{"pool_max_conns=4", []fleetpg.Option{fleetpg.WithMaxInFlight(1)}, 1},
	} {
		engine := newEngine(t, d.pool(t, c.connections), c.opts...)
		const throttlers = 30
		for i := range throttlers {
			throttler, err := fleet.New(engine, strconv.Itoa(i), throttle.Every(time.Second), func(context.Context) error { return nil },
				fleet.WithErrorHandler(func(error) {}))
			require.NoError(t, err)
			defer func() { assert.NoError(t, throttler.Close()) }()
			throttler.Call()
		}
		require.EventuallyWithT(t, func(collect *assert.CollectT) {
			health := engine.Health()
			assert.Equal(collect, c.expected, health.InFlight)
			assert.Equal(collect, throttlers-c.expected, health.Waiting)
		}, patience, time.Millisecond)
	}
}
