// Package fleet shares one throttle among many processes: whichever of them ask, the
// callback runs at most once per interval in all of them together, and the last call is
// never lost, even if the process that made it dies. What they share is kept in a store
// that they all reach: package fleetredis or fleetpg of the adapters, or [Memory] within one
// process.
//
//	t, err := fleet.New(engine, "search-index", throttle.Every(time.Minute), rebuildIndex)
//	…
//	t.Call()           // anywhere, any number of times
//	err = t.Do(ctx)    // or wait for a run that covers this call, wherever it runs
//
// # What it is for
//
// It is for work on what all processes share: rebuild an index, publish a snapshot,
// reconcile a cluster. One replica's run serves all of them. To reload each replica's own
// state is another thing: a fleet's throttle would have one replica do it, and leave the
// others' state as it was. For that, package throttle is right, in every process.
//
// # Replicas
//
// A [Throttler] is one replica: it makes calls, and runs the callback when the store grants
// it a run, for its own calls or for another's. All replicas of a key should have the same
// policy and a callback that does the same. A replica that never calls is welcome: it
// is there to run what others asked for and did not live to see.
//
// # What is promised
//
//   - Runs of a key are granted at least Interval and the guard apart, on the store's
//     clock, and start at least Interval apart. Clocks of replicas are never compared.
//   - Runs do not overlap: a grant is a lease, which is prolonged while the run goes on,
//     and no other is given before it ends.
//   - A run starts after the last call, while the replica that made it lives, or the store
//     that was told of it keeps what it has been told.
//   - A callback's error, panic or runtime.Goexit is the end of a run, as in package
//     throttle; with Policy.Retry it is repeated, by whichever replica.
//
// No more can be promised: a process may be paused within the callback for longer than its
// lease, and a store may lose what it has been told. Against the first, every run has a
// [Token] that is higher than those before, for the callback to hand to what it writes
// to. Against the second, the engines look at what the store's configuration says of its
// durability; if it does lose something, there is at most one run too early for each key.
//
// # When the store cannot be reached
//
// The calls are kept, and the store is tried again, more and more rarely, until it is back.
// The error handler is told once. With [RunLocal] a replica runs by itself meanwhile, at
// most once per interval.
//
// # What it costs
//
// A call that has to reach the store does so in a goroutine of its own, one message at
// a time; calls that join a pending run cost none. A run costs a claim and a finish, and one
// claim more if it had to wait. The throttlers that share an engine in a process have one
// poller, which looks once in a second, and when something is due, for calls whose replica
// is gone.
package fleet
