// Package fleetredis lets the replicas of a fleet share throttles in Redis 6.2 and later,
// or in Valkey: as a single server, with sentinels, or as a cluster.
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
// [New] refuses one that has not. Its own attempts to send a command again do no harm: they
// send the same bytes, which the store tells from others. ReadTimeout and DialTimeout should
// not be far above the guard, as a grant whose reply comes later than that is given back.
//
// Where access is limited, the user needs
//
//	~throttle:* &throttle:* +evalsha +eval +get +set +zadd +zrem +zrange +time +publish +subscribe +ping +info
//
// and in a cluster "+cluster|slots +command +readonly" too.
//
// # What is stored
//
// A key's state is a string of about 300 bytes, and some 30 more for each claim of the last
// ten seconds. Keys that are due are in a sorted set, under the microsecond since 1970 at
// which they are. Both stand under one hash tag, for each shard of a namespace:
//
//	throttle:{default:0}:key:search-index
//	throttle:{default:0}:due
//	throttle:{default:0}:shards
//
// Each operation is one script, on the server's clock; whatever clocks the replicas have
// is without effect. A server that has forgotten its scripts is sent them again.
//
// A state is text: "1", the version of the format, then the token of the last grant and its
// time, then the rest. So each grant can be read from an append-only file.
//
// States have no expiry, and stay until somebody removes them. To remove one of which no
// call is pending, and no run active, is safe.
//
// Everything read is checked. A key whose state no engine has written there, or a later version has,
// is told by a *fleet.StateError; others are not affected.
//
// # Durability
//
// A call is not lost as long as a replica that knows it, or the store, lives. The store
// must do its part: the append-only file must be on, and maxmemory-policy noeviction or
// one of volatile, which leaves alone what has no expiry. The engine asks for both before
// the first operation, of every master of a cluster, and returns [fleet.ErrNotDurable] if it
// is not so or cannot be learned. Services that keep data in another way, and say that the
// file is off, need [WithVolatile], as does who can live with a loss.
//
// It does not ask how often the file is synced: with appendfsync everysec, a server that
// crashes loses nothing, a machine that does loses a second. Nor about replicas: one that
// is promoted may not have what the last moments wrote. What is lost then is as with a wiped
// store: a run may come too early, replicas that live make their calls again, and tokens
// rise all the same, since they are no lower than the clock, unless that is lower on the other machine
// and no replica is left that has seen a higher one.
//
// In a cluster, masters may have clocks that differ: a key is only ever on one. When it moves,
// the difference is a step of its clock: at most one run too early, or one interval too late.
package fleetredis
