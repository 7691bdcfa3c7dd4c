package main

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle"
)

func startedRuns() subject {
	const goStatement = "go statement"
	return subject{
		name:  "start",
		title: "A call that starts a run",
		notes: []string{
			"until Call returns: 64 throttlers are called one after the other, before any of them is called again.",
			"callback entered: the time from before the call to the callback's first line.",
			"Do: until it returns the callback's error; the peer is a request over a channel to a goroutine that waits" +
				" for it, and the answer over another.",
		},
		experiments: []experiment{
			{"until Call returns", goStatement, compareReturn},
			{"callback entered", goStatement, compareEntry},
			{"Do", "channel, goroutine", compareRoundTrip},
		},
	}
}

// compareReturn compares the time to start a run, without the run itself.
func compareReturn(e effort) ([]result, error) {
	const batch = 64 // a core starts this many goroutines and keeps them to itself
	var running atomic.Int64
	callback := func() { running.Add(-1) }
	throttlers := make([]*throttle.Throttler, batch)
	for i := range throttlers {
		t, err := throttle.New(throttle.Policy{}, callback)
		if err != nil {
			return nil, err
		}
		throttlers[i] = t
	}
	ours := inBatches(batch, func(n int) {
		for _, t := range throttlers[:n] {
			t.Call()
		}
	}, func() {
		for _, t := range throttlers { // a run goes on for a moment after its callback
			yieldWhile(isRunning(t))
		}
	})
	peer := inBatches(batch, func(n int) {
		running.Store(int64(n))
		for range n {
			go callback()
		}
	}, func() { yieldWhile(func() bool { return running.Load() > 0 }) })
	return pair{ours: ours, peer: peer, cores: 1}.compare(e), nil
}

// inBatches returns a task that times start, batch by batch. After each batch it calls
// finish, untimed, which waits for what the batch has started.
func inBatches(batch int, start func(n int), finish func()) task {
	return func(n int) (took time.Duration) {
		for ; n > 0; n -= batch {
			begun := time.Now()
			start(min(n, batch))
			took += time.Since(begun)
			finish()
		}
		return took
	}
}

// yieldWhile lets other goroutines run while busy returns true. Waiting in Flush or
// at a WaitGroup would allocate, which is counted even where time is not, and would
// park this goroutine, on the two sides differently.
func yieldWhile(busy func() bool) {
	for busy() {
		runtime.Gosched()
	}
}

func isRunning(t *throttle.Throttler) func() bool {
	return func() bool { return t.Stats().Running }
}

// compareEntry compares the time until the callback is entered. Each call comes after
// the run of the previous one has ended.
func compareEntry(e effort) ([]result, error) {
	entered := make(chan time.Time, 1)
	callback := func() { entered <- time.Now() }
	t, err := throttle.New(throttle.Policy{}, callback)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var running atomic.Bool
	whole := func() { // the work of the peer's goroutine
		callback()
		running.Store(false)
	}
	ours := untilEntered(entered, t.Call, isRunning(t))
	peer := untilEntered(entered, func() {
		running.Store(true)
		go whole()
	}, running.Load)
	return pair{ours: ours, peer: peer, cores: 1}.compare(e), nil
}

// untilEntered returns a task that times start until a callback sends the time to
// entered. It then waits, untimed, while busy returns true.
func untilEntered(entered <-chan time.Time, start func(), busy func() bool) task {
	return func(n int) (took time.Duration) {
		for range n {
			begun := time.Now()
			start()
			took += (<-entered).Sub(begun)
			yieldWhile(busy)
		}
		return took
	}
}

// compareRoundTrip compares Do with a request to a goroutine, which lives until the
// comparison ends.
func compareRoundTrip(e effort) ([]result, error) {
	ctx := context.Background()
	callback := func() error { return nil }
	t, err := throttle.New(throttle.Policy{}, callback)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	requests := make(chan chan error)
	defer close(requests)
	go func() {
		for answer := range requests {
			answer <- callback()
		}
	}()
	var failed error
	ours := func(n int) {
		for range n {
			if err := t.Do(ctx); err != nil {
				failed = err
			}
		}
	}
	peer := func(n int) {
		for range n {
			answer := make(chan error, 1)
			requests <- answer
			if err := <-answer; err != nil {
				failed = err
			}
		}
	}
	results := pair{ours: timed(ours), peer: timed(peer), cores: 1}.compare(e)
	return results, failed
}
