//go:build linux

package fleetpg_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/internal/testkit/fleettest"
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// A database is a database on a server.
type database struct {
	*servers.Server

	name string
}

// url returns the database's URL with parameters.
func (d database) url(parameters ...string) string {
	return "postgres://postgres@" + d.Addr() + "/" + d.name + "?sslmode=disable&" + strings.Join(parameters, "&")
}

// pool returns a pool of connections to the database, with parameters like "pool_max_conns=1".
func (d database) pool(tb testing.TB, parameters ...string) *pgxpool.Pool {
	tb.Helper()
	return d.configured(tb, func(*pgxpool.Config) {}, parameters...)
}

// configured returns a pool like pool, with a changed configuration.
func (d database) configured(tb testing.TB, change func(*pgxpool.Config), parameters ...string) *pgxpool.Pool {
	tb.Helper()
	config, err := pgxpool.ParseConfig(d.url(parameters...))
	require.NoError(tb, err)
	change(config)
	pool, err := pgxpool.NewWithConfig(tb.Context(), config)
	require.NoError(tb, err)
	tb.Cleanup(pool.Close)
	return pool
}

// with calls f with a connection.
func (d database) with(f func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, d.url())
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, conn), conn.Close(ctx))
}

func (d database) exec(sql string) error {
	return d.with(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

func (d database) migrate() error {
	return d.with(func(ctx context.Context, conn *pgx.Conn) error { return fleetpg.Migrate(ctx, conn) })
}

// mustExec executes a statement, or several without arguments.
func mustExec(tb testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	tb.Helper()
	_, err := pool.Exec(context.Background(), sql, args...)
	require.NoError(tb, err)
}

// newServer returns the database of a server for this test alone. The server is not started.
func newServer(tb testing.TB) database {
	tb.Helper()
	s, err := servers.Postgres()
	servers.Require(tb, err)
	servers.RemoveAtEnd(tb, s)
	return database{s, "postgres"}
}

// start starts the server with settings like "fsync=off".
func (d database) start(tb testing.TB, settings ...string) {
	tb.Helper()
	var args []string
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	require.NoError(tb, d.Start(tb.Context(), args...))
}

// A cluster is a server that tests share. Each test has its own database.
type cluster struct {
	once   sync.Once
	server *servers.Server
	err    error
	number atomic.Int64 // of databases
}

var shared cluster

// start starts the server, and creates the database that is the template of all others.
func (c *cluster) start() {
	c.once.Do(func() {
		if c.server, c.err = servers.Postgres(); c.err != nil {
			return
		}
		if c.err = c.server.Start(context.Background()); c.err != nil {
			return
		}
		if c.err = (database{c.server, "postgres"}).exec("CREATE DATABASE template"); c.err != nil {
			return
		}
		c.err = database{c.server, "template"}.migrate()
	})
}

func TestMain(m *testing.M) {
	defer func() {
		if shared.server != nil {
			_ = shared.server.Remove()
		}
	}()
	fleettest.Main(m, open)
}

// newDatabase creates a database with the schema.
func newDatabase(tb testing.TB) database {
	tb.Helper()
	return makeDatabase(tb, "TEMPLATE template")
}

// makeDatabase creates a database with options of CREATE DATABASE.
func makeDatabase(tb testing.TB, options string) database {
	tb.Helper()
	shared.start()
	servers.Require(tb, shared.err)
	d := database{shared.server, fmt.Sprintf("test_%d", shared.number.Add(1))}
	require.NoError(tb, database{shared.server, "postgres"}.exec("CREATE DATABASE "+d.name+" "+options))
	return d
}

// newEngine returns an engine on pool.
func newEngine(tb testing.TB, pool *pgxpool.Pool, opts ...fleetpg.Option) *fleetpg.Engine {
	tb.Helper()
	engine, err := fleetpg.New(pool, opts...)
	require.NoError(tb, err)
	return engine
}
