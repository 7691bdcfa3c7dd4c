//go:build linux

package fleetredis_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet/machine"
)

// TestEngine_Due checks that Due returns keys in the order of their times, a page at a time, from
// one shard and from several.
func TestEngine_Due(t *testing.T) {
	for _, shards := range []int{1, 7} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			s := miniredis.RunT(t)
			now := time.UnixMicro(1_800_000_000_000_000)
			ctx := t.Context()
			engine := newEngine(t, newClient(t, s.Addr()), fleetredis.WithVolatile(), fleetredis.WithShards(shards))
			var keys []string
			for i := range 2500 { // each is due an hour after it was granted
				s.SetTime(now.Add(time.Duration(i) * time.Millisecond))
				keys = append(keys, fmt.Sprintf("key-%d", i*7919%10000))
				_, err := engine.Claim(ctx, keys[i], newClaim("id"))
				require.NoError(t, err)
			}
			at := func(i int) machine.Time {
				at := now.Add(time.Hour + time.Duration(i)*time.Millisecond)
				s.SetTime(at)
				return machine.Time(at.UnixMicro())
			}

			store := at(-1)
			due, err := engine.Due(ctx, 0)
			require.NoError(t, err)
			assert.Equal(t, machine.Due{Next: time.Millisecond, Now: store}, due)

			store = at(41)
			due, err = engine.Due(ctx, 0)
			require.NoError(t, err)
			assert.Equal(t, machine.Due{Keys: keys[:42], Next: time.Millisecond, Now: store}, due)
			due, err = engine.Due(ctx, 40)
			require.NoError(t, err)
			assert.Equal(t, machine.Due{Keys: keys[40:42], Next: time.Millisecond, Now: store}, due)
			due, err = engine.Due(ctx, 10_000)
			require.NoError(t, err)
			assert.Equal(t, machine.Due{Next: time.Millisecond, Now: store}, due)

			store = at(2499)
			for skip := 0; skip < 2000; skip += 1000 {
				due, err = engine.Due(ctx, skip)
				require.NoError(t, err)
				assert.Equal(t, machine.Due{Keys: keys[skip : skip+1000], More: true, Next: machine.None, Now: store}, due)
			}
			due, err = engine.Due(ctx, 1500)
			require.NoError(t, err)
			assert.Equal(t, machine.Due{Keys: keys[1500:], Next: machine.None, Now: store}, due)
			due, err = engine.Due(ctx, 2000)
			require.NoError(t, err)
			assert.Equal(t, machine.Due{Keys: keys[2000:], Next: machine.None, Now: store}, due)
		})
	}
}

// TestEngine_Due_HalfMicrosecond checks that Due rounds up the time to a score between two
// instants. Otherwise the next Due would come too early.
func TestEngine_Due_HalfMicrosecond(t *testing.T) {
	s := miniredis.RunT(t)
	s.SetTime(time.UnixMicro(1_800_000_000_000_000))
	client := newClient(t, s.Addr())
	engine := newEngine(t, client, fleetredis.WithVolatile())
	require.NoError(t, client.ZAdd(t.Context(), index, redis.Z{Score: 1_800_000_000_000_000.5, Member: "k"}).Err())
	due, err := engine.Due(t.Context(), 0)
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
	_, err = three.Due(ctx, 0)
	require.NoError(t, err)
	_, err = four.Claim(ctx, "k", newClaim("id"))
	requireStateError(t, err, prefix+"shards")

	s.Wipe(t)
	_, err = four.Claim(ctx, "k", newClaim("id"))
	require.NoError(t, err)
	_, err = three.Due(ctx, 0)
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
