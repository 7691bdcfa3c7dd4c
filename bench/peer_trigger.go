package main

import (
	"sync"
	"time"
)

// A trigger is the technique of Cilium's trigger: a flag under a mutex, and a goroutine
// per instance with a ticker that looks at it. It runs a callback at most once per
// interval. The goroutine lives until stop; a run that it is waiting for then still
// happens.
type trigger struct {
	interval time.Duration
	callback func()
	wake     chan struct{} // holds a token while the goroutine should look
	stopped  chan struct{}

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	asked bool // whether a run is asked for
	// +checklocks:mu
	calls int // calls that the next run covers
	// +checklocks:mu
	since time.Time // when the first of them came
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

// take reports whether a run is asked for, and clears the flag.
func (t *trigger) take() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := t.asked
	t.asked = false
	return asked
}

// begin clears the calls that the run about to start covers.
func (t *trigger) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls, t.since = 0, time.Time{}
}
