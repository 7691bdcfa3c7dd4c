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
// store recognizes a message that it has seen. Errors that sending again cannot cure, such as
// that of a server that is no longer the master, reach the throttler, which tries again later.
//
// If you limit access, the user needs
//
//	~throttle:* &throttle:* +evalsha +eval +get +set +zadd +zrem +zrange +time +publish +subscribe +ping +info
//
// and in a cluster also +cluster|slots, +asking and +command. A client that may not publish or
// subscribe only learns later about the runs of other replicas.
//
// # Stored data
//
// The state of a key is a string. It has about 300 bytes when the key is idle, and some 25 bytes
// more for each claim of the last ten seconds. Keys with a pending call or an active run are also
// in a sorted set; their score is the microsecond since 1970 at which they are due. The keys in
// Redis share a hash tag for each shard of a namespace:
//
//	throttle:{default:0}:key:search-index
//	throttle:{default:0}:due
//	throttle:{default:0}:shards
//
// A state is text. It begins with "1", the version of the format, then the token and the time of
// the last grant. So you can read every grant from an append-only file.
//
// States do not expire. You may delete the state of a key at any time if the key is not in the
// sorted set and its last run is longer ago than the interval.
//
// Each operation is one script, and uses the server's clock; the clocks of the replicas do not
// matter. If the server has forgotten its scripts, the engine sends them again. The scripts check
// everything that they read. If no engine can have written the state of a key, or a later version
// has, the engine returns a [*fleet.StateError] and does not change the state; other keys go on.
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
