// Package fleetpg lets the replicas of a fleet share throttles through PostgreSQL.
//
//	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
//	…
//	err = fleetpg.Migrate(ctx, pool) // at every start, or wherever you migrate your own tables
//	…
//	engine, err := fleetpg.New(pool)
//	…
//	t, err := fleet.New(engine, "search-index", throttle.Every(time.Minute), rebuildIndex)
//
// It needs PostgreSQL 12 or later, and is tested with 15.
//
// # Calls in transactions
//
// If a run must follow what a transaction writes, make the call in that transaction:
//
//	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		if _, err := tx.Exec(ctx, "UPDATE articles …"); err != nil {
//			return err
//		}
//		return engine.CallTx(ctx, tx, "search-index")
//	})
//
// If the transaction commits, a run follows that sees what it wrote. If it does not, there was no
// call. With a Call after the commit instead, a process that dies in between would lose the call.
//
// # What it does to the database
//
// [Migrate] creates a schema with two tables. The table state has a row for each key, and keeps it until
// [Engine.Forget]. With its indexes, a new row takes less than a kilobyte. A row in steady use takes up
// to two, because it contains the identifiers of the claims of the last 10 s, and its old versions
// wait for vacuum. The table calls has a row for each call of [Engine.CallTx] until a claim finds it.
//
// A claim, a finish and a renewal each call one function, in a transaction of its own. The function
// locks the row, reads the server's clock and updates the row. Most claims of a busy key do not
// change when the key is due; these updates do not touch the indexes (HOT), and pages keep room for
// them. With Quiet, a claim costs more if it postpones the run, because it changes an index. As with
// any busy table, a transaction that stays open for hours keeps vacuum from its work.
//
// A commit waits for the disk if a claim is granted, registers a call or postpones the run, and for each
// finish and renewal. A claim that only joins a pending call changes nothing but the list of identifiers.
// It does not wait, whatever the session's synchronous_commit: if a crash undoes it, the store is as if it had
// never come.
//
// What a look for due keys reads is limited, however many there are: some thousand entries of the index,
// the calls of 300 keys, and the rows that it is asked for.
//
// The server commits notifying transactions of all its databases one at a time. Therefore a finish
// notifies in a second transaction, which writes nothing and so does not wait for the disk. A
// transaction with a [Engine.CallTx] cannot avoid that wait: in a second, the server can commit only
// as many of them as it can write to the disk one after the other.
//
// # Connections
//
// An operation takes a connection from the pool for one round trip, a finish for two. The first claim
// of a session takes one more, in which the session plans the statements, so that it does not do so
// while others wait for the row that the claim locks. If an operation's context ends, pgx closes the
// connection and makes the server cancel the operation. To listen, each engine takes one more
// connection out of the pool, beside its MaxConns.
//
// The engine's throttlers send few messages at a time, see [WithMaxInFlight], and wait for their turn
// without a connection. So they need not wait for one, unless the program uses the pool for other things
// as well and keeps all connections busy. That costs time, but does not count as an outage: only if the
// server does not answer, ends the session, or cannot be connected to, do errors match
// [fleet.ErrEngineUnavailable]. A server that answers with another error, such as that it is out of
// memory or read-only, can be reached.
//
// Commits must wait for the disk: see [Engine.Check]. The sessions of an engine need the isolation
// level "read committed", PostgreSQL's default; do not give them another
// default_transaction_isolation. Unless replication is synchronous, a standby that takes over may not
// have the latest confirmed changes. They are then lost, as with [WithVolatile].
//
// Behind PgBouncer in transaction mode, everything works except Listen. Throttlers then poll, about
// once a second, to find out about finished runs of other replicas and about calls in transactions.
// If PgBouncer does not track prepared statements, use a pool with default_query_exec_mode=exec or
// simple_protocol. The tests run in every mode.
//
// # Versions of the schema
//
// A program knows one version of the schema, and [Migrate] brings the schema to it. The table version
// says which version the schema has, and which is the oldest that a program may know to use it. [Migrate]
// and [Engine.Check] accept a schema if the program's version is in that range. So a new release of this
// package can change the schema while old programs run. They go on, may restart, and you may roll back
// to them: no schema is ever migrated back. Only if they could not use the new schema does the release
// raise the oldest version. Its notes then say so: replace the old programs before you migrate. Both
// functions return a [*VersionError] if the schema is out of range.
//
// A row of the table state also has a range: the format in which it was written, and the oldest version
// of the functions that can use it. That matters to a transaction that has begun before the functions
// were replaced.
//
// # For operators
//
// All times are microseconds since 1970. This query lists the pending keys, when they are or were
// due, and until when their owner has a lease:
//
//	SELECT namespace, key, to_timestamp(due / 1e6), owner, to_timestamp(until / 1e6)
//	FROM throttle.state WHERE due IS NOT NULL ORDER BY due;
//
// [Engine.Inspect] returns the row of a key. [Engine.Forget] deletes a key that you no longer use.
//
// The functions do not touch a row that they cannot have left, or that only later versions can use. The
// throttlers of its key report a [*fleet.StateError] until somebody deletes the row, with Forget or by
// hand.
package fleetpg
