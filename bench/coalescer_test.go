package bench_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
)

// This file measures calls that carry values.

// BenchmarkCoalescerCall compares a call that hands over a value while a run is
// pending with doing the same to a variable under a lock.
func BenchmarkCoalescerCall(b *testing.B) {
	b.Run("Latest", func(b *testing.B) {
		carriedCall(b, throttle.Latest, func(v int) int { return v }, func(_ *int, v int) int { return v })
	})
	b.Run("Append", func(b *testing.B) {
		carriedCall(b, throttle.Append, func(v int) []int { return []int{v} },
			func(all *[]int, v int) []int { return append(*all, v) })
	})
}

// carriedCall compares calls that hand over what wrap makes of a number, with
// what add makes of a variable and that number. Both sides begin each turn with
// nothing, or the one that appends would do it to ever longer slices.
func carriedCall[T any](
	b *testing.B, merge func(older, newer T) T, wrap func(int) T, add func(all *T, v int) T,
) {
	b.Helper()
	c := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Hour), merge,
		func(context.Context, T) error { return nil }))
	b.Cleanup(func() {
		c.Cancel() // or it would be reported as lost
		_ = c.Close()
	})
	if err := c.Do(b.Context(), wrap(0)); err != nil {
		b.Fatal(err)
	}
	ours := func(n int) {
		for i := range n {
			_ = c.Call(wrap(i))
		}
	}
	var mu sync.Mutex
	var all T
	bare := func(n int) {
		for i := range n {
			mu.Lock()
			all = add(&all, i)
			mu.Unlock()
		}
	}
	drop := func() { c.Cancel() }
	reset := func() { all = *new(T) }
	b.Run("one core", func(b *testing.B) { compare(b, chunk/64, after(drop, ours), after(reset, bare)) })
	b.Run("all cores", func(b *testing.B) {
		compare(b, chunk/64, after(drop, onAllCores(ours)), after(reset, onAllCores(bare)))
	})
}

// after makes a task that does first, once, and then do.
func after(first func(), do task) task {
	return func(n int) {
		first()
		do(n)
	}
}
