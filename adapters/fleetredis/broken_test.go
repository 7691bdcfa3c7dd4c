//go:build linux

package fleetredis_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// The tests in this file give an engine content that no engine has written.

// newClaim returns a claim for a new call that the store grants if it can.
func newClaim(id string) machine.Claim {
	return machine.Claim{
		ID: id, New: true, Age: machine.None, By: machine.MaxNumber, Spacing: time.Minute, Lease: time.Hour, Policy: "policy",
	}
}

func newEngine(tb testing.TB, client redis.UniversalClient, opts ...fleetredis.Option) *fleetredis.Engine {
	tb.Helper()
	engine, err := fleetredis.New(client, opts...)
	require.NoError(tb, err)
	return engine
}

// stored returns the fields of a state, which is valid unless the changes, each of a field and its
// value, make it invalid.
func stored(changes ...string) map[string]string {
	fields := map[string]string{
		"n": "1 5 5 6 7 60 60 3 2 3 0 8 a",
		"i": "hash-one0000000000000001" + "hash-two0000000000000005",
		"p": "policy",
		"e": "1 5 0 message",
	}
	for change := range slices.Chunk(changes, 2) {
		fields[change[0]] = change[1]
	}
	return fields
}

// withNumber returns the numbers of a state with one of them changed.
func withNumber(i int, n string) string {
	words := strings.Split(stored()["n"], " ")
	words[i] = n
	return strings.Join(words, " ")
}

// put returns a function that stores a hash.
func put(fields map[string]string) func(context.Context, *redis.Client, string) error {
	return func(ctx context.Context, c *redis.Client, key string) error { return c.HSet(ctx, key, fields).Err() }
}

// TestEngine_BrokenState checks that an engine reports a broken state with a *fleet.StateError,
// does not change it, and goes on with other keys.
func TestEngine_BrokenState(t *testing.T) {
	const tooHigh, endless = "9007199254740992", "9999999999999999999999999999999999999999"
	long := strings.Repeat("9", 400) // infinite as a number
	states := map[string]func(context.Context, *redis.Client, string) error{
		"list": func(ctx context.Context, c *redis.Client, key string) error { return c.RPush(ctx, key, "x").Err() },
		"set":  func(ctx context.Context, c *redis.Client, key string) error { return c.SAdd(ctx, key, "x").Err() },
		"sorted set": func(ctx context.Context, c *redis.Client, key string) error {
			return c.ZAdd(ctx, key, redis.Z{Member: "x"}).Err()
		},
		"string": func(ctx context.Context, c *redis.Client, key string) error {
			return c.Set(ctx, key, "1 5 5 6 7 3 2 3 60 60 0 1 2 5 0 5 0 0 0 0 ", 0).Err()
		},
		"another hash":     put(map[string]string{"x": "y"}),
		"no numbers":       put(map[string]string{"i": stored()["i"], "p": "policy"}),
		"empty":            put(stored("n", "")),
		"no limit":         put(stored("n", "1 5 5 6 7 60 60 3 2 3 0 a")),
		"garbage":          put(stored("n", "garbage")),
		"binary":           put(stored("n", "\x00\xff\x01")),
		"later version":    put(stored("n", "2 "+stored()["n"][2:])),
		"long version":     put(stored("n", strings.Repeat("9", 1000)+" 1 2")),
		"too few numbers":  put(stored("n", "1 2 3 a")),
		"too many numbers": put(stored("n", "1 5 5 6 7 60 60 3 2 3 0 8 0 a")),
		"no owner":         put(stored("n", strings.TrimSuffix(stored()["n"], " a"))),
		"negative":         put(stored("n", withNumber(1, "-5"))),
		"fraction":         put(stored("n", withNumber(1, "5.5"))),
		"exponent":         put(stored("n", withNumber(1, "1e5"))),
		"hexadecimal":      put(stored("n", withNumber(1, "0x5"))),
		"not a number":     put(stored("n", withNumber(1, "nan"))),
		"infinite":         put(stored("n", withNumber(1, long))),
		"span":             put(stored("n", withNumber(5, "3153600000000001"))),
		"lease":            put(stored("n", withNumber(6, "3153600000000001"))),
		"requested":        put(stored("n", withNumber(7, tooHigh))),
		"acknowledged":     put(stored("n", withNumber(8, "4"))),
		"taken":            put(stored("n", withNumber(9, "4"))),
		"long owner":       put(stored("n", withNumber(12, strings.Repeat("a", 65)))),
		"owner of others":  put(stored("n", withNumber(12, "a_b"))),
		"half identifier":  put(stored("i", "hash-one0000000000000001hash-two")),
		"many identifiers": put(stored("i", strings.Repeat("hash-one0000000000000001", machine.MaxIDs+1))),
		"long policy":      put(stored("p", strings.Repeat("p", machine.MaxText+1))),
		"nul in policy":    put(stored("p", "pol\x00cy")),
		"nul in message":   put(stored("e", "1 5 0 mess\x00ge")),
		"long message":     put(stored("e", "1 5 0 "+strings.Repeat("m", machine.MaxText+1))),
		"no message":       put(stored("e", "1 5 0")),
		"failed twice":     put(stored("e", "1 5 2 message")),
		"ending without":   put(stored("e", "message")),
		"negative ending":  put(stored("e", "-1 5 0 message")),
		"infinite ending":  put(stored("e", long+" 5 0 message")),
		"ending of later":  put(stored("e", "3 5 0 message")), // than what is acknowledged
		"token of later":   put(stored("e", "1 6 0 message")),
		"infinite last":    put(stored("e", "1 "+endless+" 0 message")),
		"no higher number": put(stored("n", withNumber(1, "9007199254740991"))),
		"no generation":    put(stored("n", withNumber(7, "9007199254740991"))),
	}
	for _, number := range []int{1, 2, 3, 4, 10, 11} {
		states[fmt.Sprintf("number %d too high", number)] = put(stored("n", withNumber(number, tooHigh)))
	}
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		client := s.client(t)
		engine := newEngine(t, client)
		ctx := t.Context()

		// The states below differ from this one, which is valid, in one detail each.
		require.NoError(t, put(stored())(ctx, client, prefix+"key:whole"))
		reply, err := engine.Claim(ctx, "whole", machine.Claim{ID: "c", Age: machine.None, Lease: time.Second})
		require.NoError(t, err)
		assert.Equal(t, machine.Ending{From: 1, Through: 2, Token: 5, Outcome: machine.Outcome{Message: "message"}}, reply.Last)
		assert.Equal(t, "policy", reply.Policy)

		for name, store := range states {
			t.Run(name, func(t *testing.T) {
				ctx := t.Context()
				require.NoError(t, client.Del(ctx, prefix+"key:broken").Err())
				require.NoError(t, store(ctx, client, prefix+"key:broken"))
				before, err := client.Dump(ctx, prefix+"key:broken").Result()
				require.NoError(t, err)

				_, err = engine.Claim(ctx, "broken", newClaim("id"))
				requireStateError(t, err, "broken")
				if name != "no higher number" && name != "no generation" {
					_, err = engine.Finish(ctx, "broken", machine.Finish{Token: 5, Ran: true})
					requireStateError(t, err, "broken")
					_, err = engine.Renew(ctx, "broken", 5)
					requireStateError(t, err, "broken")
					_, err = engine.Inspect(ctx, "broken")
					requireStateError(t, err, "broken")
				}

				after, err := client.Dump(ctx, prefix+"key:broken").Result()
				require.NoError(t, err)
				require.Equal(t, before, after, "the state has changed")
				require.ErrorIs(t, client.ZScore(ctx, index, "broken").Err(), redis.Nil, "the key is in the index")

				other, err := engine.Claim(ctx, "other of "+name, newClaim("id"))
				require.NoError(t, err)
				require.Equal(t, machine.Granted, other.Verdict)

				require.NoError(t, engine.Forget(ctx, "broken"))
				again, err := engine.Claim(ctx, "broken", newClaim("id"))
				require.NoError(t, err)
				require.Equal(t, machine.Granted, again.Verdict)
				_, err = engine.Finish(ctx, "broken", machine.Finish{Token: again.Token, Ran: true})
				require.NoError(t, err)
			})
		}
	})
}

func requireStateError(tb testing.TB, err error, key string) {
	tb.Helper()
	var wrong *fleet.StateError
	require.ErrorAs(tb, err, &wrong)
	require.Equal(tb, key, wrong.Key)
	require.NotEmpty(tb, wrong.Reason)
}

// TestEngine_LaterVersion checks that the error for a state of a later version names the version, even
// if the state is otherwise not what this version writes.
func TestEngine_LaterVersion(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	require.NoError(t, client.HSet(t.Context(), prefix+"key:k", "n", "12 whatever", "z", "new").Err())
	engine := newEngine(t, client)
	_, claimed := engine.Claim(t.Context(), "k", newClaim("id"))
	_, inspected := engine.Inspect(t.Context(), "k")
	for _, err := range []error{claimed, inspected} {
		require.EqualError(t, err, "throttle: k: stored state is not valid: format version 12 is not known, only 1")
	}
}

// TestEngine_NewField checks that an engine keeps a field that it does not know, which a later version
// may write.
func TestEngine_NewField(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	engine := newEngine(t, client)
	finish(t, engine, "k", true)
	require.NoError(t, client.HSet(t.Context(), prefix+"key:k", "z", "new").Err())
	c := newClaim("later")
	c.Policy = "another"
	_, err := engine.Claim(t.Context(), "k", c)
	require.NoError(t, err)
	require.Equal(t, "new", client.HGet(t.Context(), prefix+"key:k", "z").Val())
}

// TestEngine_InvalidTexts checks that the texts of replies are valid UTF-8 even if stored ones are
// not.
func TestEngine_InvalidTexts(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	fields := stored("p", "poli\xffy", "e", "1 5 1 mess\xc3ge")
	require.NoError(t, put(fields)(t.Context(), client, prefix+"key:k"))
	engine := newEngine(t, client)
	inspected, err := engine.Inspect(t.Context(), "k")
	require.NoError(t, err)
	assert.Equal(t, "poli�y", inspected.Policy)
	reply, err := engine.Claim(t.Context(), "k", newClaim("id"))
	require.NoError(t, err)
	assert.Equal(t, "poli�y", reply.Policy)
	assert.Equal(t, machine.Outcome{Failed: true, Message: "mess�ge"}, reply.Last.Outcome)
}

// TestEngine_MalformedIdentifiers checks that identifiers with malformed times do no harm. They are
// never part of a reply, so only Inspect reports them, and newer ones replace them.
func TestEngine_MalformedIdentifiers(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	engine := newEngine(t, client)
	for _, at := range []string{
		"                ", "9999999999999999", "            9e99", "           -9e99", "              -1", "             nan",
		"            -nan", "             inf", "            -inf", "0x00000000000001", "0000000000000000", "%d%s%n\x00\xff\n;=12345",
	} {
		t.Run(at, func(t *testing.T) {
			key := prefix + "key:" + at
			require.NoError(t, put(stored("i", strings.Repeat("hash-one"+at, 10)))(t.Context(), client, key))
			for i := range 3 * machine.MaxIDs {
				_, err := engine.Claim(t.Context(), at, newClaim(fmt.Sprintf("id-%d", i)))
				require.NoError(t, err)
			}
			state, err := engine.Inspect(t.Context(), at)
			require.NoError(t, err)
			require.Len(t, state.IDs, machine.MaxIDs)
		})
	}
	require.NoError(t, put(stored("i", "hash-one             nan"))(t.Context(), client, prefix+"key:k"))
	_, err := engine.Inspect(t.Context(), "k")
	requireStateError(t, err, "k")
}

// TestEngine_SimilarIdentifiers checks that an identifier does not match the end of another one.
func TestEngine_SimilarIdentifiers(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	engine := newEngine(t, client)
	c := newClaim("a-b")
	c.Lease, c.Spacing = time.Microsecond, 0
	first, err := engine.Claim(t.Context(), "k", c)
	require.NoError(t, err)
	c.ID = "b"
	second, err := engine.Claim(t.Context(), "k", c)
	require.NoError(t, err)
	require.Equal(t, machine.Granted, second.Verdict)
	require.Greater(t, second.Token, first.Token)
	require.Len(t, load(t, client, "k").IDs, 2)
}

// TestEngine_UnknownKeys checks that finishing or renewing a run of an unknown key stores nothing.
func TestEngine_UnknownKeys(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	engine := newEngine(t, client)
	finished, err := engine.Finish(t.Context(), "k", machine.Finish{Ran: true, Again: true})
	require.NoError(t, err)
	require.True(t, finished.Stale)
	held, err := engine.Renew(t.Context(), "k", 0)
	require.NoError(t, err)
	require.False(t, held)
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Equal(t, []string{prefix + "shards"}, keys)
}

// TestEngine_BrokenIndex checks that operations that would change an index change nothing if the
// index has another type, and that other shards go on.
func TestEngine_BrokenIndex(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		client := s.client(t)
		ctx := t.Context()
		engine := newEngine(t, client, fleetredis.WithShards(2))
		keys := [2]string{keyOf(engine, 0, "key"), keyOf(engine, 1, "key")}
		held, err := engine.Claim(ctx, keys[0], newClaim("first"))
		require.NoError(t, err)
		require.Equal(t, machine.Granted, held.Verdict)
		require.NoError(t, client.Set(ctx, "throttle:{default:0}:due", "x", 0).Err())

		before, err := client.HGetAll(ctx, "throttle:{default:0}:key:"+keys[0]).Result()
		require.NoError(t, err)
		require.NotEmpty(t, before)
		for _, again := range []bool{false, true} {
			_, err = engine.Finish(ctx, keys[0], machine.Finish{Token: held.Token, Ran: true, Again: again})
			requireStateError(t, err, keys[0])
		}
		_, err = engine.Renew(ctx, keys[0], held.Token)
		requireStateError(t, err, keys[0])
		requireStateError(t, engine.Forget(ctx, keys[0]), keys[0])
		after, err := client.HGetAll(ctx, "throttle:{default:0}:key:"+keys[0]).Result()
		require.NoError(t, err)
		require.Equal(t, before, after)
		unknown := keyOf(engine, 0, "unknown")
		_, err = engine.Claim(ctx, unknown, newClaim("new"))
		requireStateError(t, err, unknown)
		require.Zero(t, client.Exists(ctx, "throttle:{default:0}:key:"+unknown).Val())

		_, err = engine.Claim(ctx, keys[1], newClaim("new"))
		require.NoError(t, err)
		require.NoError(t, client.ZAdd(ctx, "throttle:{default:1}:due", redis.Z{Score: 1, Member: keys[1]}).Err())
		due, err := engine.Due(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, []string{keys[1]}, due.Keys)
		require.Equal(t, 1, due.Count)
		require.Equal(t, time.Second, due.Next, "the engine asks the broken shard again")
	})
}

// keyOf returns a key of the shard, with name in it.
func keyOf(engine fleet.Engine, shard int, name string) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("%s-%d", name, i); engine.Part(key) == shard {
			return key
		}
	}
}

// TestEngine_Due_HostileEntries checks that entries with strange scores and members do not hide
// others.
func TestEngine_Due_HostileEntries(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		client := s.client(t)
		ctx := t.Context()
		engine := newEngine(t, client)
		now := storeNow(ctx, t, client)
		long := strings.Repeat("x", 100_000)
		require.NoError(t, client.ZAdd(ctx, index,
			redis.Z{Score: math.Inf(-1), Member: "\x00\xff\r\n"},
			redis.Z{Score: -1e300, Member: ""},
			redis.Z{Score: 1.5, Member: long},
			redis.Z{Score: float64(now) - 1, Member: "true"},
			redis.Z{Score: math.Inf(1), Member: "never"},
		).Err())
		due, err := engine.Due(ctx, nil)
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"\x00\xff\r\n", "", long, "true"}, due.Keys)
		assert.Equal(t, 4, due.Count)
		assert.Equal(t, machine.MaxSpan, due.Oldest)
		assert.Equal(t, machine.MaxSpan, due.Next)

		// A claim corrects the entry of its key.
		reply, err := engine.Claim(ctx, "true", machine.Claim{ID: "id", Age: machine.None, Lease: time.Second})
		require.NoError(t, err)
		assert.Equal(t, machine.Served, reply.Verdict)
		assert.ErrorIs(t, client.ZScore(ctx, index, "true").Err(), redis.Nil)
	})
}

// TestEngine_HighNumbers checks that numbers are exact up to the highest one.
func TestEngine_HighNumbers(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		client := s.client(t)
		engine := newEngine(t, client)
		for _, seen := range []int64{1<<53 - 4, 1<<53 - 3} {
			key := strconv.FormatInt(seen, 10)
			c := newClaim(key)
			c.Seen, c.Spacing, c.Lease = seen, machine.MaxSpan, machine.MaxSpan
			reply, err := engine.Claim(t.Context(), key, c)
			require.NoError(t, err)
			require.Equal(t, seen+1, reply.Token)
			stored := load(t, client, key)
			require.Equal(t, seen+1, stored.Token)
			require.Equal(t, reply.Now.Add(machine.MaxSpan), stored.Next)
			requireIndexed(t, client, key, stored)
			held, err := engine.Renew(t.Context(), key, seen+1)
			require.NoError(t, err)
			require.True(t, held)
			finished, err := engine.Finish(t.Context(), key, machine.Finish{Token: seen + 1, Ran: true, Failures: 1<<53 - 1})
			require.NoError(t, err)
			require.False(t, finished.Stale)
			require.Equal(t, 1<<53-1, load(t, client, key).Failures)
		}
	})
}

// TestEngine_InvalidMessages checks that the engine refuses invalid messages before it sends them.
func TestEngine_InvalidMessages(t *testing.T) {
	engine, err := open("127.0.0.1:1") // nobody listens there
	require.NoError(t, err)
	_, err = engine.Claim(t.Context(), "k", machine.Claim{ID: "not an identifier", Lease: time.Second})
	require.ErrorContains(t, err, "identifier")
	_, err = engine.Finish(t.Context(), "k", machine.Finish{Token: -1})
	require.ErrorContains(t, err, "Token")
}
