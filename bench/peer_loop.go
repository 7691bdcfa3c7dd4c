package main

import "time"

// This file holds the technique of kube-proxy's bounded frequency runner: a
// goroutine for each instance, woken through a channel with room for one.

// A loop runs a callback in a goroutine of its own, at most once per interval
// from the end of a run, and once an hour in any case. That goroutine lives until
// stop.
type loop struct {
	interval time.Duration
	callback func()
	wake     chan struct{} // holds a token if a call has come that the goroutine knows nothing of
	stopped  chan struct{}
}

func newLoop(interval time.Duration, callback func()) *loop {
	l := &loop{
		interval: interval,
		callback: callback,
		wake:     make(chan struct{}, 1),
		stopped:  make(chan struct{}),
	}
	go l.run()
	return l
}

func (l *loop) call() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *loop) stop() { close(l.stopped) }

func (l *loop) run() {
	const atLeast = time.Hour
	timer := time.NewTimer(atLeast)
	defer timer.Stop()
	var permit time.Time
	for {
		select {
		case <-l.wake:
		case <-timer.C:
		case <-l.stopped:
			return
		}
		if wait := time.Until(permit); wait > 0 {
			timer.Reset(wait)
			continue
		}
		l.callback()
		permit = time.Now().Add(l.interval)
		timer.Reset(atLeast)
	}
}
