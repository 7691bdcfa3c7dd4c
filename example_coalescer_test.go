package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
)

func ExampleCoalescer() {
	insert := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Hour), throttle.Append,
		func(_ context.Context, rows []string) error {
			fmt.Println("inserted", rows)
			return nil
		}))
	ctx := context.Background()
	fmt.Println(insert.Do(ctx, []string{"a"})) // at once
	_ = insert.Call([]string{"b"})             // inside the window
	_ = insert.Call([]string{"c", "d"})        // joins the pending run
	fmt.Println(insert.Shutdown(ctx))
	// Output:
	// inserted [a]
	// <nil>
	// inserted [b c d]
	// <nil>
}

// You can write your own merge: here the calls hand over counts, and a run gets the sums.
func ExampleNewCoalescer() {
	type counts map[string]int
	merge := func(older, newer counts) counts {
		for name, n := range newer {
			older[name] += n // the map belongs to the Coalescer now
		}
		return older
	}
	report, err := throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), merge,
		func(_ context.Context, sums counts) error {
			fmt.Println(sums)
			return nil
		},
		throttle.WithName("metrics"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		_ = report.Call(counts{"requests": 1})
	}
	_ = report.Call(counts{"errors": 1})
	fmt.Println(report.Shutdown(context.Background()))
	// Output:
	// map[errors:1 requests:3]
	// <nil>
}

func ExampleCoalescer_Call() {
	shown := make(chan string)
	show := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Hour), throttle.Latest,
		func(_ context.Context, status string) error {
			shown <- status
			return nil
		}))
	defer show.Close()
	fmt.Println(show.Call("ready")) // nil says that the value was accepted, not that it was delivered
	fmt.Println(<-shown)
	// Output:
	// <nil>
	// ready
}

func ExampleCoalescer_CallWithin() {
	send := newSender(nil)
	defer send.Close()
	_ = send.Call([]string{"soon"})                          // may wait for an hour without calls
	_ = send.CallWithin([]string{"now"}, 0)                  // must not wait; its run also takes the value that waits
	if err := send.Flush(context.Background()); err != nil { // waits for that run
		fmt.Println(err)
	}
	// Output: sent [soon now]
}

func ExampleCoalescer_Do() {
	store := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Hour), throttle.Append,
		func(context.Context, []string) error { return errors.New("disk full") }))
	fmt.Println(store.Do(context.Background(), []string{"a"})) // no retry: the value is lost
	// Output: throttle: value lost: disk full
}

func ExampleCoalescer_Flush() {
	send := newSender(nil)
	defer send.Close()
	_ = send.Call([]string{"a"})
	_ = send.Call([]string{"b"})
	fmt.Println(send.Flush(context.Background()))
	// Output:
	// sent [a b]
	// <nil>
}

func ExampleCoalescer_Cancel() {
	send := newSender(nil)
	_ = send.Call([]string{"a"})
	_ = send.Call([]string{"b"})
	dropped, ok := send.Cancel() // the values belong to you again
	fmt.Println(dropped, ok)
	dropped, ok = send.Cancel()
	fmt.Println(dropped, ok)
	// Output:
	// [a b] true
	// [] false
}

func ExampleCoalescer_SetPolicy() {
	send := newSender(nil)
	defer send.Close()
	_ = send.Call([]string{"a"})                     // due in an hour
	err := send.SetPolicy(throttle.Every(time.Hour)) // due now: nothing has run yet
	if err != nil {
		fmt.Println(err)
	}
	if err := send.Flush(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println(send.SetPolicy(throttle.Policy{MaxInterval: time.Hour}))
	// Output:
	// sent [a]
	// throttle: MaxInterval 1h0m0s: does not apply to a Coalescer: the run would have no value
}

func ExampleCoalescer_Stats() {
	send := newSender(nil)
	defer send.Cancel()
	_ = send.Call([]string{"a"})
	_ = send.Call([]string{"b", "c"})
	s := send.Stats()
	fmt.Println(s.Calls, s.Runs, s.Pending)
	// Output: 2 0 true
}

func ExampleCoalescer_Close() {
	send := newSender(nil)
	dropped, _ := send.Cancel() // otherwise Close would report the pending value as lost
	fmt.Println(dropped, send.Close())
	fmt.Println(send.Call([]string{"a"}))
	// Output:
	// [] <nil>
	// throttle: closed
}

func ExampleCoalescer_Shutdown() {
	send := newSender(nil)
	_ = send.Call([]string{"a"})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(send.Shutdown(ctx))
	// Output:
	// sent [a]
	// <nil>
}

func ExampleLatest() {
	show := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Latest,
		func(_ context.Context, percent int) error {
			fmt.Println(percent, "%")
			return nil
		}))
	for percent := range 101 {
		_ = show.Call(percent)
	}
	fmt.Println(show.Shutdown(context.Background()))
	// Output:
	// 100 %
	// <nil>
}

// The values of a failed run are kept for the retry, in front of later ones.
func ExampleAppend() {
	failures := 1
	send := newSender(&failures)
	ctx := context.Background()
	_ = send.Call([]string{"a", "b"})
	fmt.Println(send.Flush(ctx))
	_ = send.Call([]string{"c"})
	fmt.Println(send.Flush(ctx))
	// Output:
	// no connection
	// sent [a b c]
	// <nil>
}

func ExampleLostError() {
	keep := func(err error) {
		var lost *throttle.LostError
		if errors.As(err, &lost) {
			fmt.Println("not written:", lost.Value, "because", lost.Err)
		}
	}
	write := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Append,
		func(context.Context, []string) error { return nil },
		throttle.WithErrorHandler(keep)))
	_ = write.Call([]string{"a"})
	_ = write.Call([]string{"b"})
	_ = write.Close()
	// Output: not written: [a b] because throttle: closed
}

// newSender returns a Coalescer that prints what it would send, an hour after the
// last call. The first runs fail, as many as failures says, and are repeated.
func newSender(failures *int) *throttle.Coalescer[[]string] {
	policy := throttle.Policy{Quiet: time.Hour, Retry: throttle.Backoff{Initial: time.Hour}}
	return throttle.Must(throttle.NewCoalescer(policy, throttle.Append,
		func(_ context.Context, messages []string) error {
			if failures != nil && *failures > 0 {
				*failures--
				return errors.New("no connection")
			}
			fmt.Println("sent", messages)
			return nil
		}))
}
