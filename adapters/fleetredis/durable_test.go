//go:build linux

package fleetredis_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

func TestEngine_Check(t *testing.T) {
	for name, c := range map[string]struct {
		more   []string
		reason string // empty if it is durable
	}{
		"as it should be":   {nil, ""},
		"volatile-lru":      {[]string{"--maxmemory-policy", "volatile-lru"}, ""},
		"no file":           {[]string{"--appendonly", "no"}, "throttle: store is not durable: its append-only file is off (appendonly)"},
		"eviction":          {[]string{"--maxmemory-policy", "allkeys-lru"}, "throttle: store is not durable: it may evict any key (maxmemory-policy allkeys-lru)"},
		"INFO unknown":      {[]string{"--rename-command", "INFO", ""}, "throttle: store is not durable: cannot find out: ERR unknown command"},
		"CONFIG is unknown": {[]string{"--rename-command", "CONFIG", ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, c.more...)
			client := s.client(t)
			engine := newEngine(t, client)
			volatile := newEngine(t, client, fleetredis.WithVolatile())
			require.NoError(t, volatile.Check(t.Context()))
			for range 2 {
				_, claimed := engine.Claim(t.Context(), "k", newClaim("id"))
				_, finished := engine.Finish(t.Context(), "k", machine.Finish{})
				_, renewed := engine.Renew(t.Context(), "k", 1)
				_, due := engine.Due(t.Context(), nil)
				for _, err := range []error{engine.Check(t.Context()), claimed, finished, renewed, due} {
					if c.reason == "" {
						require.NoError(t, err)
						continue
					}
					require.ErrorIs(t, err, fleet.ErrNotDurable)
					require.ErrorContains(t, err, c.reason)
				}
			}
			n, err := client.Exists(t.Context(), prefix+"key:k").Result()
			require.NoError(t, err)
			require.Equal(t, c.reason == "", n == 1)
			_, err = volatile.Claim(t.Context(), "k", newClaim("id"))
			require.NoError(t, err)
		})
	}
}

// TestEngine_Check_Once checks that an engine stops asking once the store is fit.
func TestEngine_Check_Once(t *testing.T) {
	s := startServer(t, "--appendonly", "no")
	client := s.client(t)
	engine := newEngine(t, client)
	_, err := engine.Claim(t.Context(), "k", newClaim("id"))
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	require.NoError(t, client.ConfigSet(t.Context(), "appendonly", "yes").Err())
	_, err = engine.Claim(t.Context(), "k", newClaim("id"))
	require.NoError(t, err)
	require.NoError(t, client.ConfigSet(t.Context(), "appendonly", "no").Err())
	_, err = engine.Claim(t.Context(), "k", newClaim("id"))
	require.NoError(t, err)
	require.ErrorIs(t, engine.Check(t.Context()), fleet.ErrNotDurable)
}

// TestEngine_Check_NoPermission uses an access list that forbids INFO.
func TestEngine_Check_NoPermission(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	require.NoError(t, client.ACLSetUser(t.Context(), "u", "on", ">password", "+@all", "-info", "~*", "&*").Err())
	options := clientOptions(s.Addr())
	options.Username, options.Password = "u", "password"
	err := newEngine(t, connect(t, options)).Check(t.Context())
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	require.ErrorContains(t, err, "NOPERM")
}

// TestEngine_Permissions checks that the documented permissions are enough for every operation.
func TestEngine_Permissions(t *testing.T) {
	s := startServer(t)
	client := s.client(t)
	require.NoError(t, client.ACLSetUser(t.Context(), "u", "on", ">password", "~throttle:*", "&throttle:*",
		"+evalsha", "+eval", "+get", "+set", "+exists", "+unlink", "+hmget", "+hset", "+zadd", "+zrem", "+zrange", "+zcount", "+zmscore",
		"+time", "+publish", "+subscribe", "+ping", "+info").Err())
	options := clientOptions(s.Addr())
	options.Username, options.Password = "u", "password"
	engine := newEngine(t, connect(t, options))
	wakes, _ := listen(t, engine)
	requireSubscribed(t, s)
	require.NoError(t, engine.Check(t.Context()))
	finish(t, engine, "k", true)
	require.Equal(t, "k", receive(t, wakes).Key)
	_, err := engine.Renew(t.Context(), "k", 1)
	require.NoError(t, err)
	for i := range machine.MaxDue + 1 {
		require.NoError(t, client.ZAdd(t.Context(), index, redis.Z{Member: i}).Err())
	}
	due, err := engine.Due(t.Context(), []string{"1"})
	require.NoError(t, err)
	require.Contains(t, due.Keys, "1")
	_, err = engine.Inspect(t.Context(), "k")
	require.NoError(t, err)
	require.NoError(t, engine.Forget(t.Context(), "k"))
}
