//go:build linux

package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/servers"
)

func TestDemonstration_Postgres(t *testing.T) {
	server, err := servers.Postgres()
	servers.Require(t, err)
	servers.RemoveAtEnd(t, server)
	require.NoError(t, server.Start(t.Context()))
	url := "postgres://postgres@" + server.Addr() + "/postgres?sslmode=disable"
	requireDemonstration(t, "PostgreSQL", "-postgres", url)

	// No row is in both places because the end of the shutdown has cut off its insert.
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-rows", "60", "-patience", "0", "-postgres", url}, &out), out.String())
	require.Regexp(t, `\nrows +240 `, out.String())

	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	defer pool.Close()
	var left int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE tablename LIKE 'batch%'`).Scan(&left))
	require.Zero(t, left)
}

func TestRefusal(t *testing.T) {
	for code, refused := range map[string]bool{
		"22021": true,  // a character that is not in the encoding
		"23502": true,  // a null where none may be
		"40001": false, // a serialization failure
		"57P01": false, // the server ends the connection
	} {
		require.Equal(t, refused, errors.Is(refusal(&pgconn.PgError{Code: code}), errRefused), code)
	}
	require.NotErrorIs(t, refusal(errors.New("no connection")), errRefused)
}
