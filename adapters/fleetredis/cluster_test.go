//go:build linux

package fleetredis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

const slots = 16384

// A cluster has three masters, each with a third of the slots.
type cluster struct {
	nodes   []*server
	clients []*redis.Client
	ids     []string
}

func startCluster(t *testing.T, name string, more ...string) *cluster {
	t.Helper()
	c := &cluster{}
	for range 3 {
		s := newServer(t, name)
		s.more = append([]string{
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t)), "--cluster-node-timeout", "5000",
		}, more...)
		s.Start(t)
		c.nodes = append(c.nodes, s)
		c.clients = append(c.clients, s.client(t))
	}
	ctx := t.Context()
	for i, client := range c.clients {
		id, err := client.Do(ctx, "CLUSTER", "MYID").Text()
		require.NoError(t, err)
		c.ids = append(c.ids, id)
		require.NoError(t, client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		require.NoError(t, client.ClusterAddSlotsRange(ctx, i*slots/3, (i+1)*slots/3-1).Err())
	}
	for _, node := range c.nodes {
		bus := node.more[slices.Index(node.more, "--cluster-port")+1]
		require.NoError(t, c.clients[0].Do(ctx, "CLUSTER", "MEET", "127.0.0.1", portOf(t, node.Addr()), bus).Err())
	}
	for _, client := range c.clients {
		require.Eventually(t, func() bool {
			info, err := client.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384")
		}, patience, 10*time.Millisecond, "the cluster does not come up")
	}
	return c
}

// freePort returns a free port that is below the ports of outgoing connections.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := 20_000 + rand.IntN(12_000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return n
}

// client returns a client that knows only one of the nodes.
func (c *cluster) client(t *testing.T) *redis.ClusterClient {
	t.Helper()
	o := clientOptions(c.nodes[0].Addr())
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{o.Addr}, ContextTimeoutEnabled: true,
		DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
	})
	t.Cleanup(func() { client.Close() })
	return client
}

// TestCluster_Shards checks that every node has shards, and that the engine finds all keys while
// a slot moves.
func TestCluster_Shards(t *testing.T) {
	for _, name := range []string{"redis", "valkey"} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, name)
			ctx := t.Context()
			const shards = 8
			engine := newEngine(t, c.client(t), fleetredis.WithShards(shards))
			require.NoError(t, engine.Check(ctx))
			tokens := make(map[string]int64)
			for i := range 100 {
				key := fmt.Sprint("}{", i)
				claim := newClaim("id")
				claim.Lease, claim.Spacing = time.Microsecond, time.Microsecond
				reply, err := engine.Claim(ctx, key, claim)
				require.NoError(t, err)
				require.Equal(t, machine.Granted, reply.Verdict)
				tokens[key] = reply.Token
			}
			for _, client := range c.clients {
				n, err := client.DBSize(ctx).Result()
				require.NoError(t, err)
				require.Positive(t, n, "a node has no shard")
			}
			requireDue(t, engine, 100)

			// Move a slot. The engine must find its keys before, during and after the move.
			slot, err := c.clients[0].ClusterKeySlot(ctx, "throttle:{default:0}:due").Result()
			require.NoError(t, err)
			from := int(slot) * 3 / slots
			to := (from + 1) % 3
			c.move(t, int(slot), from, to, func() { requireDue(t, engine, 100) })
			for key, token := range tokens {
				finished, err := engine.Finish(ctx, key, machine.Finish{Token: token, Ran: true})
				require.NoError(t, err)
				require.False(t, finished.Stale)
			}
			requireDue(t, engine, 0)
		})
	}
}

// move moves slot to another node. It calls meanwhile when the keys are on the new node but the
// slot is not.
func (c *cluster) move(t *testing.T, slot, from, to int, meanwhile func()) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, c.clients[to].Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", c.ids[from]).Err())
	require.NoError(t, c.clients[from].Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", c.ids[to]).Err())
	keys, err := c.clients[from].ClusterGetKeysInSlot(ctx, slot, 1000).Result()
	require.NoError(t, err)
	require.NotEmpty(t, keys)
	migrate := []any{"MIGRATE", "127.0.0.1", portOf(t, c.nodes[to].Addr()), "", 0, 5000, "KEYS"}
	for _, key := range keys {
		migrate = append(migrate, key)
	}
	require.NoError(t, c.clients[from].Do(ctx, migrate...).Err())
	meanwhile()
	for _, i := range []int{to, from, 3 - to - from} {
		require.NoError(t, c.clients[i].Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", c.ids[to]).Err())
	}
}

// requireDue waits until n keys are due in all shards together.
func requireDue(t *testing.T, engine fleet.Engine, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		due, err := engine.Due(t.Context(), nil)
		require.NoError(t, err)
		return len(due.Keys) == n
	}, patience, 10*time.Millisecond)
}

// TestCluster_Wakes checks that a listener hears about all keys, whichever node it is connected to.
func TestCluster_Wakes(t *testing.T) {
	c := startCluster(t, "redis")
	client := c.client(t)
	engine := newEngine(t, client, fleetredis.WithShards(8))
	wakes, _ := listen(t, engine)
	require.Eventually(t, func() bool {
		var listeners int64
		for _, client := range c.clients {
			n, err := client.PubSubNumSub(t.Context(), "throttle:{default}:wake").Result()
			require.NoError(t, err)
			listeners += n["throttle:{default}:wake"]
		}
		return listeners == 1
	}, patience, 10*time.Millisecond)
	for i := range 20 {
		finish(t, engine, strconv.Itoa(i), false)
		require.Equal(t, strconv.Itoa(i), receive(t, wakes).Key)
	}
}

// TestCluster_Durability checks that every master must be durable, as each has keys.
func TestCluster_Durability(t *testing.T) {
	c := startCluster(t, "redis")
	engine := newEngine(t, c.client(t))
	require.NoError(t, engine.Check(t.Context()))
	require.NoError(t, c.clients[2].ConfigSet(t.Context(), "appendonly", "no").Err())
	err := engine.Check(t.Context())
	require.ErrorIs(t, err, fleet.ErrNotDurable)
	require.ErrorContains(t, err, c.nodes[2].Addr())
}

// TestCluster_MasterDown checks that the keys of the other masters go on, and that those of the same
// part fail together.
func TestCluster_MasterDown(t *testing.T) {
	c := startCluster(t, "redis", "--cluster-require-full-coverage", "no")
	const shards = 8
	client := c.client(t)
	engine := newEngine(t, client, fleetredis.WithShards(shards))
	for i := range 100 {
		claim := newClaim("id")
		claim.Lease, claim.Spacing = time.Microsecond, time.Microsecond
		_, err := engine.Claim(t.Context(), strconv.Itoa(i), claim)
		require.NoError(t, err)
	}
	requireDue(t, engine, 100)

	// One master does not answer.
	c.nodes[2].Signal(t, syscall.SIGSTOP)
	c.requireOthers(t, engine)
	c.nodes[2].Signal(t, syscall.SIGCONT)
	requireDue(t, engine, 100)

	// All connections to it are in use.
	for shard := range shards {
		master, err := client.MasterForKey(t.Context(), fmt.Sprintf("throttle:{default:%d}:due", shard))
		require.NoError(t, err)
		if master.Options().Addr != c.nodes[2].Addr() {
			continue
		}
		var conns []*redis.Conn
		for range master.Options().PoolSize {
			conns = append(conns, master.Conn())
			require.NoError(t, conns[len(conns)-1].Ping(t.Context()).Err())
		}
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		_, err = engine.Claim(ctx, keyOf(engine, shard, "key"), newClaim("id"))
		require.Equal(t, context.DeadlineExceeded, err)
		cancel()
		for _, conn := range conns {
			require.NoError(t, conn.Close())
		}
		break
	}

	c.nodes[2].Kill(t)
	c.requireOthers(t, engine)
}

// requireOthers requires that the engine sees the due keys of the two masters that work, and that it
// either reaches all keys of a part or none. It has eight shards, and of its keys a hundred are due.
func (c *cluster) requireOthers(t *testing.T, engine *fleetredis.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience/10)
	defer cancel()
	due, err := engine.Due(ctx, nil)
	require.NoError(t, err)
	require.NotEmpty(t, due.Keys)
	require.Less(t, len(due.Keys), 100)
	require.Equal(t, len(due.Keys), due.Count)
	require.Equal(t, time.Second, due.Next)
	reached := make(map[int]bool)
	for _, key := range due.Keys {
		reached[engine.Part(key)] = true
	}
	for shard := range 8 {
		key, within := keyOf(engine, shard, "key"), soon
		if reached[shard] {
			within = patience
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		_, err := engine.Claim(ctx, key, newClaim("other"))
		cancel()
		if reached[shard] {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, fleet.ErrEngineUnavailable)
		}
	}
}
