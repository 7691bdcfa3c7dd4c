package main

import (
	"sync"
	"time"
)

// This file holds the technique of Cilium's trigger: a flag under a mutex, and for
// each instance a goroutine with a ticker that looks at it.

// A trigger runs a callback in a goroutine of its own, at most once per interval.
// That goroutine lives until stop; if it waits for a run then, that run is made.
type trigger struct {
	interval time.Duration
	callback func()
	wake     chan struct{} // holds a token if the goroutine is to look
	stopped  chan struct{}

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	asked bool // for a run
	// +checklocks:mu
	calls int // that the next run covers
	// +checklocks:mu
	since time.Time // the first of them
}

func newTrigger(interval time.Duration, callback func()) *trigger {
	t := &trigger{
		interval: interval,
		callback: callback,
		wake:     make(chan struct{}, 1),
		stopped:  make(chan struct{}),
	}
	go t.run()
	return t
}

func (t *trigger) call() {
	t.mu.Lock()
	t.asked = true
	if t.calls == 0 {
		t.since = time.Now()
	}
	t.calls++
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *trigger) stop() { close(t.stopped) }

func (t *trigger) run() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var permit time.Time
	for {
		select {
		case <-t.wake:
		case <-ticker.C:
		case <-t.stopped:
			return
		}
		if !t.take() {
			continue
		}
		time.Sleep(time.Until(permit))
		t.begin()
		permit = time.Now().Add(t.interval)
		t.callback()
	}
}

// take reports whether a run is asked for, and from then on none is.
func (t *trigger) take() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := t.asked
	t.asked = false
	return asked
}

// begin forgets the calls that the run which starts now covers.
func (t *trigger) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls, t.since = 0, time.Time{}
}
