package main

import (
	"time"

	"github.com/bep/debounce"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/samber/lo"
	"go.uber.org/ratelimit"
	"golang.org/x/time/rate"

	"github.com/throttle-go/throttle"
)

// The names of the peers, as the table has them.
const (
	ownName       = "throttle"
	atomicName    = "atomic load, branch"
	slotName      = "loop, its slot full"
	deferredName  = "loop, its run deferred"
	loopName      = "loop, one-slot channel"
	triggerName   = "mutex, worker, ticker"
	loName        = "lo.NewThrottle"
	limiterName   = "rate.Limiter.Allow"
	sometimesName = "rate.Sometimes.Do"
	uberName      = "uber ratelimit.Take"
	failsafeName  = "failsafe TryAcquirePermit"
	debounceName  = "bep/debounce"

	groupName      = "throttle.Group"
	limiterMapName = "Limiter map"
	throttleByName = "lo.NewThrottleBy"

	coalescerName = "throttle.Coalescer"
	binName       = "mutex, ticker"

	processorName  = "otel BatchSpanProcessor"
	dataloaderName = "dataloader"
)

// A contestant wraps a callback.
type contestant struct {
	name string

	// wrap returns a function that asks for a run of callback, at most once per
	// interval, and one that stops it, if the contestant can be stopped.
	wrap func(interval time.Duration, callback func()) (call, stop func())

	wrapKeys   keyWrap   // nil if it has no keys
	wrapValues valueWrap // nil if its calls carry no values

	// locks says that the contestant holds a mutex while the callback runs.
	locks bool
}

// contestants returns ours and the peers that have neither keys nor values.
func contestants() []contestant {
	return []contestant{
		{name: ownName, wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			t := throttle.Must(throttle.New(throttle.Every(interval), callback))
			return t.Call, func() { _ = t.Close() }
		}},
		{name: loopName, wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			l := newLoop(interval, callback)
			return l.call, l.stop
		}},
		{name: triggerName, wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			t := newTrigger(interval, callback)
			return t.call, t.stop
		}},
		{name: loName, locks: true, wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			call, _ = lo.NewThrottle(interval, callback)
			return call, nothing
		}},
		{name: limiterName, wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			return ifAllowed(rate.NewLimiter(rate.Every(interval), 1).Allow, callback), nothing
		}},
		{name: sometimesName, locks: true, wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			s := rate.Sometimes{Interval: interval}
			return func() { s.Do(callback) }, nothing
		}},
		{name: uberName, wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			l := ratelimit.New(1, ratelimit.Per(interval), ratelimit.WithoutSlack)
			return func() {
				l.Take()
				callback()
			}, nothing
		}},
		{name: failsafeName, wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			l := ratelimiter.NewSmoothWithMaxRate[any](interval)
			return ifAllowed(l.TryAcquirePermit, callback), nothing
		}},
		{name: debounceName, wrap: func(interval time.Duration, callback func()) (call, stop func()) {
			debounced := debounce.New(interval)
			return func() { debounced(callback) }, nothing
		}},
	}
}

func nothing() {}

// ifAllowed returns a function that runs callback if allow permits it.
func ifAllowed(allow func() bool, callback func()) func() {
	return func() {
		if allow() {
			callback()
		}
	}
}
