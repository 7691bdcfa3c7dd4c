package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
)

func ExampleCoalescer() {
	insert := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Hour), throttle.Batch[string](),
		func(_ context.Context, rows []string) error {
			fmt.Println("inserted", rows)
			return nil
		}))
	ctx := context.Background()
	fmt.Println(insert.Do(ctx, "a")) // at once
	_ = insert.Call("b")             // inside the window
	_ = insert.Call("c")             // joins the pending run
	fmt.Println(insert.Shutdown(ctx))
	// Output:
	// inserted [a]
	// <nil>
	// inserted [b c]
	// <nil>
}

// You can write your own Merger: here the calls hand over names, and a run gets how often
// each was handed over.
func ExampleMerger() {
	type counts map[string]int
	count := throttle.Merger[string, counts]{
		First: func(name string) counts { return counts{name: 1} },
		Add: func(all counts, name string) counts {
			all[name]++
			return all
		},
		Join: func(older, newer counts) counts {
			for name, n := range newer {
				older[name] += n
			}
			return older
		},
	}
	report, err := throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), count,
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
		_ = report.Call("requests")
	}
	_ = report.Call("errors")
	fmt.Println(report.Shutdown(context.Background()))
	// Output:
	// map[errors:1 requests:3]
	// <nil>
}

func ExampleCoalescer_Call() {
	shown := make(chan string)
	show := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Hour), throttle.Latest[string](),
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
	_ = send.Call("soon")                                    // may wait for an hour without calls
	_ = send.CallWithin("now", 0)                            // must not wait; its run also takes the value that waits
	if err := send.Flush(context.Background()); err != nil { // waits for that run
		fmt.Println(err)
	}
	// Output: sent [soon now]
}

func ExampleCoalescer_Do() {
	store := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Hour), throttle.Batch[string](),
		func(context.Context, []string) error { return errors.New("disk full") }))
	fmt.Println(store.Do(context.Background(), "a")) // no retry: the value is lost
	// Output: throttle: value lost: disk full
}

func ExampleCoalescer_Flush() {
	send := newSender(nil)
	defer send.Close()
	_ = send.Call("a")
	_ = send.Call("b")
	fmt.Println(send.Flush(context.Background()))
	// Output:
	// sent [a b]
	// <nil>
}

func ExampleCoalescer_Cancel() {
	send := newSender(nil)
	_ = send.Call("a")
	_ = send.Call("b")
	fmt.Println(send.Cancel()) // the batches belong to you again
	fmt.Println(send.Cancel())
	// Output:
	// [[a b]]
	// []
}

func ExampleCoalescer_SetPolicy() {
	send := newSender(nil)
	defer send.Close()
	_ = send.Call("a")                               // due in an hour
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
	_ = send.Call("a")
	_ = send.Call("b")
	s := send.Stats()
	fmt.Println(s.Calls, s.Runs, s.Pending)
	// Output: 2 0 true
}

func ExampleCoalescer_Close() {
	send := newSender(nil)
	fmt.Println(send.Cancel(), send.Close()) // Close would report a pending value as lost
	fmt.Println(send.Call("a"))
	// Output:
	// [] <nil>
	// throttle: closed
}

func ExampleCoalescer_Shutdown() {
	send := newSender(nil)
	_ = send.Call("a")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(send.Shutdown(ctx))
	// Output:
	// sent [a]
	// <nil>
}

// Several workers report their progress. Each holds the lock across both the change of
// state and the Call. Otherwise another worker could hand over its later state first, and
// the older one would be shown last.
func ExampleLatest() {
	type progress struct{ items, bytes int }
	show := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Latest[progress](),
		func(_ context.Context, p progress) error {
			fmt.Println(p.items, "items,", p.bytes, "bytes")
			return nil
		}))
	var mu sync.Mutex // guards done
	var done progress
	finish := func(bytes int) {
		mu.Lock()
		defer mu.Unlock()
		done.items++
		done.bytes += bytes
		_ = show.Call(done) // does not wait for a run
	}
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 100 {
				finish(10)
			}
		})
	}
	workers.Wait()
	fmt.Println(show.Shutdown(context.Background())) // shows the last state
	// Output:
	// 800 items, 8000 bytes
	// <nil>
}

// A failed batch is repeated as it is, before later values.
func ExampleBatch() {
	failures := 1
	send := newSender(&failures)
	ctx := context.Background()
	_ = send.Call("a")
	_ = send.Call("b")
	fmt.Println(send.Flush(ctx))
	_ = send.Call("c")
	fmt.Println(send.Flush(ctx))
	// Output:
	// no connection
	// sent [a b]
	// sent [c]
	// <nil>
}

// Runs take sums. If a run fails, its sum is added to the next one.
func ExampleMerge() {
	failures := 1
	report := throttle.Must(throttle.NewCoalescer(
		throttle.Policy{Quiet: time.Hour, Retry: throttle.Backoff{Initial: time.Hour}},
		throttle.Merge(func(older, newer int) int { return older + newer }),
		func(_ context.Context, sum int) error {
			if failures > 0 {
				failures--
				return errors.New("no connection")
			}
			fmt.Println("sum", sum)
			return nil
		}))
	ctx := context.Background()
	_ = report.Call(1)
	_ = report.Call(2)
	fmt.Println(report.Flush(ctx))
	_ = report.Call(4)
	fmt.Println(report.Shutdown(ctx))
	// Output:
	// no connection
	// sum 7
	// <nil>
}

// A batch of which only one row is wrong: the others are delivered.
func ExampleUnfinished() {
	insert := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Batch[string](),
		func(_ context.Context, rows []string) error {
			var wrong []string
			for _, row := range rows {
				if strings.HasPrefix(row, "?") {
					wrong = append(wrong, row)
					continue
				}
				fmt.Println("inserted", row)
			}
			if len(wrong) > 0 {
				return throttle.Unfinished(wrong, errors.New("syntax error"))
			}
			return nil
		}))
	for _, row := range []string{"a", "?", "b"} {
		_ = insert.Call(row)
	}
	var lost *throttle.LostError
	if errors.As(insert.Shutdown(context.Background()), &lost) {
		fmt.Println("lost", lost.Value, "because:", lost.Err)
	}
	// Output:
	// inserted a
	// inserted b
	// lost [?] because: throttle: unfinished: syntax error
}

// A full Coalescer refuses values, or lets their callers wait.
func ExampleWithMaxPending() {
	ctx := context.Background()
	insert := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Batch[string](),
		func(_ context.Context, rows []string) error {
			fmt.Println("inserted", rows)
			return nil
		}, throttle.WithMaxPending(2)))
	fmt.Println(insert.Call("a"), insert.Call("b"))
	fmt.Println(insert.Call("c")) // refused
	waiting := make(chan error)
	go func() { waiting <- insert.Send(ctx, "c") }() // waits for room
	fmt.Println(insert.Flush(ctx))                   // makes room
	fmt.Println(<-waiting)
	fmt.Println(insert.Shutdown(ctx))
	// Output:
	// <nil> <nil>
	// throttle: too many values wait
	// inserted [a b]
	// <nil>
	// <nil>
	// inserted [c]
	// <nil>
}

// A run takes at most 10 bytes, unless a single value is longer.
func ExampleWithMaxWeight() {
	send := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Batch[string](),
		func(_ context.Context, lines []string) error {
			fmt.Println("sent", lines)
			return nil
		}, throttle.WithMaxWeight(10, func(line string) int { return len(line) }), throttle.WithPaused()))
	for _, line := range []string{"12345", "1234", "123", "12345678901", "1"} {
		_ = send.Call(line)
	}
	send.Resume()
	fmt.Println(send.Shutdown(context.Background()))
	// Output:
	// sent [12345 1234]
	// sent [123]
	// sent [12345678901]
	// sent [1]
	// <nil>
}

// Each tenant has its own batches.
func ExampleKeyedCoalescer() {
	insert := throttle.Must(throttle.NewKeyedCoalescer(throttle.Every(time.Hour), throttle.Batch[string](),
		func(_ context.Context, tenant string, rows []string) error {
			fmt.Println(tenant, "inserted", rows)
			return nil
		}))
	ctx := context.Background()
	fmt.Println(insert.Do(ctx, "acme", "a")) // at once
	_ = insert.Call("acme", "b")             // inside the window of acme
	_ = insert.Call("acme", "c")             // joins its pending run
	fmt.Println(insert.Do(ctx, "other", "d"))
	fmt.Println(insert.Shutdown(ctx))
	// Output:
	// acme inserted [a]
	// <nil>
	// other inserted [d]
	// <nil>
	// acme inserted [b c]
	// <nil>
}

func ExampleLostError() {
	keep := func(err error) {
		var lost *throttle.LostError
		if errors.As(err, &lost) {
			fmt.Println("not written:", lost.Value, "because", lost.Err)
		}
	}
	write := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Batch[string](),
		func(context.Context, []string) error { return nil },
		throttle.WithErrorHandler(keep)))
	_ = write.Call("a")
	_ = write.Call("b")
	_ = write.Close()
	// Output: not written: [a b] because throttle: closed
}

// newSender returns a Coalescer that prints what it would send, an hour after the
// last call. The first runs fail, as many as failures says, and are repeated.
func newSender(failures *int) *throttle.Coalescer[string, []string] {
	policy := throttle.Policy{Quiet: time.Hour, Retry: throttle.Backoff{Initial: time.Hour}}
	return throttle.Must(throttle.NewCoalescer(policy, throttle.Batch[string](),
		func(_ context.Context, messages []string) error {
			if failures != nil && *failures > 0 {
				*failures--
				return errors.New("no connection")
			}
			fmt.Println("sent", messages)
			return nil
		}))
}
