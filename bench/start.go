package main

import (
	"context"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
)

// This file measures calls that start a run at once, and those that wait for one.

func startedRuns() subject {
	const goStatement = "go statement"
	return subject{
		name:  "start",
		title: "A call that starts a run",
		notes: []string{
			"until Call returns: of 64 throttlers, one after the other, before any of them is called again.",
			"callback entered: from before the call to the callback's first line, by the clock.",
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

// compareReturn compares how long it takes to get a run started, not to make it.
func compareReturn(e effort) ([]result, error) {
	const batch = 64 // as many goroutines as one core starts and keeps for itself
	var running sync.WaitGroup
	callback := running.Done
	throttlers := make([]*throttle.Throttler, batch)
	for i := range throttlers {
		t, err := throttle.New(throttle.Policy{}, callback)
		if err != nil {
			return nil, err
		}
		throttlers[i] = t
	}
	var failed error
	ours := inBatches(batch, func(n int) {
		running.Add(n)
		for _, t := range throttlers[:n] {
			t.Call()
		}
	}, func() {
		for _, t := range throttlers { // a run goes on for a moment behind its callback
			if err := t.Flush(context.Background()); err != nil {
				failed = err
			}
		}
	})
	peer := inBatches(batch, func(n int) {
		running.Add(n)
		for range n {
			go callback()
		}
	}, running.Wait)
	return pair{ours: ours, peer: peer, cores: 1}.compare(e), failed
}

// inBatches makes a task of start, which does something so many times; finish,
// which is not timed, waits for what a batch has started.
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

// compareEntry compares how long it takes until the callback is entered. No call
// is made before the run of the one before is over.
func compareEntry(e effort) ([]result, error) {
	entered := make(chan time.Time, 1)
	callback := func() { entered <- time.Now() }
	t, err := throttle.New(throttle.Policy{}, callback)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var failed error
	ours := func(n int) (took time.Duration) {
		for range n {
			start := time.Now()
			t.Call()
			took += (<-entered).Sub(start)
			if err := t.Flush(context.Background()); err != nil {
				failed = err
			}
		}
		return took
	}
	peer := func(n int) (took time.Duration) {
		for range n {
			start := time.Now()
			go callback()
			took += (<-entered).Sub(start)
		}
		return took
	}
	return pair{ours: ours, peer: peer, cores: 1}.compare(e), failed
}

// compareRoundTrip compares a Do with the hand-over of a request to a goroutine,
// which lives until the comparison is over.
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
	return pair{ours: timed(ours), peer: timed(peer), cores: 1}.compare(e), failed
}
