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
// # One throttle per key
//
// A [Group] has one throttle per key, for keys that need not be known beforehand: one for each
// tenant, document or customer. Every process has a Group on the same engine. A process holds a
// key in memory only while it is of use there. A key that is due and that no living process holds
// is taken over by any of them. [WithMaxConcurrent] and [WithMaxKeys] bound a Group.
//
// # Wait until calls stop
//
// With Policy.Quiet, a run waits until no process has called for that long, and with MaxWait no
// longer than that after the first call that no run covers:
//
//	g, err := fleet.NewGroup(engine, throttle.Debounce(5*time.Second, time.Minute), reindex)
//
// A process does not tell the store of every call. It does so at most once per slack, a quarter of
// Quiet unless [WithSlack] says otherwise, and the store lets the run wait for the slack as well.
// So the run comes at least Quiet and at most Quiet plus the slack after the last call, and a burst
// costs each process five messages or so per key and Quiet, however many calls it has. If a process
// dies, the calls that the store has not heard of are covered, but the run no longer waits for them.
//
// # Guarantees
//
//   - Grants of a key are at least Interval plus the guard apart on the store's clock, and
//     runs start at least Interval apart. Clocks of replicas are never compared.
//   - No run is granted within Quiet of a call that the store knows of, unless MaxWait has passed
//     since the first one that no grant has taken.
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
// # The way of a call
//
//  1. Call takes the replica's lock and notes the call. If a run that is pending in the store
//     covers it, that is all.
//  2. Otherwise the throttler waits for its turn to send: of the messages of all throttlers on
//     an engine, at most [DefaultInFlight] are in flight. Only then it reads the clock and
//     makes a claim, so that the wait does not count against the guard.
//  3. The store registers the call. It grants a run, or says when the next one may be granted,
//     and the throttler sends another claim then.
//  4. A granted run starts in a goroutine of its own. It checks that it is in time, and calls
//     the callback. It renews its lease while the callback works.
//  5. Its end is another message, which goes before the claims of other throttlers. The store
//     tells the other replicas, and whoever waits in Do hears the outcome.
//
// # When the store cannot be reached
//
// The replicas keep their calls. One message at a time, at growing intervals, finds out
// whether the store is back. Errors that the store has answered are another matter: then each
// replica tries again on its own. The error handler receives the first error in a row. With
// [RunLocal], replicas that cannot reach the store meanwhile run on their own, each at most
// once per interval; after an answer, whatever it says, they do not. [Base.Health] tells what
// the process sees of the engine.
//
// # Cost
//
// A call that joins a pending run sends no message, but with Quiet one per slack. A run costs one
// claim and one finish, and one more claim if it had to wait. While Quiet holds a run back, each
// process with a call asks once per Quiet whether it is due. All throttlers of a process on one
// engine share one poller. It looks for keys whose replica is gone once a second, and when a key becomes due.
// What a look costs does not depend on how many keys are due: if there are many, it sees a
// part of them.
package fleet
