package fleetpg

import (
	"context"
	"crypto/sha256"
	_ "embed" // of the schema
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed schema.sql
var schemaSQL string

// versions returns the statements that take the schema from each version to the next. The first
// ones create it.
func versions() []string { return []string{schemaSQL} }

// A VersionError says that the schema has not the version that this program needs. An older schema
// needs [Migrate]; a newer one needs a newer program.
type VersionError struct {
	Schema string
	Found  int // its version; 0 if there is no schema
	Known  int // the version that this program needs
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("throttle: schema %q has version %d, and this program needs %d", e.Schema, e.Found, e.Known)
}

// A Database is a [*pgx.Conn], a [*pgxpool.Conn] or a [*pgxpool.Pool].
//
// [*pgxpool.Conn]: https://pkg.go.dev/github.com/jackc/pgx/v5/pgxpool#Conn
// [*pgxpool.Pool]: https://pkg.go.dev/github.com/jackc/pgx/v5/pgxpool#Pool
type Database interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// Migrate brings the schema to the version that this program needs, in one transaction. It creates
// the schema if there is none; for that, the role needs CREATE on the database. If the schema has
// the version already, Migrate changes nothing. Any number of processes may call it at the same
// time. It returns a [*VersionError] if the schema is newer.
//
// If the program's role does not own the schema, grant it USAGE on the schema, and SELECT, INSERT,
// UPDATE and DELETE on its tables.
func Migrate(ctx context.Context, db Database, opts ...Option) error {
	o, err := newOptions(opts)
	if err != nil {
		return err
	}
	// Only this isolation level sees what others commit while Migrate waits for the lock.
	err = pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		return migrate(ctx, tx, o.schema)
	})
	if err != nil {
		return fmt.Errorf("throttle: migrate schema %q: %w", o.schema, err)
	}
	return nil
}

func migrate(ctx context.Context, tx pgx.Tx, schema string) error {
	sum := sha256.Sum256([]byte("throttle schema " + schema))
	lock := int64(binary.BigEndian.Uint64(sum[:])) //nolint:gosec // any 64 bits do
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lock); err != nil {
		return err
	}
	quoted := pgx.Identifier{schema}.Sanitize()
	found, err := version(ctx, tx, schema)
	if err != nil {
		return err
	}
	if found == 0 {
		if err := create(ctx, tx, schema); err != nil {
			return err
		}
	}
	steps := versions()
	if found > len(steps) {
		return &VersionError{Schema: schema, Found: found, Known: len(steps)}
	}
	for i := found; i < len(steps); i++ {
		if _, err := tx.Exec(ctx, strings.ReplaceAll(steps[i], "{schema}", quoted)); err != nil {
			return fmt.Errorf("version %d: %w", i+1, err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO "+quoted+".version (version) VALUES ($1)", i+1); err != nil {
			return err
		}
	}
	return nil
}

// create creates the schema, unless it exists, and the table for its version.
func create(ctx context.Context, tx pgx.Tx, schema string) error {
	quoted := pgx.Identifier{schema}.Sanitize()
	var exists bool
	const query = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)"
	if err := tx.QueryRow(ctx, query, schema).Scan(&exists); err != nil {
		return err
	}
	if !exists { // even with IF NOT EXISTS, a role without CREATE gets an error
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+quoted); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+quoted+
		".version (version int PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())")
	return err
}

// A querier is a transaction or a pool.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// version returns the version of the schema, 0 if there is no schema.
func version(ctx context.Context, db querier, schema string) (int, error) {
	table := pgx.Identifier{schema, "version"}.Sanitize()
	var exists bool
	if err := db.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&exists); err != nil || !exists {
		return 0, err
	}
	var found int
	err := db.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM "+table).Scan(&found)
	return found, err
}
