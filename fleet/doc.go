// Package fleet shares one throttle among many processes. Whichever processes ask, the
// callback runs at most once per interval in all of them together, and the last call is
// never lost, even if the process that made it dies. The shared state is kept in a store
// that all processes reach: use an engine from the adapters fleetredis or fleetpg, or
// [Memory] within one process.
//
//	t, err := fleet.New(engine, "search-index", throttle.Every(time.Minute), rebuildIndex)
//	…
//	t.Call()           // anywhere, any number of times
//	err = t.Do(ctx)    // or wait for a run that covers this call, wherever it runs
//
// # What it is for
//
// Use it for work on shared state: to rebuild an index, publish a snapshot or reconcile a
// cluster. One replica's run then serves all of them. Do not use it to reload each
// replica's own state: only one replica would reload, and the others would stay stale. For
// that, use package throttle in every process.
//
// # Replicas
//
// A [Throttler] is one replica. It makes calls, and it runs the callback when the store
// grants it a run, for its own calls or for those of another replica. All replicas of a key
// should have the same policy, and callbacks that do the same. A replica that never calls
// is useful, too: it runs the calls of replicas that have died.
//
// # Guarantees
//
//   - Grants of a key are at least Interval plus the guard apart on the store's clock, and
//     runs start at least Interval apart. Clocks of replicas are never compared.
//   - Runs do not overlap. A grant is a lease, which the replica renews while its run goes
//     on, and the store makes no other grant before the lease ends.
//   - A run starts after the last call, as long as the replica that made it lives, or the
//     store knows of the call and keeps its state.
//   - A run ends when its callback returns, panics or calls runtime.Goexit, as in package
//     throttle. With Policy.Retry, some replica repeats a run that failed.
//
// Two things can break these guarantees. A process may be paused inside the callback for
// longer than its lease. For that case every run has a [Token] that is higher than all
// tokens before it; pass it to whatever the callback writes to. And a store may lose its
// state. Engines check whether the store's configuration makes it durable. If it loses state
// all the same, at most one run per key starts too early.
//
// # When the store cannot be reached
//
// The replica keeps its calls and tries the store again, at growing intervals, until it is
// back. It reports the outage to the error handler once. With [RunLocal], a replica
// meanwhile runs on its own, at most once per interval.
//
// # Cost
//
// A call that must reach the store sends its message in a separate goroutine, and a replica
// sends one message at a time. A call that joins a pending run sends none. A run costs one
// claim and one finish, and one more claim if it had to wait. All throttlers of a process on
// one engine share one poller. It looks for keys whose replica is gone once a second, and
// when a key becomes due.
package fleet
