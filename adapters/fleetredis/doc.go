// Package fleetredis lets the replicas of a fleet share throttles through Redis 6.2 or later, or
// through Valkey: a single server, a server with sentinels, or a cluster.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379", ContextTimeoutEnabled: true})
//	engine := throttle.Must(fleetredis.New(client))
//
//	index := throttle.Must(fleet.New(engine, "search-index", throttle.Every(time.Minute), rebuildIndex))
//	index.Call() // on any replica
//
// # Client
//
// Set ContextTimeoutEnabled in the client's options. Without it, operations go on after their
// contexts end, so [New] refuses such a client. Note that redis.ParseURL does not set it. If a
// context is canceled before its deadline, ReadTimeout bounds the operation.
//
// The client may send a command again. That does no harm: it sends the same bytes, and the
// store recognizes a message that it has seen.
//
// An engine uses at most 16 connections of the client's pool at once for messages, or as many as
// [WithMaxInFlight] says, one more to look for due keys, and one that does not count in the pool's
// size to listen. If other parts of the program use up the pool, messages wait.
//
// If you limit access, the user needs
//
//	~throttle:* &throttle:* +evalsha +eval +get +set +hmget +hset +exists +unlink
//	+zadd +zrem +zrange +zcount +zmscore +time +publish +subscribe +ping +info
//
// and in a cluster also +cluster|slots, +asking and +command. A client that may not publish or
// subscribe only learns later about the runs of other replicas.
//
// # Errors
//
// An error matches [fleet.ErrEngineUnavailable] if the client could not connect, or lost its
// connection, or if the server did not answer before the deadline. If you set a Dialer, let its
// errors be or wrap a [net.Error], or they do not count as such.
//
// An answer of the server is not an outage, even if it says that the server is out of memory, still
// loading, or no longer the master. The engine returns it as it is, without passwords in its text.
// The throttler tries again later. Nor is it an outage if the deadline passes while the client waits
// for a connection of its pool and others use them all: the error is then [context.DeadlineExceeded]
// or [redis.ErrPoolTimeout].
//
// # Stored data
//
// The state of a key is a hash. Keys with a pending call or an active run are also in a sorted set;
// their score is the microsecond since 1970 at which they are due. The keys in Redis share a hash
// tag for each shard of a namespace:
//
//	throttle:{default:0}:key:search-index
//	throttle:{default:0}:due
//	throttle:{default:0}:shards
//
// The fields of a state are
//
//	n  numbers: 1, the version of the format, then the token and the time of the last grant, …
//	i  the identifiers of the claims of the last ten seconds, 24 bytes each
//	p  the policy
//	e  how the last run ended
//
// An operation writes the fields that change. Each grant writes n, so you can read every grant from
// an append-only file. [Engine.Inspect] returns a state, and [Engine.Forget] deletes one. States do
// not expire.
//
// Each operation is one script, and uses the server's clock; the clocks of the replicas do not
// matter. If the server has forgotten its scripts, the engine sends them again. The scripts check
// everything that they read. If no engine can have written the state of a key, or a version that
// this one does not know has, the engine returns a [*fleet.StateError] and does not change the
// state; other keys go on.
//
// # Versions
//
// An engine reads a range of versions of the format, writes one of them, and refuses the others with
// an error that names the version. This one reads and writes version 1. Every version begins field n
// with its number and a blank.
//
// During an update replicas of two releases use the same keys, and after a rollback the old release
// finds what the new one has written. So a release that introduces a version must still write the
// version before, and only read the new one. A later release writes the new version, once every
// release that you may return to can read it. A version ends in the same way: a release stops reading
// it when no release that may run beside it writes it. A state that nobody uses keeps its version, so
// read old versions for as long as states are kept.
//
// A field that old releases need not understand needs no new version. They ignore and keep it, but do
// not update it: whoever reads it must be able to tell, for example by a token in it, whether it
// still holds.
//
// # Durability
//
// A call is not lost while a replica that knows about it lives, or the store keeps it. The store
// keeps it if its append-only file is on, and if maxmemory-policy is noeviction or one of the
// volatile policies, which never evict a key without expiry. The engine checks both before its
// first operation, at every master of a cluster: see [Engine.Check]. Use [WithVolatile] for a
// service that reports the file as off because it keeps data in another way, or if you can accept
// a loss.
//
// The engine does not check how often the server syncs the file. With appendfsync everysec, a
// crash of the server loses nothing, and a crash of the machine loses one second. Nor does it
// check the server's replicas: a promoted replica may not have the latest writes. Such a loss has
// the same effect as a wiped store: each key may run once too early, and the replicas that live
// make their calls again. Tokens still rise, because they are never lower than the clock.
//
// # Clusters
//
// [WithShards] spreads the keys. All keys of one shard are on one master. The clocks of the
// masters should differ by less than the guard, because a replica uses the clock of one master to
// tell whether a grant of another comes too late. While a slot moves, the cluster may answer
// TRYAGAIN to a new key in it until all keys have moved; the throttler tries again.
package fleetredis
