//go:build linux

package fleetredis_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet/machine"
)

// TestEngine_Due checks what a look at one shard and at several sees of few keys and of many.
func TestEngine_Due(t *testing.T) {
	for _, shards := range []int{1, 3} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			s := miniredis.RunT(t)
			now := time.UnixMicro(1_800_000_000_000_000)
			ctx := t.Context()
			engine := newEngine(t, newClient(t, s.Addr()), fleetredis.WithVolatile(), fleetredis.WithShards(shards))
			var keys []string
			for i := range 450 { // each is due an hour after it was granted
				s.SetTime(now.Add(time.Duration(i) * time.Millisecond))
				keys = append(keys, fmt.Sprintf("key-%d", i*7919%10000))
				_, err := engine.Claim(ctx, keys[i], newClaim("id"))
				require.NoError(t, err)
			}
			// look looks when n keys are due.
			look := func(n int, held ...string) machine.Due {
				at := now.Add(time.Hour + time.Duration(n-1)*time.Millisecond)
				s.SetTime(at)
				due, err := engine.Due(ctx, held)
				require.NoError(t, err)
				require.Equal(t, machine.Time(at.UnixMicro()), due.Now)
				require.Equal(t, n, due.Count)
				require.Equal(t, max(0, time.Duration(n-1)*time.Millisecond), due.Oldest)
				if n < len(keys) {
					require.Equal(t, time.Millisecond, due.Next)
				} else {
					require.Equal(t, machine.None, due.Next)
				}
				require.Subset(t, keys[:n], due.Keys)
				return due
			}
			require.Empty(t, look(0, keys[0]).Keys)
			for _, n := range []int{1, 42, machine.MaxDue} {
				require.ElementsMatch(t, keys[:n], look(n, keys[0], "unknown", keys[400]).Keys)
			}

			// Of more, a look sees some. In time it sees all.
			for _, n := range []int{machine.MaxDue + 1, 450} {
				seen := make(map[string]bool)
				for looks := 0; len(seen) < n; looks++ {
					require.Less(t, looks, 1000)
					due := look(n)
					require.Len(t, due.Keys, machine.MaxDue)
					for _, key := range due.Keys {
						seen[key] = true
					}
				}
			}

			// It always sees those that it is asked for, each once, however many each shard has.
			for _, n := range []int{machine.MaxDue + 1, 240, 420} {
				due := look(n, slices.Concat(keys[n/2:], []string{"unknown", keys[n-1]})...)
				require.Subset(t, due.Keys, keys[n/2:n])
				require.LessOrEqual(t, len(due.Keys), n-n/2+machine.MaxDue)
				slices.Sort(due.Keys)
				require.Equal(t, slices.Compact(slices.Clone(due.Keys)), due.Keys)
			}
		})
	}
}

// TestEngine_Due_Cost checks that a look at fifty thousand due keys takes the server little time.
func TestEngine_Due_Cost(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) {
		s.Start(t)
		client := s.client(t)
		engine := newEngine(t, client)
		ctx := t.Context()
		require.NoError(t, engine.Check(ctx))
		orphans := make([]redis.Z, 50_000)
		for i := range orphans {
			orphans[i] = redis.Z{Score: float64(i), Member: fmt.Sprintf("tenant-%d", i)}
		}
		require.NoError(t, client.ZAdd(ctx, index, orphans...).Err())
		held := make([]string, 250)
		for i := range held {
			held[i] = fmt.Sprintf("tenant-%d", 200*i)
		}
		const looks = 100
		require.NoError(t, client.ConfigResetStat(ctx).Err())
		for range looks {
			due, err := engine.Due(ctx, held)
			require.NoError(t, err)
			require.Equal(t, len(orphans), due.Count)
			require.Subset(t, due.Keys, held)
		}
		script, scores := serverTime(t, client, "evalsha"), serverTime(t, client, "zmscore")
		took := script + scores
		t.Logf("a look takes %v of the server's time, %v without the keys that it asks for", took, script)
		require.Less(t, took, 5*time.Millisecond) // to read the orphans would take 50 ms
	})
}

// serverTime returns the server's average time for a command.
func serverTime(tb testing.TB, client redis.Cmdable, command string) time.Duration {
	tb.Helper()
	info, err := client.Info(tb.Context(), "commandstats").Result()
	require.NoError(tb, err)
	found := regexp.MustCompile(`cmdstat_` + command + `:.*usec_per_call=([\d.]+)`).FindStringSubmatch(info)
	require.NotNil(tb, found, command)
	micros, err := strconv.ParseFloat(found[1], 64)
	require.NoError(tb, err)
	return time.Duration(micros * float64(time.Microsecond))
}

// TestEngine_Due_HalfMicrosecond checks that Due rounds up the time to a score between two
// instants. Otherwise the next Due would come too early.
func TestEngine_Due_HalfMicrosecond(t *testing.T) {
	s := miniredis.RunT(t)
	s.SetTime(time.UnixMicro(1_800_000_000_000_000))
	client := newClient(t, s.Addr())
	engine := newEngine(t, client, fleetredis.WithVolatile())
	require.NoError(t, client.ZAdd(t.Context(), index, redis.Z{Score: 1_800_000_000_000_000.5, Member: "k"}).Err())
	due, err := engine.Due(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, machine.Due{Next: time.Microsecond, Now: 1_800_000_000_000_000}, due)
}

// TestWithShards checks that the store refuses an engine with another number of shards, and also
// an engine that was there first if somebody has wiped and used the store since.
func TestWithShards(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	ctx := t.Context()
	three := newEngine(t, client, fleetredis.WithShards(3))
	_, err := three.Claim(ctx, "k", newClaim("id"))
	require.NoError(t, err)

	four := newEngine(t, client, fleetredis.WithShards(4))
	for range 2 {
		_, err = four.Claim(ctx, "k", newClaim("id"))
		requireStateError(t, err, prefix+"shards")
		require.ErrorContains(t, err, "the namespace has 3 shards, and this engine 4")
	}
	_, err = newEngine(t, client, fleetredis.WithShards(4), fleetredis.WithNamespace("other")).Claim(ctx, "k", newClaim("id"))
	require.NoError(t, err, "another namespace")

	s.Wipe(t)
	_, err = three.Due(ctx, nil)
	require.NoError(t, err)
	_, err = four.Claim(ctx, "k", newClaim("id"))
	requireStateError(t, err, prefix+"shards")

	s.Wipe(t)
	_, err = four.Claim(ctx, "k", newClaim("id"))
	require.NoError(t, err)
	_, err = three.Due(ctx, nil)
	requireStateError(t, err, prefix+"shards")
	_, err = three.Claim(ctx, "k", newClaim("id"))
	requireStateError(t, err, prefix+"shards")

	require.NoError(t, client.Del(ctx, prefix+"shards").Err())
	require.NoError(t, client.HSet(ctx, prefix+"shards", "x", "y").Err())
	_, err = three.Claim(ctx, "k", newClaim("id"))
	requireStateError(t, err, prefix+"shards")
}

// TestWithNamespace checks that equal keys of two namespaces are independent.
func TestWithNamespace(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	a := newEngine(t, client, fleetredis.WithNamespace("a.b-c_D9"))
	b := newEngine(t, client, fleetredis.WithNamespace("a"))
	for _, engine := range []*fleetredis.Engine{a, b} {
		reply, err := engine.Claim(t.Context(), "k", newClaim("id"))
		require.NoError(t, err)
		require.Equal(t, machine.Granted, reply.Verdict)
	}
}
