// Package fleetpg keeps the state of a fleet's throttles, see package fleet, in
// PostgreSQL.
//
//	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
//	…
//	err = fleetpg.Migrate(ctx, pool) // at every start, or from whatever migrates the rest
//	…
//	engine, err := fleetpg.New(pool)
//	…
//	t, err := fleet.New(engine, "search-index", throttle.Every(time.Minute), rebuildIndex)
//
// It needs PostgreSQL 12 or later, and is tested with 15.
//
// # Calls in transactions
//
// A call that is to follow what a transaction writes belongs into that transaction:
//
//	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		if _, err := tx.Exec(ctx, "UPDATE articles …"); err != nil {
//			return err
//		}
//		return engine.CallTx(ctx, tx, "search-index")
//	})
//
// If it commits, a run follows that sees what it wrote; if it does not, there was no call.
// Nothing is lost between the commit and a Call after it, which a process may not live to
// make.
//
// # What it does to the database
//
// [Migrate] creates a schema with two tables. Table state has a row for each key, which
// is never deleted: less than a kilobyte with its indexes when new, and up to some
// two when in steady use, as old versions wait for vacuum and identifiers of claims of the
// last 10 s are kept. Table calls has a row for each call of [Engine.CallTx] until a claim
// has found it. To remove a key that is not in use any more, delete its row.
//
// A claim, a finish and a renewal are each a function call that locks the row, reads the
// server's clock and updates the row, in a transaction of its own. Most claims of a
// busy key do not change when it is due; those are updates that leave the indexes alone
// (HOT), for which pages keep room. As with any table that is updated all the time, a
// transaction that stays open for hours keeps vacuum from its work.
//
// The server lets transactions that notify, in all of its databases, commit one at a
// time. A finish therefore notifies in a second transaction, one that has written nothing,
// and so does not wait for the disk. A transaction with a [Engine.CallTx] cannot avoid it:
// there can be no more of them in a second than the disk can be waited for, one after the
// other.
//
// # Connections
//
// An operation takes a connection from the pool for one round trip; a finish, for two.
// Where its context ends, pgx closes the connection and has the server cancel what it
// does. Each engine takes one connection more out of the pool, to listen on.
//
// Commits must wait for the disk, see [Engine.Check], and transactions must be "read
// committed" unless they say otherwise, which is PostgreSQL's default: an engine's
// sessions must not have another default_transaction_isolation. A standby that takes over
// may not have what was confirmed last, unless replication is synchronous: that is then
// lost, as if the server were volatile.
//
// Behind PgBouncer in transaction mode, all but Listen works: throttlers then find out by
// polling, about once in a second, that another's run has ended or that a transaction has
// called. A PgBouncer that does not track prepared statements needs a pool with
// default_query_exec_mode=exec or simple_protocol; the tests run in every mode.
//
// # For operators
//
// All times are microseconds since 1970. What is pending, and since or until when:
//
//	SELECT namespace, key, to_timestamp(due / 1e6), owner, to_timestamp(until / 1e6)
//	FROM throttle.state WHERE due IS NOT NULL ORDER BY due;
//
// A row that the functions cannot have left, or that a later version has, is not touched:
// its key's throttlers report a [*fleet.StateError] until somebody deletes it.
package fleetpg
