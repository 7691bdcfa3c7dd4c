package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/samber/lo"
	"go.uber.org/ratelimit"
	"golang.org/x/time/rate"

	"github.com/throttle-go/throttle"
)

// The settings of most experiments.
const (
	oneCore  = "one core"
	allCores = "all cores"
)

// A repeater makes n calls.
type repeater struct {
	name string

	// prepare returns a function that makes n calls, and one that cleans up. It
	// is a named function and not the result of another one: if the compiler
	// inlines that one, it copies its closures, and it inlines nothing into
	// copied closures. An atomic load then seems to cost ten times as much.
	prepare func() (repeat func(n int), stop func(), err error)
}

// coalescedCalls measures calls that find a run pending, or come too early for one.
func coalescedCalls() subject {
	s := subject{
		name:  "call",
		title: "A call while a run is pending, or refused where a peer has no pending run",
		notes: []string{
			"loop: a goroutine per instance behind a channel with room for one (kube-proxy's technique, written for this" +
				" comparison). Its slot is full as long as its callback is running; while its run is deferred, calls wake it.",
			"mutex, worker, ticker: Cilium's technique, written for this comparison.",
			"Limiter, Sometimes, lo and failsafe refuse the call; the check \"last call\" shows the consequence.",
			"ratelimit.Take permits one call per nanosecond; it would make other calls sleep.",
		},
	}
	for _, peer := range callsInWindow() {
		s.experiments = append(s.experiments, besideOurs(repeater{ownName, pendingCall}, peer)...)
	}
	return s
}

// coalescedCallsByCores measures the same calls with several values of GOMAXPROCS.
func coalescedCallsByCores() subject {
	s := subject{
		name:  "procs",
		title: "The same, in as many goroutines as GOMAXPROCS says",
		notes: []string{"With more goroutines than cores, the operating system shares the cores among threads."},
	}
	for _, procs := range []int{1, 2, 4, 8} {
		for _, peer := range callsInWindow() {
			s.experiments = append(s.experiments, experiment{
				setting: fmt.Sprintf("GOMAXPROCS %d", procs),
				peer:    peer.name,
				measure: func(e effort) ([]result, error) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
					return compareCalls(e, procs, repeater{ownName, pendingCall}, peer)
				},
			})
		}
	}
	return s
}

// besideOurs compares ours with a peer, on one core and on all.
func besideOurs(ours, peer repeater) []experiment {
	return []experiment{
		{oneCore, peer.name, func(e effort) ([]result, error) { return compareCalls(e, 1, ours, peer) }},
		{allCores, peer.name, func(e effort) ([]result, error) {
			return compareCalls(e, runtime.GOMAXPROCS(0), ours, peer)
		}},
	}
}

// compareCalls compares calls on several cores at once.
func compareCalls(e effort, cores int, ours, peer repeater) ([]result, error) {
	call, stop, err := ours.prepare()
	if err != nil {
		return nil, err
	}
	defer stop()
	theirCall, theirStop, err := peer.prepare()
	if err != nil {
		return nil, err
	}
	defer theirStop()
	p := pair{ours: timed(onCores(cores, call)), peer: timed(onCores(cores, theirCall)), cores: cores}
	return p.compare(e), nil
}

// pendingCall calls a Throttler whose run is due in an hour.
func pendingCall() (repeat func(n int), stop func(), err error) {
	t, err := pending(throttle.Every(time.Hour))
	if err != nil {
		return nil, nil, err
	}
	return func(n int) {
		for range n {
			t.Call()
		}
	}, func() { _ = t.Close() }, nil
}

// pending returns a throttler that has run once, and has another run pending.
func pending(p throttle.Policy) (*throttle.Throttler, error) {
	t, err := throttle.New(p, func() {})
	if err != nil {
		return nil, err
	}
	if err := t.Do(context.Background()); err != nil {
		return nil, err
	}
	t.Call()
	return t, nil
}

// atomicLoad is the cheapest way to see that there is nothing to do.
func atomicLoad() (repeat func(n int), stop func(), err error) {
	word := new(atomic.Uint64)
	word.Store(1)
	missed := new(int)
	return func(n int) {
		for range n {
			if word.Load() != 1 {
				*missed++
			}
		}
	}, nothing, nil
}

// callsInWindow returns the peers: the bare load, and those that have just run and
// may run again in an hour.
func callsInWindow() []repeater {
	return []repeater{
		{atomicName, atomicLoad},
		{slotName, fullSlot},
		{triggerName, deferredTrigger},
		{loName, closedWindow},
		{limiterName, emptyLimiter},
		{deferredName, deferredLoop},
		{sometimesName, recentSometimes},
		{uberName, fastRatelimit},
		{failsafeName, emptyFailsafe},
	}
}

// errRefused is the error of a peer that refuses the first call.
var errRefused = errors.New("the first call was refused")

func fullSlot() (repeat func(n int), stop func(), err error) {
	entered, leave := make(chan struct{}), make(chan struct{})
	l := newLoop(time.Hour, func() {
		entered <- struct{}{}
		<-leave
	})
	l.call()
	<-entered
	return func(n int) {
		for range n {
			l.call()
		}
	}, func() { l.stop(); close(leave) }, nil
}

func deferredLoop() (repeat func(n int), stop func(), err error) {
	ran := make(chan struct{})
	l := newLoop(time.Hour, func() { ran <- struct{}{} })
	l.call()
	<-ran
	return func(n int) {
		for range n {
			l.call()
		}
	}, l.stop, nil
}

func deferredTrigger() (repeat func(n int), stop func(), err error) {
	ran := make(chan struct{})
	t := newTrigger(time.Hour, func() { ran <- struct{}{} })
	t.call()
	<-ran
	return func(n int) {
		for range n {
			t.call()
		}
	}, t.stop, nil
}

func closedWindow() (repeat func(n int), stop func(), err error) {
	call, reset := lo.NewThrottle(time.Hour, nothing)
	call()
	return func(n int) {
		for range n {
			call()
		}
	}, reset, nil
}

func emptyLimiter() (repeat func(n int), stop func(), err error) {
	l := rate.NewLimiter(rate.Every(time.Hour), 1)
	if !l.Allow() {
		return nil, nil, errRefused
	}
	return func(n int) {
		for range n {
			l.Allow()
		}
	}, nothing, nil
}

func recentSometimes() (repeat func(n int), stop func(), err error) {
	s := rate.Sometimes{Interval: time.Hour}
	s.Do(nothing)
	return func(n int) {
		for range n {
			s.Do(nothing)
		}
	}, nothing, nil
}

func fastRatelimit() (repeat func(n int), stop func(), err error) {
	l := ratelimit.New(int(time.Second / time.Nanosecond))
	return func(n int) {
		for range n {
			l.Take()
		}
	}, nothing, nil
}

func emptyFailsafe() (repeat func(n int), stop func(), err error) {
	l := ratelimiter.NewSmoothWithMaxRate[any](time.Hour)
	if !l.TryAcquirePermit() {
		return nil, nil, errRefused
	}
	return func(n int) {
		for range n {
			l.TryAcquirePermit()
		}
	}, nothing, nil
}
