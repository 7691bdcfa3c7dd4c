// Package servers runs Redis, Valkey and PostgreSQL servers, each on its own port and in its own
// folder, for tests, benchmarks and examples. It needs Linux, and the programs redis-server or
// valkey-server on PATH, and initdb and postgres on PATH or in /usr/lib/postgresql.
//
// Where a program is missing, [Redis] and [Postgres] return an error that wraps
// [ErrNotInstalled]. Tests pass every error to [Require], which skips them then.
package servers
