package fleetredis_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/fleetredis"
	"github.com/throttle-go/throttle/fleet"
)

// This is one replica of a service. All replicas do the same. Whichever of them calls, one of them
// rebuilds the index, at most once a minute.
func Example() {
	server := throttle.Must(miniredis.Run()) // instead of a real Redis
	defer server.Close()

	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	engine := throttle.Must(fleetredis.New(client,
		fleetredis.WithNamespace("search"),
		fleetredis.WithVolatile())) // only because it is not a real Redis

	index := throttle.Must(fleet.New(engine, "index", throttle.Every(time.Minute), func(context.Context) error {
		fmt.Println("rebuilt")
		return nil
	}))
	defer index.Close()
	index.Call()
	fmt.Println(index.Do(context.Background())) // waits for a run that covers both
	// Output:
	// rebuilt
	// <nil>
}

func ExampleNew() {
	client := redis.NewClient(&redis.Options{Addr: "redis:6379"})
	defer client.Close()
	_, err := fleetredis.New(client, fleetredis.WithNamespace("{search}"))
	fmt.Println(err)
	// Output:
	// throttle: client *redis.Client: must have ContextTimeoutEnabled set
	// throttle: WithNamespace {search}: must be 1 to 64 letters, digits, dots, hyphens or underscores
}

// Check the store when the program starts.
func ExampleEngine_Check() {
	server := throttle.Must(miniredis.Run())
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	engine := throttle.Must(fleetredis.New(client))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(engine.Check(ctx))
	// Output: throttle: store is not durable: INFO does not say whether it is
}

func ExampleWithShards() {
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{"redis-0:6379", "redis-1:6379", "redis-2:6379"}, ContextTimeoutEnabled: true,
	})
	defer client.Close()
	engine, err := fleetredis.New(client, fleetredis.WithShards(12))
	fmt.Println(engine != nil, err)
	// Output: true <nil>
}
