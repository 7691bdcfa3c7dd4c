//go:build linux

package fleetredis_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/fleetredis"
)

func TestNew_AllProblems(t *testing.T) {
	engine, err := fleetredis.New(nil, nil, fleetredis.WithNamespace("a{b}"), fleetredis.WithShards(0), fleetredis.WithMaxInFlight(0))
	require.Nil(t, engine)
	require.EqualError(t, err, strings.Join([]string{
		"throttle: client <nil>: must not be nil",
		"throttle: Option <nil>: must not be nil",
		"throttle: WithNamespace a{b}: must be 1 to 64 letters, digits, dots, hyphens or underscores",
		"throttle: WithShards 0: must be from 1 to 1024",
		"throttle: WithMaxInFlight 0: must be from 1 to 1024",
	}, "\n"))
}

func TestNew_InvalidOptions(t *testing.T) {
	client := redis.NewClient(clientOptions("127.0.0.1:1"))
	defer client.Close()
	for _, name := range []string{"", "a:b", "a}", "{", "a b", "a\n", "ü", "a\x00", strings.Repeat("a", 65)} {
		_, err := fleetredis.New(client, fleetredis.WithNamespace(name))
		requirePolicyError(t, err, "WithNamespace")
	}
	for _, n := range []int{-1, 0, fleetredis.MaxShards + 1} {
		_, err := fleetredis.New(client, fleetredis.WithShards(n))
		requirePolicyError(t, err, "WithShards")
	}
	for _, n := range []int{-1, 0, 1025} {
		_, err := fleetredis.New(client, fleetredis.WithMaxInFlight(n))
		requirePolicyError(t, err, "WithMaxInFlight")
	}
	_, err := fleetredis.New(client, fleetredis.WithMaxInFlight(1024), fleetredis.WithNamespace(strings.Repeat("a", 64)), fleetredis.WithShards(fleetredis.MaxShards))
	require.NoError(t, err)
}

// TestNew_Clients checks that New refuses clients whose operations do not end with their contexts,
// or whose keys may move without their state.
func TestNew_Clients(t *testing.T) {
	addresses := []string{"127.0.0.1:1"}
	for name, c := range map[string]struct {
		client  redis.UniversalClient
		refused bool
	}{
		"single":              {redis.NewClient(&redis.Options{ContextTimeoutEnabled: true}), false},
		"single, no timeout":  {redis.NewClient(&redis.Options{}), true},
		"sentinel":            {redis.NewFailoverClient(&redis.FailoverOptions{SentinelAddrs: addresses, ContextTimeoutEnabled: true}), false},
		"cluster":             {redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses, ContextTimeoutEnabled: true}), false},
		"cluster, no timeout": {redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses}), true},
		"ring": {redis.NewRing(&redis.RingOptions{
			Addrs: map[string]string{"a": addresses[0]}, ContextTimeoutEnabled: true, HeartbeatFrequency: 1 << 60,
		}), true},
	} {
		t.Run(name, func(t *testing.T) {
			defer c.client.Close()
			_, err := fleetredis.New(c.client)
			if c.refused {
				requirePolicyError(t, err, "client")
				return
			}
			require.NoError(t, err)
		})
	}
}

func requirePolicyError(tb testing.TB, err error, field string) {
	tb.Helper()
	var wrong *throttle.PolicyError
	require.ErrorAs(tb, err, &wrong)
	assert.Equal(tb, field, wrong.Field)
}
