package main

import "time"

// A loop is the technique of kube-proxy's bounded frequency runner: a goroutine per
// instance, woken through a channel with room for one. It runs a callback at most
// once per interval, counted from the end of a run, and at least once an hour. The
// goroutine lives until stop.
type loop struct {
	interval time.Duration
	callback func()
	wake     chan struct{} // holds a token while the goroutine has not seen the last call
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
