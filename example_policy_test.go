package throttle_test

import (
	"fmt"
	"time"

	"github.com/throttle-go/throttle"
)

// Examples of policies.

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
		From:        throttle.FromEnd,                       // so that a long one leaves the machine some rest
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

func ExampleBackoff() {
	// Delays of 1, 2, 4, 5, 5 ... seconds, each up to a tenth shorter.
	retry := throttle.Backoff{Initial: time.Second, Max: 5 * time.Second, Jitter: 0.1}
	fmt.Println(throttle.Policy{Retry: retry}.Validate())
	// Output: <nil>
}

func ExampleEdges() {
	drop := throttle.Policy{Interval: time.Second, Edges: throttle.Leading}   // what comes inside the window is dropped
	batch := throttle.Policy{Interval: time.Second, Edges: throttle.Trailing} // every run waits for the window's end
	fmt.Println(drop.Validate(), batch.Validate())
	// Output: <nil> <nil>
}

func ExampleFrom() {
	pause := throttle.Policy{Interval: time.Second, From: throttle.FromEnd}
	fmt.Println(pause.Validate())
	// Output: <nil>
}
