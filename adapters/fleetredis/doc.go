// Package fleetredis lets the replicas of a fleet share throttles in Redis 6.2 and later, or
// in Valkey: as a single server, with sentinels, or as a cluster.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379", ContextTimeoutEnabled: true})
//	engine := throttle.Must(fleetredis.New(client))
//
//	index := throttle.Must(fleet.New(engine, "search-index", throttle.Every(time.Minute), rebuildIndex))
//	index.Call() // on whichever replica
//
// # Client
//
// The client must have ContextTimeoutEnabled set, or its operations outlive their contexts:
// [New] refuses one that has not. redis.ParseURL does not set it. ReadTimeout bounds an
// operation whose context is cancelled before its deadline.
//
// The client's own attempts to send a command again do no harm: they send the same bytes, and
// the store knows a message that it has seen. What it cannot get rid of by that, as a server
// that is not a master any more, is returned, and the throttler tries again.
//
// Where access is limited, the user needs
//
//	~throttle:* &throttle:* +evalsha +eval +get +set +zadd +zrem +zrange +time +publish +subscribe +ping +info
//
// and in a cluster +cluster|slots, +asking and +command too. A client that may not publish or
// subscribe loses nothing but promptness.
//
// # What is stored
//
// A key's state is a string, of about 300 bytes when it is idle, and some 25 more for each
// claim of the last ten seconds. Keys of which a call is pending or a run active are in a
// sorted set, under the microsecond since 1970 at which they are due. Both stand under one
// hash tag, for each shard of a namespace:
//
//	throttle:{default:0}:key:search-index
//	throttle:{default:0}:due
//	throttle:{default:0}:shards
//
// A state is text: "1", the version of the format, then the token of the last grant and its
// time, then the rest. So every grant can be read from an append-only file.
//
// States have no expiry, and stay until somebody removes them. One that is not in the sorted
// set, and whose last run is longer ago than the interval, may be removed at any time.
//
// Each operation is one script, on the server's clock; those of the replicas have no effect. A
// server that has forgotten its scripts is sent them again. Everything that is read is
// checked. A key whose state no engine has written, or a later version, is told by a
// [*fleet.StateError] and left as it is; other keys go on.
//
// # Durability
//
// A call is not lost as long as a replica that knows of it lives, or the store keeps it. The
// store does if its append-only file is on, and maxmemory-policy is noeviction or one of
// volatile, which leave alone what has no expiry. The engine asks for both before the first
// operation, at every master of a cluster, see [Engine.Check]. Services that keep data in
// another way, and say that the file is off, need [WithVolatile], as does who can live with a
// loss.
//
// It does not ask how often the file is synced. With appendfsync everysec a server that
// crashes loses nothing, and a machine that does, a second. Nor does it ask about replicas of
// the server: one that is promoted may not have what was written last. What is lost then is as
// with a store that was wiped: each key may run once too early, and the replicas that live
// make their calls again. Tokens rise all the same, as they are no lower than the clock.
//
// # Clusters
//
// Keys are spread by [WithShards]; one shard is on one master. The clocks of the masters
// should agree to within the guard: a replica judges by one how late a grant would come from
// another. While a slot moves, a new key in it may be answered with TRYAGAIN until all keys
// have moved; the throttler tries again.
package fleetredis
