package main

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
)

func carriedCalls() subject {
	s := subject{
		name:  "values",
		title: "A Coalescer's call, which hands over a value while a run is pending",
		notes: []string{
			"mutex, ticker: a variable or a slice under a mutex, which a goroutine with a ticker takes; written for this" +
				" comparison.",
			"batches of 512: spans, until all are exported; at most 2048 wait. The peer is the batch processor of" +
				" OpenTelemetry's SDK.",
			"batches of 100: requests, until all are answered over a channel of their own. The peer is" +
				" graph-gophers/dataloader, without its cache.",
		},
	}
	add := func(setting string, cores func() int, compare func(e effort, cores int) ([]result, error)) {
		s.experiments = append(s.experiments, experiment{setting, binName, func(e effort) ([]result, error) {
			return compare(e, cores())
		}})
	}
	one, all := func() int { return 1 }, func() int { return runtime.GOMAXPROCS(0) }
	add("Latest, "+oneCore, one, compareLatest)
	add("Latest, "+allCores, all, compareLatest)
	add("Batch, "+oneCore, one, compareBatch)
	add("Batch, "+allCores, all, compareBatch)
	s.experiments = append(s.experiments,
		experiment{"batches of 512", processorName, compareExport},
		experiment{"batches of 100", dataloaderName, compareLoad})
	return s
}

func compareLatest(e effort, cores int) ([]result, error) {
	return compareCarried(e, cores, throttle.Latest[int](), func(_, v int) int { return v })
}

func compareBatch(e effort, cores int) ([]result, error) {
	return compareCarried(e, cores, throttle.Batch[int](), func(all []int, v int) []int { return append(all, v) })
}

// compareCarried compares a Coalescer, called with a number, with a variable to which add
// adds that number. Both sides begin each turn empty, or appending would build ever longer
// slices.
func compareCarried[A any](
	e effort, cores int, m throttle.Merger[int, A], add func(all A, v int) A,
) ([]result, error) {
	const batch = 1 << 14
	c, err := throttle.NewCoalescer(throttle.Every(time.Hour), m, func(context.Context, A) error { return nil })
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer c.Cancel() // or Close would report the pending value as lost
	if err := c.Do(context.Background(), 0); err != nil {
		return nil, err
	}
	b := newBin[A](time.Hour, func(A) {})
	defer b.stop()
	ours := func(n int) {
		for i := range n {
			_ = c.Call(i)
		}
	}
	peer := func(n int) {
		for i := range n {
			b.mu.Lock()
			b.value = add(b.value, i)
			b.mu.Unlock()
		}
	}
	return pair{
		ours:  after(func() { c.Cancel() }, timed(onCores(cores, ours))),
		peer:  after(func() { b.take() }, timed(onCores(cores, peer))),
		cores: cores,
		batch: batch,
	}.compare(e), nil
}

// A bin collects values as handwritten code would: in a variable under a mutex,
// which a goroutine takes at every tick until stop.
type bin[T any] struct {
	stopped chan struct{}

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	value T
}

func newBin[T any](interval time.Duration, use func(T)) *bin[T] {
	b := &bin[T]{stopped: make(chan struct{})}
	go b.run(interval, use)
	return b
}

func (b *bin[T]) run(interval time.Duration, use func(T)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			use(b.take())
		case <-b.stopped:
			return
		}
	}
}

func (b *bin[T]) stop() { close(b.stopped) }

func (b *bin[T]) take() T {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.value
	b.value = *new(T)
	return taken
}
