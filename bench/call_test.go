package bench_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
)

// This file measures calls: those that coalesce, those that start a run, and
// those that wait for one.

// chunk is how many calls are timed at once: few enough for the two sides to meet
// the same noise, many enough for the clock.
const chunk = 1 << 20

// pending returns a throttler with a pending run, due in an hour.
func pending(b *testing.B, p throttle.Policy) *throttle.Throttler {
	b.Helper()
	t := throttle.Must(throttle.New(p, func() {}))
	b.Cleanup(func() { _ = t.Close() })
	if err := t.Do(b.Context()); err != nil && p.Quiet == 0 {
		b.Fatal(err)
	}
	t.Call()
	return t
}

// A bareWord is the cheapest way to learn that there is nothing to do.
type bareWord struct {
	word    atomic.Uint64
	stopped int
}

func (w *bareWord) stop() { w.stopped++ }

// BenchmarkCoalescedCall compares a call that finds a run pending with an atomic
// load and a branch.
func BenchmarkCoalescedCall(b *testing.B) {
	t := pending(b, throttle.Every(time.Hour))
	word := &bareWord{}
	word.word.Store(1)
	ours := func(n int) {
		for range n {
			t.Call()
		}
	}
	bare := func(n int) {
		for range n {
			if word.word.Load() != 1 {
				word.stop()
			}
		}
	}
	b.Run("one core", func(b *testing.B) { compare(b, chunk, ours, bare) })
	b.Run("all cores", func(b *testing.B) { compare(b, chunk, onAllCores(ours), onAllCores(bare)) })
}

// BenchmarkDebouncedCall compares a call that postpones a quiet run with a clock
// reading and an atomic store.
func BenchmarkDebouncedCall(b *testing.B) {
	t := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() {}))
	defer t.Close()
	t.Call()
	base := time.Now()
	last := new(atomic.Int64)
	ours := func(n int) {
		for range n {
			t.Call()
		}
	}
	bare := func(n int) {
		for range n {
			last.Store(int64(time.Since(base)))
		}
	}
	b.Run("one core", func(b *testing.B) { compare(b, chunk/64, ours, bare) })
	b.Run("all cores", func(b *testing.B) { compare(b, chunk/64, onAllCores(ours), onAllCores(bare)) })
}

// BenchmarkLeadingCall compares a call that starts a run, and the wait for the
// callback to be entered, with a go statement.
func BenchmarkLeadingCall(b *testing.B) {
	entered := make(chan struct{})
	f := func() { entered <- struct{}{} }
	t := throttle.Must(throttle.New(throttle.Policy{}, f))
	defer t.Close()
	compare(b, 1<<10,
		func(n int) {
			for range n {
				t.Call()
				<-entered
			}
		},
		func(n int) {
			for range n {
				go f()
				<-entered
			}
		})
}

// BenchmarkDo compares a Do that starts a run with handing a request over to a
// goroutine that waits for it, and waiting for the answer.
func BenchmarkDo(b *testing.B) {
	ctx := b.Context()
	t := throttle.Must(throttle.New(throttle.Policy{}, func() error { return nil }))
	defer t.Close()
	requests := make(chan chan error)
	defer close(requests)
	go func() {
		for request := range requests {
			request <- nil
		}
	}()
	compare(b, 1<<10,
		func(n int) {
			for range n {
				if err := t.Do(ctx); err != nil {
					b.Error(err)
				}
			}
		},
		func(n int) {
			for range n {
				answer := make(chan error, 1)
				requests <- answer
				if err := <-answer; err != nil {
					b.Error(err)
				}
			}
		})
}
