package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/throttle-go/throttle"
)

// Examples of errors.

func ExampleThrottledError() {
	policy := throttle.Policy{Interval: time.Hour, Edges: throttle.Leading}
	t := throttle.Must(throttle.New(policy, func() {}))
	ctx := context.Background()
	fmt.Println(t.Do(ctx))
	err := t.Do(ctx)
	throttled, _ := errors.AsType[*throttle.ThrottledError](err)
	fmt.Println(errors.Is(err, throttle.ErrThrottled), throttled.RetryAfter.Round(time.Hour))
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
	problem, _ := errors.AsType[*throttle.PolicyError](err)
	fmt.Println(problem.Field, problem.Value, problem.Reason)
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
	retry, ok := errors.AsType[*throttle.RetryError](throttle.RetryIn(time.Second))
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
		return waits.Do(ctx) // for itself
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
