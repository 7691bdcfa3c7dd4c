package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/throttle-go/throttle"
)

func ExampleEvery() {
	fmt.Println(throttle.Every(time.Second) == throttle.Policy{Interval: time.Second})
	// Output: true
}

func ExampleDebounce() {
	fmt.Println(throttle.Debounce(time.Second, time.Minute) ==
		throttle.Policy{Quiet: time.Second, MaxWait: time.Minute})
	// Output: true
}

func ExamplePolicy() {
	rules := throttle.Policy{
		Interval:    time.Second,                            // between the end of a sync and the next,
		From:        throttle.FromEnd,                       // so that the machine rests even after a long one
		MaxInterval: time.Hour,                              // repairs what others have changed
		Retry:       throttle.Backoff{Initial: time.Minute}, // after a failed sync
	}
	fmt.Println(rules.Validate())
	// Output: <nil>
}

func ExamplePolicy_Validate() {
	fmt.Println(throttle.Policy{Interval: -1, MaxWait: time.Second}.Validate())
	// Output:
	// throttle: Interval -1ns: must not be negative
	// throttle: MaxWait 1s: needs Quiet
}

func ExamplePolicy_Clamp() {
	configured := throttle.Policy{Interval: time.Minute, MaxInterval: time.Second, Jitter: 10}
	fmt.Println(configured.Clamp())
	// Output: at most once per 1m0s, at least every 1m0s, less up to 100% at random
}

func ExamplePolicy_String() {
	fmt.Println(throttle.Policy{Interval: time.Second, Burst: 3, Quiet: 200 * time.Millisecond, MaxWait: time.Second})
	// Output: at most once per 1s, burst 3, after 200ms of quiet, at the latest after 1s
}

// Which policy suits a minute of calls that come ten a second, in bursts of two seconds?
func ExampleSimulate() {
	var calls []time.Duration
	for burst := time.Duration(0); burst < time.Minute; burst += 10 * time.Second {
		for call := burst; call < burst+2*time.Second; call += 100 * time.Millisecond {
			calls = append(calls, call)
		}
	}
	takesHalf := func(int) (time.Duration, error) { return 500 * time.Millisecond, nil }
	for _, p := range []throttle.Policy{{}, throttle.Every(5 * time.Second), throttle.Debounce(time.Second, 0)} {
		runs, err := throttle.Simulate(p, slices.Values(calls), takesHalf)
		if err != nil {
			fmt.Println(err)
			return
		}
		count, longest := 0, time.Duration(0)
		for run := range runs {
			count++
			longest = max(longest, run.Wait)
		}
		fmt.Printf("%s: %d runs, a call waits for %v at most\n", p, count, longest)
	}
	// Output:
	// no limit: 30 runs, a call waits for 500ms at most
	// at most once per 5s: 12 runs, a call waits for 4.9s at most
	// after 1s of quiet: 6 runs, a call waits for 2.9s at most
}

func ExampleBackoff() {
	// Delays of 1, 2, 4, 5, 5 ... seconds, each up to a tenth shorter.
	retry := throttle.Backoff{Initial: time.Second, Max: 5 * time.Second, Jitter: 0.1}
	fmt.Println(throttle.Policy{Retry: retry}.Validate())
	// Output: <nil>
}

func ExampleEdges() {
	drop := throttle.Policy{Interval: time.Second, Edges: throttle.Leading}   // calls inside the window are dropped
	batch := throttle.Policy{Interval: time.Second, Edges: throttle.Trailing} // every run waits for the window's end
	fmt.Println(drop.Validate(), batch.Validate())
	// Output: <nil> <nil>
}

func ExampleFrom() {
	pause := throttle.Policy{Interval: time.Second, From: throttle.FromEnd}
	fmt.Println(pause.Validate())
	// Output: <nil>
}

func ExampleOption() {
	options := []throttle.Option{throttle.WithName("sync"), throttle.WithCallCount()}
	t := throttle.Must(throttle.New(throttle.Every(time.Second), func() {}, options...))
	_ = t.Close()
	fmt.Println(t.Do(context.Background()))
	// Output: throttle: sync: closed
}

func ExampleWithName() {
	t := throttle.Must(throttle.New(throttle.Every(time.Second), func() { panic("oh") }, throttle.WithName("sync")))
	fmt.Println(t.Do(context.Background()))
	// Output: throttle: sync: callback panicked: oh
}

func ExampleWithContext() {
	ctx, stop := context.WithCancelCause(context.Background())
	t := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() {}, throttle.WithContext(ctx)))
	result := make(chan error)
	go func() { result <- t.Do(context.Background()) }()
	stop(errors.New("configuration is gone"))
	fmt.Println(<-result) // the end of the parent drops what is pending
	// Output: throttle: closed: configuration is gone
}

func ExampleWithErrorHandler() {
	t := throttle.Must(throttle.New(throttle.Every(time.Second),
		func() error { return errors.New("disk full") },
		throttle.WithErrorHandler(func(err error) { fmt.Println("nobody waited:", err) })))
	t.Call()
	for t.Stats().Runs == 0 || t.Stats().Running {
		time.Sleep(time.Millisecond)
	}
	_ = t.Close()
	// Output: nobody waited: disk full
}

// A program that prefers to crash when the callback panics.
func ExampleWithErrorHandler_panic() {
	crash := throttle.WithErrorHandler(func(err error) {
		var panicked *throttle.PanicError
		if errors.As(err, &panicked) {
			panic(panicked)
		}
		fmt.Println(err)
	})
	t := throttle.Must(throttle.New(throttle.Every(time.Second), func() {}, crash))
	fmt.Println(t.Do(context.Background()))
	// Output: <nil>
}

func ExampleWithObserver() {
	t := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {},
		throttle.WithObserver(func(r throttle.Run) {
			fmt.Println(r.Cause, r.Attempt, r.Err, !r.Ended.Before(r.Started))
		})))
	_ = t.Do(context.Background())
	t.Call()
	_ = t.Shutdown(context.Background())
	// Output:
	// call 1 <nil> true
	// flush 1 <nil> true
}

// A tracer surrounds the callback, and gets the contexts of the callers that wait for it.
func ExampleWithTracer() {
	type requestKey struct{}
	t := throttle.Must(throttle.New(throttle.Every(time.Hour),
		func(context.Context) error {
			fmt.Println("run")
			return nil
		},
		throttle.WithTracer(func(ctx context.Context, _ throttle.Run, callers []context.Context) (context.Context, func(throttle.Run)) {
			fmt.Println("begins, for", callers[0].Value(requestKey{}))
			return ctx, func(r throttle.Run) { fmt.Println("ends,", r.Result) }
		})))
	_ = t.Do(context.WithValue(context.Background(), requestKey{}, "request 7"))
	_ = t.Shutdown(context.Background())
	// Output:
	// begins, for request 7
	// run
	// ends, success
}

func ExampleWithCallCount() {
	t := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {},
		throttle.WithCallCount(),
		throttle.WithObserver(func(r throttle.Run) { fmt.Println("a run for", r.Calls) })))
	_ = t.Do(context.Background())
	for range 99 {
		t.Call()
	}
	_ = t.Shutdown(context.Background())
	fmt.Println(t.Stats().Calls)
	// Output:
	// a run for 1
	// a run for 99
	// 100
}

func ExampleRun() {
	t := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {},
		throttle.WithObserver(func(r throttle.Run) {
			lateness, wait, took := r.Started.Sub(r.Due), r.Started.Sub(r.Asked), r.Ended.Sub(r.Started)
			fmt.Println(lateness >= 0, wait >= lateness, took >= 0)
		})))
	_ = t.Do(context.Background())
	// Output: true true true
}

func ExampleCause() {
	fmt.Println(throttle.CauseCall, throttle.CauseRetry, throttle.CauseInterval, throttle.CauseFlush)
	// Output: call retry interval flush
}

func ExampleResult() {
	t := throttle.Must(throttle.New(throttle.Policy{}, func() { panic("oh") },
		throttle.WithObserver(func(r throttle.Run) {
			if r.Result == throttle.ResultPanic {
				fmt.Println(r.Err)
			}
		})))
	_ = t.Do(context.Background())
	_ = t.Shutdown(context.Background())
	// Output: throttle: callback panicked: oh
}

func ExampleStats() {
	t := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() {}))
	defer t.Close()
	fmt.Println(t.Stats() == throttle.Stats{})
	t.Call()
	fmt.Println(t.Stats().Pending, t.Stats().Running)
	// Output:
	// true
	// true false
}
