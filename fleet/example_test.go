package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// Three replicas of a service ask to rebuild the index that they share. In production each
// would be a process, with an engine on the same Redis or PostgreSQL.
func Example() {
	engine := fleet.NewMemory()
	rebuilt := make(chan struct{})
	rebuild := func(context.Context) error {
		fmt.Println("rebuilt")
		close(rebuilt)
		return nil
	}
	var replicas []*fleet.Throttler
	for range 3 {
		t := throttle.Must(fleet.New(engine, "search-index", throttle.Every(time.Minute), rebuild))
		defer t.Close()
		replicas = append(replicas, t)
	}
	for range 100 {
		for _, t := range replicas {
			t.Call()
		}
	}
	<-rebuilt
	fmt.Println("and once more a minute later")
	// Output:
	// rebuilt
	// and once more a minute later
}

func ExampleNew() {
	_, err := fleet.New(fleet.NewMemory(), "search-index", throttle.Policy{Interval: time.Second, Burst: 2},
		func(context.Context) error { return nil })
	fmt.Println(err)
	// Output: throttle: Burst 2: does not work across a fleet
}

// Every process of a service has such a Group. If one dies, the others run what it has called.
func ExampleNewGroup() {
	g := throttle.Must(fleet.NewGroup(fleet.NewMemory(), throttle.Every(time.Minute),
		func(_ context.Context, tenant string) error {
			fmt.Println("index", tenant)
			return nil
		}, fleet.WithMaxConcurrent(8)))
	defer g.Close()
	fmt.Println(g.Do(context.Background(), "acme"))
	fmt.Println(g.Call("acme")) // runs a minute later, here or in another process
	// Output:
	// index acme
	// <nil>
	// <nil>
}

// The destination of the callback's writes refuses those of a run that a newer run has
// overtaken.
func ExampleToken() {
	var highest int64
	write := func(token int64) error {
		if token < highest {
			return errors.New("overtaken")
		}
		highest = token
		return nil
	}
	t := throttle.Must(fleet.New(fleet.NewMemory(), "snapshot", throttle.Every(time.Minute),
		func(ctx context.Context) error {
			token, ok := fleet.Token(ctx)
			fmt.Println("has a token:", ok)
			return write(token)
		}))
	defer t.Close()
	fmt.Println(t.Do(context.Background()))
	// Output:
	// has a token: true
	// <nil>
}

func ExampleThrottler_Shutdown() {
	t := throttle.Must(fleet.New(fleet.NewMemory(), "snapshot", throttle.Every(time.Minute),
		func(context.Context) error { return nil }))
	t.Call()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(t.Shutdown(ctx)) // hands pending calls over to the other replicas
	fmt.Println(t.Do(ctx))
	// Output:
	// <nil>
	// throttle: snapshot: closed
}

func ExampleRunLocal() {
	t := throttle.Must(fleet.New(fleet.NewMemory(), "snapshot", throttle.Every(time.Minute),
		func(ctx context.Context) error {
			if _, ok := fleet.Token(ctx); !ok {
				fmt.Println("the store cannot be reached")
			}
			return nil
		}, fleet.RunLocal(), fleet.WithLease(30*time.Second), fleet.WithGuard(200*time.Millisecond)))
	defer t.Close()
	fmt.Println(t.Do(context.Background()))
	// Output: <nil>
}
