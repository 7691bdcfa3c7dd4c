package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle"
)

func Example() {
	save, err := throttle.New(throttle.Every(time.Hour), func() {
		fmt.Println("saved")
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 1000 {
		save.Call() // the first runs at once; one run in an hour covers the others
	}
	// The program ends earlier, so run at once what is pending, and wait for it.
	if err := save.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// saved
	// saved
}

func ExampleNew() {
	reload, err := throttle.New(
		throttle.Policy{Interval: time.Second, Retry: throttle.Backoff{Initial: time.Minute}},
		func(context.Context) error { return errors.New("no such file") },
		throttle.WithName("reload"),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reload.Close()
	fmt.Println(reload.Do(context.Background()))
	// Output: no such file
}

func ExampleCallback() {
	policy := throttle.Every(time.Second)
	plain := throttle.Must(throttle.New(policy, func() {}))
	failing := throttle.Must(throttle.New(policy, func() error { return errors.New("failed") }))
	stoppable := throttle.Must(throttle.New(policy, func(ctx context.Context) error { return ctx.Err() }))
	for _, t := range []*throttle.Throttler{plain, failing, stoppable} {
		fmt.Println(t.Do(context.Background()))
	}
	// Output:
	// <nil>
	// failed
	// <nil>
}

func ExampleMust() {
	refresh := throttle.Must(throttle.New(throttle.Every(time.Second), func() {}))
	fmt.Println(refresh.Policy().Interval)
	// Output: 1s
}

func ExampleThrottler() {
	var version atomic.Int32
	publish := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {
		fmt.Println("published version", version.Load())
	}))
	ctx := context.Background()
	version.Add(1)
	fmt.Println(publish.Do(ctx)) // at once: nothing has run yet
	version.Add(1)
	publish.Call() // inside the window
	version.Add(1)
	publish.Call() // joins the pending run
	fmt.Println(publish.Shutdown(ctx))
	// Output:
	// published version 1
	// <nil>
	// published version 3
	// <nil>
}

func ExampleThrottler_Call() {
	ran := make(chan struct{})
	t := throttle.Must(throttle.New(throttle.Every(time.Second), func() { close(ran) }))
	defer t.Close()
	t.Call()
	<-ran
	fmt.Println("ran")
	// Output: ran
}

func ExampleThrottler_CallWithin() {
	push := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() { fmt.Println("pushed") }))
	defer push.Close()
	push.Call()                                              // may wait for an hour without calls
	push.CallWithin(0)                                       // must not wait
	if err := push.Flush(context.Background()); err != nil { // waits for that run
		fmt.Println(err)
	}
	// Output: pushed
}

func ExampleThrottler_Do() {
	reload := throttle.Must(throttle.New(throttle.Every(time.Hour), func() error {
		return errors.New("line 3: unknown key")
	}))
	defer reload.Close()
	fmt.Println(reload.Do(context.Background()))

	// The next run is an hour away, and this caller does not wait so long.
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(reload.Do(ctx))
	// Output:
	// line 3: unknown key
	// context deadline exceeded
}

func ExampleThrottler_Flush() {
	write := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() { fmt.Println("written") }))
	defer write.Close()
	write.Call()
	fmt.Println(write.Flush(context.Background())) // afterwards nothing is pending
	fmt.Println(write.Flush(context.Background())) // so there is nothing to wait for
	// Output:
	// written
	// <nil>
	// <nil>
}

func ExampleThrottler_Cancel() {
	write := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() { fmt.Println("written") }))
	defer write.Close()
	write.Call()
	fmt.Println(write.Cancel(), write.Cancel())
	// Output: true false
}

func ExampleThrottler_Pause() {
	sync, err := throttle.New(throttle.Policy{}, func() { fmt.Println("synced") }, throttle.WithPaused())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sync.Close()
	sync.Call() // other parts of the program need not know who leads
	fmt.Println("pending:", sync.Stats().Pending)

	sync.Resume() // this process leads now
	if err := sync.Flush(context.Background()); err != nil {
		fmt.Println(err)
	}

	sync.Pause() // another will lead
	if err := sync.Wait(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println("nothing runs")
	// Output:
	// pending: true
	// synced
	// nothing runs
}

func ExampleThrottler_SetPolicy() {
	t := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() { fmt.Println("ran") }))
	t.Call()                                                         // due in an hour
	if err := t.SetPolicy(throttle.Every(time.Second)); err != nil { // due now
		fmt.Println(err)
	}
	if err := t.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: ran
}

func ExampleThrottler_Stats() {
	t := throttle.Must(throttle.New(throttle.Every(time.Hour), func() error { return errors.New("failed") }))
	defer t.Close()
	_ = t.Do(context.Background())
	t.Call()
	s := t.Stats()
	fmt.Println(s.Runs, s.Failures, s.LastError, s.Pending, s.Next.Sub(s.LastStart))
	// Output: 1 1 failed true 1h0m0s
}

func ExampleThrottler_Close() {
	t := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() { fmt.Println("ran") }))
	t.Call()
	fmt.Println(t.Close(), t.Close())
	fmt.Println(t.Do(context.Background()))
	// Output:
	// <nil> <nil>
	// throttle: closed
}

func ExampleThrottler_Shutdown() {
	t := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() { fmt.Println("ran") }))
	t.Call()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(t.Shutdown(ctx))
	// Output:
	// ran
	// <nil>
}

func ExampleThrottledError() {
	policy := throttle.Policy{Interval: time.Hour, Edges: throttle.Leading}
	t := throttle.Must(throttle.New(policy, func() {}))
	ctx := context.Background()
	fmt.Println(t.Do(ctx))
	err := t.Do(ctx)
	var throttled *throttle.ThrottledError
	if errors.As(err, &throttled) {
		fmt.Println(errors.Is(err, throttle.ErrThrottled), throttled.RetryAfter.Round(time.Hour))
	}
	throttled.RetryAfter = time.Hour
	fmt.Println(throttled)
	// Output:
	// <nil>
	// true 1h0m0s
	// throttle: call dropped inside the window, retry after 1h0m0s
}

func ExamplePanicError() {
	t := throttle.Must(throttle.New(throttle.Every(time.Second), func() { panic(io.ErrUnexpectedEOF) }))
	err := t.Do(context.Background())
	fmt.Println(err)
	fmt.Println(errors.Is(err, io.ErrUnexpectedEOF))
	// Output:
	// throttle: callback panicked: unexpected EOF
	// true
}

func ExamplePolicyError() {
	_, err := throttle.New(throttle.Every(-time.Second), func() {}, throttle.WithName("sync"))
	var problem *throttle.PolicyError
	if errors.As(err, &problem) {
		fmt.Println(problem.Field, problem.Value, problem.Reason)
	}
	fmt.Println(err)
	// Output:
	// Interval -1s must not be negative
	// throttle: sync: Interval -1s: must not be negative
}

func ExampleRetryIn() {
	push := throttle.Must(throttle.New(throttle.Every(time.Second), func() error {
		return fmt.Errorf("server is busy: %w", throttle.RetryIn(time.Hour))
	}))
	defer push.Close()
	fmt.Println(push.Do(context.Background()))
	s := push.Stats()
	fmt.Println(s.Failures, s.Pending)
	// Output:
	// server is busy: throttle: retry in 1h0m0s
	// 0 true
}

func ExampleRetryError() {
	var retry *throttle.RetryError
	ok := errors.As(fmt.Errorf("busy: %w", throttle.RetryIn(time.Second)), &retry)
	fmt.Println(retry.In, ok)
	// Output: 1s true
}

// Each of the other errors.
func Example_errors() {
	ctx := context.Background()

	exits := throttle.Must(throttle.New(throttle.Every(time.Second), func() { runtime.Goexit() }))
	fmt.Println(errors.Is(exits.Do(ctx), throttle.ErrGoexit))

	var waits *throttle.Throttler
	waits = throttle.Must(throttle.New(throttle.Every(time.Second), func(ctx context.Context) error {
		return waits.Do(ctx) // would wait for itself
	}))
	fmt.Println(errors.Is(waits.Do(ctx), throttle.ErrReentrant))

	batch := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() {}))
	result := make(chan error)
	go func() { result <- batch.Do(ctx) }()
	for !batch.Cancel() { // until Do has made its call
		runtime.Gosched()
	}
	fmt.Println(errors.Is(<-result, throttle.ErrCanceled))

	_ = batch.Close()
	fmt.Println(errors.Is(batch.Do(ctx), throttle.ErrClosed))
	// Output:
	// true
	// true
	// true
	// true
}
