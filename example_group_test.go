package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/throttle-go/throttle"
)

// Examples of Group. Where a window must not end, it is an hour.

func ExampleGroup() {
	refresh := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(_ context.Context, tenant string) error {
		fmt.Println("refreshed", tenant)
		return nil
	}))
	ctx := context.Background()
	fmt.Println(refresh.Do(ctx, "acme")) // at once
	for range 1000 {
		_ = refresh.Call("acme") // one run in an hour
	}
	fmt.Println(refresh.Do(ctx, "globex")) // at once: another key's window is of no matter
	fmt.Println(refresh.Shutdown(ctx))
	// Output:
	// refreshed acme
	// <nil>
	// refreshed globex
	// <nil>
	// refreshed acme
	// <nil>
}

func ExampleNewGroup() {
	type account struct {
		region string
		id     int
	}
	bill, err := throttle.NewGroup(
		throttle.Policy{Interval: time.Second, Retry: throttle.Backoff{Initial: time.Minute}},
		func(_ context.Context, a account) error {
			return fmt.Errorf("account %d in %s is locked", a.id, a.region)
		},
		throttle.WithName("billing"),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bill.Close()
	fmt.Println(bill.Do(context.Background(), account{"north", 7}))
	// Output: account 7 in north is locked
}

func ExampleGroup_Call() {
	indexed := make(chan string)
	index := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(_ context.Context, page string) error {
		indexed <- page
		return nil
	}))
	defer index.Close()
	fmt.Println(index.Call("home")) // says whether the call was accepted, not what comes of it
	fmt.Println(<-indexed)
	// Output:
	// <nil>
	// home
}

func ExampleGroup_CallWithin() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")                                            // may wait for an hour without calls
	_ = save.CallWithin("draft", 0)                                   // may not
	if err := save.Flush(context.Background(), "draft"); err != nil { // waits for that run
		fmt.Println(err)
	}
	// Output: saved draft
}

func ExampleGroup_Do() {
	load := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(_ context.Context, id int) error {
		if id == 404 {
			return errors.New("not found")
		}
		return nil
	}))
	defer load.Close()
	ctx := context.Background()
	fmt.Println(load.Do(ctx, 1))
	fmt.Println(load.Do(ctx, 404)) // each caller gets the error of its own key
	// Output:
	// <nil>
	// not found
}

func ExampleGroup_Flush() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")
	_ = save.Call("letter") // is not flushed
	ctx := context.Background()
	fmt.Println(save.Flush(ctx, "draft"))
	fmt.Println(save.Flush(ctx, "diary")) // was never called, so there is nothing to wait for
	// Output:
	// saved draft
	// <nil>
	// <nil>
}

func ExampleGroup_Cancel() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")
	fmt.Println(save.Cancel("draft"), save.Cancel("letter"))
	// Output: true false
}

func ExampleGroup_Len() {
	ping := throttle.Must(throttle.NewGroup(throttle.Every(time.Millisecond),
		func(context.Context, string) error { return nil }))
	_ = ping.Do(context.Background(), "10.0.0.7")
	for ping.Len() > 0 { // until its window is over
		time.Sleep(time.Millisecond)
	}
	fmt.Println(ping.Len(), "keys,", ping.Stats().Runs, "run")
	// Output: 0 keys, 1 run
}

func ExampleGroup_Keys() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")
	_ = save.Call("letter")
	for key := range save.Keys() { // in no order
		save.Cancel(key)
	}
	fmt.Println(slices.Sorted(save.Keys())) // still held: for an hour a call for them would not be the first
	// Output: [draft letter]
}

func ExampleGroup_Policy() {
	save := newSaver()
	fmt.Println(save.Policy().Quiet)
	// Output: 1h0m0s
}

func ExampleGroup_SetPolicy() {
	save := newSaver()
	_ = save.Call("draft")                           // due in an hour
	err := save.SetPolicy(throttle.Every(time.Hour)) // due now, as it is the first run of that key
	if err != nil {
		fmt.Println(err)
	}
	if err := save.Flush(context.Background(), "draft"); err != nil {
		fmt.Println(err)
	}
	// Output: saved draft
}

func ExampleGroup_Stats() {
	load := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(_ context.Context, id int) error {
		if id == 404 {
			return errors.New("not found")
		}
		return nil
	}))
	defer load.Close()
	for _, id := range []int{1, 2, 404} {
		_ = load.Do(context.Background(), id)
	}
	s := load.Stats() // of all keys together
	fmt.Println(s.Runs, s.Failures, s.LastError)
	// Output: 3 1 not found
}

func ExampleGroup_Name() {
	g := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour),
		func(context.Context, int) error { return nil }, throttle.WithName("tenants")))
	fmt.Println(g.Name())
	// Output: tenants
}

func ExampleGroup_KeyStats() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")
	draft, held := save.KeyStats("draft")
	fmt.Println(draft.Pending, held)
	_, held = save.KeyStats("letter")
	fmt.Println(held)
	// Output:
	// true true
	// false
}

func ExampleGroup_Close() {
	save := newSaver()
	_ = save.Call("draft") // dropped by Close
	fmt.Println(save.Close())
	fmt.Println(save.Call("draft"))
	// Output:
	// <nil>
	// throttle: closed
}

func ExampleGroup_Shutdown() {
	save := newSaver()
	_ = save.Call("draft")
	_ = save.Call("letter")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(save.Shutdown(ctx)) // what is pending runs now, different keys at the same time
	// Unordered output:
	// saved draft
	// saved letter
	// <nil>
}

func ExampleWithMaxConcurrent() {
	crawl := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour),
		func(_ context.Context, host string) error {
			fmt.Println(host)
			return nil
		},
		throttle.WithMaxConcurrent(1)))
	for _, host := range []string{"a.example", "b.example", "c.example"} {
		_ = crawl.Call(host) // due at once, but only one at a time
	}
	fmt.Println(crawl.Shutdown(context.Background()))
	// Output:
	// a.example
	// b.example
	// c.example
	// <nil>
}

// A key is anything that a client may send, so there is a limit to them.
func ExampleWithMaxKeys() {
	save := throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
		func(context.Context, string) error { return nil },
		throttle.WithMaxKeys(1)))
	defer save.Close()
	fmt.Println(save.Call("draft"))
	fmt.Println(save.Call("draft")) // is held already
	err := save.Call("letter")
	fmt.Println(err, errors.Is(err, throttle.ErrTooManyKeys))
	// Output:
	// <nil>
	// <nil>
	// throttle: too many keys true
}

// newSaver returns a Group that prints which document it would save, an hour
// after the last change of it.
func newSaver() *throttle.Group[string] {
	return throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
		func(_ context.Context, document string) error {
			fmt.Println("saved", document)
			return nil
		}))
}
