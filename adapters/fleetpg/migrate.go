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

// A step takes the schema from one version to the next.
type step struct {
	statements string

	// The lowest version of programs that can use the schema after the step. Such a program calls
	// the functions, reads the version, and knows nothing of what later steps have added.
	oldest int
}

// steps returns the steps to each version. The first one creates the schema. A step keeps the oldest
// version of the step before if it changes nothing that programs of that version use: the table
// version, the names, arguments and results of functions, and the meaning of what they return. It may
// add functions, and columns that have a default.
//
// A session may be in the old version of a function when a step commits. So each row says which
// versions of the functions can read it: see the columns format and oldest.
func steps() []step {
	return []step{
		{schemaSQL, 1},
	}
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
// the version already, or a later one that this program can use, Migrate changes nothing. Any number
// of processes may call it at the same time. It returns a [*VersionError] if the schema is too new.
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
	found, err := versionOf(ctx, tx, schema)
	if err != nil {
		return err
	}
	all := steps()
	if found.latest >= len(all) {
		return found.check(schema, len(all))
	}
	if found.latest == 0 {
		if err := create(ctx, tx, schema); err != nil {
			return err
		}
	}
	quoted := pgx.Identifier{schema}.Sanitize()
	for i, s := range all[found.latest:] {
		to := found.latest + i + 1
		if _, err := tx.Exec(ctx, strings.ReplaceAll(s.statements, "{schema}", quoted)); err != nil {
			return fmt.Errorf("version %d: %w", to, err)
		}
		_, err := tx.Exec(ctx, "INSERT INTO "+quoted+".version (version, oldest) VALUES ($1, $2)", to, s.oldest)
		if err != nil {
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
		".version (version int PRIMARY KEY, oldest int NOT NULL, applied timestamptz NOT NULL DEFAULT now())")
	return err
}
