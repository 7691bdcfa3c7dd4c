//go:build linux

package fleetredis_test

import (
	"fmt"
	"math"
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

// state returns a stored state with some numbers of its header changed, followed by texts.
func state(texts string, change map[int]string) string {
	header := strings.Fields("1 5 5 6 7 3 2 3 60 60 0 1 2 5 0 5 1 1 8 6")
	for i, n := range change {
		header[i] = n
	}
	return strings.Join(header, " ") + " " + texts
}

// TestEngine_BrokenState checks that an engine reports a broken state with a *fleet.StateError,
// does not change it, and goes on with other keys.
func TestEngine_BrokenState(t *testing.T) {
	const texts = "a;a=1;b=5policymessage"
	const tooHigh = "9007199254740992"
	put := func(value string) func(*redis.Client, string) error {
		return func(c *redis.Client, key string) error { return c.Set(t.Context(), key, value, 0).Err() }
	}
	stored := map[string]func(*redis.Client, string) error{
		"list":              func(c *redis.Client, key string) error { return c.RPush(t.Context(), key, "x").Err() },
		"hash":              func(c *redis.Client, key string) error { return c.HSet(t.Context(), key, "x", "y").Err() },
		"sorted set":        func(c *redis.Client, key string) error { return c.ZAdd(t.Context(), key, redis.Z{Member: "x"}).Err() },
		"empty":             put(""),
		"garbage":           put("garbage"),
		"binary":            put("\x00\xff\x01"),
		"later version":     put("2 " + texts),
		"long version":      put(strings.Repeat("9", 1000) + " 1 2"),
		"too long":          put(state("a;a=1;b=5policy"+strings.Repeat("m", 5000), nil)),
		"too long ids":      put(state("a"+strings.Repeat(";a=1", 1100)+"policymessage", map[int]string{18: "4400"})),
		"too few numbers":   put("1 2 3 a;a=1policymessage"),
		"negative":          put(state(texts, map[int]string{1: "-5"})),
		"fraction":          put(state(texts, map[int]string{1: "5.5"})),
		"exponent":          put(state(texts, map[int]string{1: "1e5"})),
		"hexadecimal":       put(state(texts, map[int]string{1: "0x5"})),
		"not a number":      put(state(texts, map[int]string{1: "nan"})),
		"infinite":          put(state(texts, map[int]string{1: strings.Repeat("9", 400)})),
		"failed twice":      put(state(texts, map[int]string{14: "2"})),
		"many identifiers":  put(state(texts, map[int]string{16: "33"})),
		"long owner":        put(state(texts, map[int]string{17: "900"})),
		"long ids":          put(state(texts, map[int]string{18: "900"})),
		"long policy":       put(state(strings.Repeat("p", 300), map[int]string{17: "0", 18: "0", 19: "257"})),
		"long message":      put(state(strings.Repeat("p", 300), map[int]string{17: "0", 18: "0", 19: "43"})),
		"infinite policy":   put(state(texts, map[int]string{19: strings.Repeat("9", 400)})),
		"nul in policy":     put(state("a;a=1;b=5pol\x00cymessage", nil)),
		"nul in message":    put(state("a;a=1;b=5policymess\x00ge", nil)),
		"span":              put(state(texts, map[int]string{8: "3153600000000001"})),
		"lease":             put(state(texts, map[int]string{9: "3153600000000001"})),
		"acknowledged":      put(state(texts, map[int]string{6: "4"})),
		"taken":             put(state(texts, map[int]string{7: "4"})),
		"no higher number":  put(state(texts, map[int]string{1: "9007199254740991"})),
		"no generation":     put(state(texts, map[int]string{5: "9007199254740991"})),
		"requested":         put(state(texts, map[int]string{5: tooHigh})),
		"another key's set": func(c *redis.Client, key string) error { return c.SAdd(t.Context(), key, "x").Err() },
	}
	for _, number := range []int{1, 2, 3, 4, 10, 11, 12, 13, 15} {
		stored[fmt.Sprintf("number %d too high", number)] = put(state(texts, map[int]string{number: tooHigh}))
	}
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		client := s.client(t)
		engine := newEngine(t, client)
		ctx := t.Context()

		// The states below differ from this one, which is valid, in one detail each.
		require.NoError(t, put(state(texts, nil))(client, prefix+"key:whole"))
		reply, err := engine.Claim(ctx, "whole", machine.Claim{ID: "c", Age: machine.None, Lease: time.Second})
		require.NoError(t, err)
		assert.Equal(t, machine.Ending{From: 1, Through: 2, Token: 5, Outcome: machine.Outcome{Message: "message"}}, reply.Last)
		assert.Equal(t, "policy", reply.Policy)

		for name, store := range stored {
			t.Run(name, func(t *testing.T) {
				ctx := t.Context()
				require.NoError(t, client.Del(ctx, prefix+"key:broken").Err())
				require.NoError(t, store(client, prefix+"key:broken"))
				before, err := client.Dump(ctx, prefix+"key:broken").Result()
				require.NoError(t, err)

				_, err = engine.Claim(ctx, "broken", newClaim("id"))
				requireStateError(t, err, "broken")
				if !strings.HasPrefix(name, "no ") || name == "not a number" {
					_, err = engine.Finish(ctx, "broken", machine.Finish{Token: 5, Ran: true})
					requireStateError(t, err, "broken")
					_, err = engine.Renew(ctx, "broken", 5)
					requireStateError(t, err, "broken")
				}

				after, err := client.Dump(ctx, prefix+"key:broken").Result()
				require.NoError(t, err)
				require.Equal(t, before, after, "the state has changed")
				require.ErrorIs(t, client.ZScore(ctx, index, "broken").Err(), redis.Nil, "the key is in the index")

				other, err := engine.Claim(ctx, "other of "+name, newClaim("id"))
				require.NoError(t, err)
				require.Equal(t, machine.Granted, other.Verdict)

				require.NoError(t, client.Del(ctx, prefix+"key:broken").Err())
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

func TestEngine_LaterVersion(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	require.NoError(t, client.Set(t.Context(), prefix+"key:k", "12 whatever", 0).Err())
	_, err := newEngine(t, client).Claim(t.Context(), "k", newClaim("id"))
	require.EqualError(t, err, "throttle: k: stored state is not valid: format version 12 is not known")
}

// TestEngine_InvalidTexts checks that the texts of replies are valid UTF-8 even if stored ones are
// not.
func TestEngine_InvalidTexts(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	text := state("a;a=1;b=5poli\xffymess\xc3ge", nil)
	require.NoError(t, client.Set(t.Context(), prefix+"key:k", text, 0).Err())
	reply, err := newEngine(t, client).Claim(t.Context(), "k", newClaim("id"))
	require.NoError(t, err)
	assert.Equal(t, "poli�y", reply.Policy)
	assert.Equal(t, "mess�ge", reply.Last.Outcome.Message)
}

// TestEngine_MalformedIdentifiers checks that malformed identifiers do no harm. They are never
// part of a reply, so the engine does not report them, and newer ones replace them.
func TestEngine_MalformedIdentifiers(t *testing.T) {
	for name, ids := range map[string]string{
		"no times":    ";a;b;c",
		"huge times":  ";a=99999999999999999999;b=" + strings.Repeat("9", 100),
		"separators":  strings.Repeat(";", 100),
		"binary":      "\x00\xff\n=;",
		"no count":    strings.Repeat(";a=1", 10),
		"long":        ";" + strings.Repeat("a", 1000) + "=1",
		"conversions": ";%d=1;%s=%n",
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			client := s.client(t)
			engine := newEngine(t, client)
			text := state("a"+ids+"policymessage", map[int]string{15: "9007199254740991", 16: "0", 18: strconv.Itoa(len(ids))})
			require.NoError(t, client.Set(t.Context(), prefix+"key:k", text, 0).Err())
			for i := range 3 * machine.MaxIDs {
				_, err := engine.Claim(t.Context(), "k", newClaim(fmt.Sprintf("id-%d", i)))
				require.NoError(t, err)
			}
			length, err := client.StrLen(t.Context(), prefix+"key:k").Result()
			require.NoError(t, err)
			require.Less(t, length, int64(2500))
		})
	}
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

// TestEngine_BrokenIndex checks that operations in a shard change nothing if its index has another
// type, and that other shards go on.
func TestEngine_BrokenIndex(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		client := s.client(t)
		ctx := t.Context()
		engine := newEngine(t, client, fleetredis.WithShards(2))
		keys := [2]string{keyOf(t, client, engine, 0), keyOf(t, client, engine, 1)}
		require.NoError(t, client.Set(ctx, "throttle:{default:0}:due", "x", 0).Err())

		before, err := client.Get(ctx, "throttle:{default:0}:key:"+keys[0]).Result()
		require.NoError(t, err)
		_, err = engine.Claim(ctx, keys[0], newClaim("new"))
		requireStateError(t, err, keys[0])
		_, err = engine.Finish(ctx, keys[0], machine.Finish{})
		requireStateError(t, err, keys[0])
		_, err = engine.Renew(ctx, keys[0], 1)
		requireStateError(t, err, keys[0])
		after, err := client.Get(ctx, "throttle:{default:0}:key:"+keys[0]).Result()
		require.NoError(t, err)
		require.Equal(t, before, after)

		_, err = engine.Claim(ctx, keys[1], newClaim("new"))
		require.NoError(t, err)
		require.NoError(t, client.ZAdd(ctx, "throttle:{default:1}:due", redis.Z{Score: 1, Member: keys[1]}).Err())
		due, err := engine.Due(ctx, 0)
		require.NoError(t, err)
		require.Equal(t, []string{keys[1]}, due.Keys)
		require.Equal(t, time.Second, due.Next, "the engine asks the broken shard again")
	})
}

// keyOf returns a key of the shard. The key has a grant.
func keyOf(tb testing.TB, client redis.Cmdable, engine fleet.Engine, shard int) string {
	tb.Helper()
	for i := range 100 {
		key := fmt.Sprintf("key-%d", i)
		reply, err := engine.Claim(tb.Context(), key, newClaim("first"))
		require.NoError(tb, err)
		require.Equal(tb, machine.Granted, reply.Verdict)
		n, err := client.Exists(tb.Context(), fmt.Sprintf("throttle:{default:%d}:key:%s", shard, key)).Result()
		require.NoError(tb, err)
		if n == 1 {
			return key
		}
	}
	tb.Fatal("no key of a hundred is in the shard")
	return ""
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
		due, err := engine.Due(ctx, 0)
		require.NoError(t, err)
		assert.Equal(t, []string{"\x00\xff\r\n", "", long, "true"}, due.Keys)
		assert.Equal(t, machine.MaxSpan, due.Next)
		due, err = engine.Due(ctx, 3)
		require.NoError(t, err)
		assert.Equal(t, []string{"true"}, due.Keys)

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
