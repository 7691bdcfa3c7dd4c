package fleetpg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/throttle-go/throttle/fleet"
)

// This file asks whether the server may be relied on.

// Check reports whether the engine can work with the server, and whether that keeps
// what it has confirmed through a crash. It returns, for the first that holds,
//
//   - an error if the server cannot be reached, or is a standby, which takes no
//     writes; or if the database's encoding is not UTF8,
//   - a [*VersionError] if the schema is not of this program's version: see [Migrate],
//   - an error that wraps [fleet.ErrNotDurable] if fsync or full_page_writes is off,
//     synchronous_commit is off for the pool's sessions, or a table is not logged. With
//     [WithVolatile] it does not look at these.
//
// The engine calls it before its first operation, and until it has succeeded once. Each
// later operation looks at synchronous_commit again, in its own session.
func (e *Engine) Check(ctx context.Context) error {
	var fsync, pages, commit, encoding string
	var standby bool
	const settings = `SELECT current_setting('fsync'), current_setting('full_page_writes'),
		current_setting('synchronous_commit'), current_setting('server_encoding'), pg_is_in_recovery()`
	err := e.pool.QueryRow(ctx, settings).Scan(&fsync, &pages, &commit, &encoding, &standby)
	switch {
	case err != nil:
		return fmt.Errorf("fleetpg: check: %w", err)
	case standby:
		return errors.New("fleetpg: server is a standby")
	case encoding != "UTF8":
		return fmt.Errorf("fleetpg: encoding of the database is %s, not UTF8", encoding)
	}
	found, err := version(ctx, e.pool, e.schema)
	if err != nil {
		return fmt.Errorf("fleetpg: check: %w", err)
	}
	if known := len(versions()); found != known {
		return &VersionError{Schema: e.schema, Found: found, Known: known}
	}
	if e.volatile {
		return nil
	}
	switch {
	case fsync == "off":
		return notDurable("fsync is off")
	case pages == "off":
		return notDurable("full_page_writes is off")
	case commit == "off":
		return notDurable("synchronous_commit is off")
	}
	return e.checkTables(ctx)
}

func (e *Engine) checkTables(ctx context.Context) error {
	state := pgx.Identifier{e.schema, "state"}.Sanitize()
	calls := pgx.Identifier{e.schema, "calls"}.Sanitize()
	var logged bool
	const query = `SELECT coalesce(bool_and(relpersistence = 'p'), false) FROM pg_class
		WHERE oid IN (to_regclass($1), to_regclass($2))`
	if err := e.pool.QueryRow(ctx, query, state, calls).Scan(&logged); err != nil {
		return fmt.Errorf("fleetpg: check: %w", err)
	}
	if !logged {
		return notDurable("a table is not logged")
	}
	return nil
}

func notDurable(reason string) error { return fmt.Errorf("%w: %s", fleet.ErrNotDurable, reason) }

// ready returns why there can be no operation on key.
func (e *Engine) ready(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return e.check(ctx)
}

// check checks the server unless that has succeeded before. Several may at once.
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
