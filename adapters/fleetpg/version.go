package fleetpg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A VersionError says that this program cannot use the schema. If it is older than the program, or
// does not exist, call [Migrate]. Otherwise somebody has migrated it so far that the program is too
// old.
type VersionError struct {
	Schema string
	Found  int // the schema's version; 0 if there is no schema
	Oldest int // the lowest version of programs that can use the schema
	Known  int // the version of this program
}

func (e *VersionError) Error() string {
	switch {
	case e.Found == 0:
		return fmt.Sprintf("throttle: there is no schema %q, and this program needs version %d of it", e.Schema, e.Known)
	case e.Found < e.Known:
		return fmt.Sprintf("throttle: schema %q has version %d, and this program needs %d", e.Schema, e.Found, e.Known)
	default:
		return fmt.Sprintf("throttle: schema %q has version %d, which needs a program of version %d to %d, and this one has %d",
			e.Schema, e.Found, e.Oldest, e.Found, e.Known)
	}
}

// A version is a range of versions of programs: those that can use a schema.
type version struct {
	oldest int
	latest int // the schema's own version; 0 if there is no schema
}

// check returns a [*VersionError] if a program of the version known cannot use the schema.
func (v version) check(schema string, known int) error {
	if v.oldest <= known && known <= v.latest {
		return nil
	}
	return &VersionError{Schema: schema, Found: v.latest, Oldest: v.oldest, Known: known}
}

// A querier is a transaction or a connection.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// versionOf returns the version of the schema.
func versionOf(ctx context.Context, db querier, schema string) (v version, err error) {
	table := pgx.Identifier{schema, "version"}.Sanitize()
	var exists bool
	if err := db.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&exists); err != nil || !exists {
		return version{}, err
	}
	err = db.QueryRow(ctx, "SELECT oldest, version FROM "+table+" ORDER BY version DESC LIMIT 1").Scan(&v.oldest, &v.latest)
	if errors.Is(err, pgx.ErrNoRows) {
		return version{}, nil
	}
	return v, err
}
