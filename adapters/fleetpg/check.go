package fleetpg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/throttle-go/throttle/fleet"
)

// Check reports whether the engine can work with the server, and whether the server keeps
// confirmed changes through a crash. It returns the first of these:
//
//   - an error if it cannot reach the server, if the server is a standby, which accepts no
//     writes, or if the database's encoding is not UTF8;
//   - a [*VersionError] if this program cannot use the schema: see [Migrate];
//   - an error that wraps [fleet.ErrNotDurable] if fsync or full_page_writes is off, if
//     synchronous_commit is off in the pool's sessions, or if a table is unlogged; not with
//     [WithVolatile].
//
// The engine calls Check before each operation until it has succeeded once. Each later operation
// checks synchronous_commit again in its own session.
func (e *Engine) Check(ctx context.Context) error {
	err := e.with(ctx, func(conn *pgxpool.Conn) error { return e.checkServer(ctx, conn) })
	unusable := &VersionError{}
	if err == nil || errors.As(err, &unusable) || errors.Is(err, fleet.ErrNotDurable) {
		return err
	}
	return fmt.Errorf("throttle: check: %w", failure("", err))
}

func (e *Engine) checkServer(ctx context.Context, conn *pgxpool.Conn) error {
	var fsync, pages, commit, encoding string
	var standby bool
	const settings = `SELECT current_setting('fsync'), current_setting('full_page_writes'),
		current_setting('synchronous_commit'), current_setting('server_encoding'), pg_is_in_recovery()`
	err := conn.QueryRow(ctx, settings).Scan(&fsync, &pages, &commit, &encoding, &standby)
	switch {
	case err != nil:
		return err
	case standby:
		return errors.New("the server is a standby")
	case encoding != "UTF8":
		return fmt.Errorf("the encoding of the database is %s, not UTF8", encoding)
	}
	found, err := versionOf(ctx, conn, e.schema)
	if err != nil {
		return err
	}
	if err := found.check(e.schema, len(steps())); err != nil {
		return err
	}
	switch {
	case e.volatile:
		return nil
	case fsync == "off":
		return notDurable("fsync is off")
	case pages == "off":
		return notDurable("full_page_writes is off")
	case commit == "off":
		return notDurable("synchronous_commit is off")
	}
	return e.checkTables(ctx, conn)
}

func (e *Engine) checkTables(ctx context.Context, conn *pgxpool.Conn) error {
	state := pgx.Identifier{e.schema, "state"}.Sanitize()
	calls := pgx.Identifier{e.schema, "calls"}.Sanitize()
	var logged bool
	const query = `SELECT coalesce(bool_and(relpersistence = 'p'), false) FROM pg_class
		WHERE oid IN (to_regclass($1), to_regclass($2))`
	err := conn.QueryRow(ctx, query, state, calls).Scan(&logged)
	if err == nil && !logged {
		return notDurable("a table is unlogged")
	}
	return err
}

func notDurable(reason string) error { return fmt.Errorf("%w: %s", fleet.ErrNotDurable, reason) }

// ready returns nil if the engine can operate on key, and otherwise says why not.
func (e *Engine) ready(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return e.check(ctx)
}

// check calls Check until it has succeeded once. Concurrent operations may all call it.
func (e *Engine) check(ctx context.Context) error {
	if e.checked.Load() {
		return nil
	}
	if err := e.Check(ctx); err != nil {
		return err
	}
	e.checked.Store(true)
	return nil
}
