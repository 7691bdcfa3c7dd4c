package migrating_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bep/debounce"
	"github.com/samber/lo"
	"golang.org/x/time/rate"

	"github.com/throttle-go/throttle"
)

// The functions in this file are the code blocks of docs/MIGRATING.md.

func bepDebounce(quiet time.Duration, save func()) (call func()) {
	debounced := debounce.New(quiet)
	return func() { debounced(save) }
}

func throttleDebounce(quiet, atMost time.Duration, save func()) (*throttle.Throttler, error) {
	return throttle.New(throttle.Debounce(quiet, atMost), save) // Call, and Shutdown in the end
}

func loThrottle(interval time.Duration, save func()) (call func()) {
	call, _ = lo.NewThrottle(interval, save)
	return call
}

func throttleEvery(interval time.Duration, save func()) (*throttle.Throttler, error) {
	return throttle.New(throttle.Every(interval), save)
}

func rateSometimes(interval time.Duration, logLine func()) (call func()) {
	sometimes := rate.Sometimes{Interval: interval}
	return func() { sometimes.Do(logLine) }
}

func throttleLeading(interval time.Duration, logLine func()) (*throttle.Throttler, error) {
	return throttle.New(throttle.Policy{Interval: interval, Edges: throttle.Leading}, logLine)
}

// boundedRunner runs syncRules when it is asked to, but leaves a pause after each run, and runs at
// least once in atLeast. A failed run is repeated after retry.
func boundedRunner(pause, retry, atLeast time.Duration, syncRules func() error, asked, stop <-chan struct{}) {
	var last time.Time
	due := time.NewTimer(atLeast)
	defer due.Stop()
	for {
		select {
		case <-stop:
			return
		case <-asked:
			if wait := time.Until(last.Add(pause)); wait > 0 {
				due.Reset(wait)
				continue
			}
		case <-due.C:
		}
		err := syncRules()
		last = time.Now()
		if err != nil {
			due.Reset(retry)
		} else {
			due.Reset(atLeast)
		}
	}
}

func throttleRunner(pause, retry, atLeast time.Duration, syncRules func() error) (*throttle.Throttler, error) {
	return throttle.New(throttle.Policy{
		Interval:    pause,
		From:        throttle.FromEnd,
		MaxInterval: atLeast,
		Retry:       throttle.Backoff{Initial: retry, Eager: true},
	}, syncRules)
}

// A trigger collects reasons, and gives them to apply at most once per interval.
type trigger struct {
	mu      sync.Mutex
	reasons []string
	wake    chan struct{} // of capacity 1
}

func (t *trigger) call(reason string) {
	t.mu.Lock()
	t.reasons = append(t.reasons, reason)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *trigger) run(interval time.Duration, apply func(reasons []string), stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-t.wake:
		}
		t.mu.Lock()
		reasons := t.reasons
		t.reasons = nil
		t.mu.Unlock()
		apply(reasons)
		time.Sleep(interval)
	}
}

func throttleTrigger(
	interval time.Duration, apply func(ctx context.Context, reasons []string) error,
) (*throttle.Coalescer[string, []string], error) {
	return throttle.NewCoalescer(throttle.Every(interval), throttle.Batch[string](), apply)
}

// debounceLoop merges updates until none has come for quiet, or the first has waited for atMost.
func debounceLoop(updates <-chan int, quiet, atMost time.Duration, push func(sum int), stop <-chan struct{}) {
	var sum int
	var first time.Time
	var due <-chan time.Time
	for {
		select {
		case <-stop:
			return
		case n := <-updates:
			if sum == 0 {
				first = time.Now()
			}
			sum += n
			due = time.After(min(quiet, time.Until(first.Add(atMost))))
		case <-due:
			push(sum)
			sum, due = 0, nil
		}
	}
}

func throttleLoop(
	quiet, atMost time.Duration, push func(ctx context.Context, sum int) error,
) (*throttle.Coalescer[int, int], error) {
	add := throttle.Merge(func(older, newer int) int { return older + newer })
	return throttle.NewCoalescer(throttle.Debounce(quiet, atMost), add, push)
}

// A handMade runs save once per interval at most.
type handMade struct {
	interval time.Duration
	save     func()

	mu      sync.Mutex
	pending bool
	last    time.Time
}

func (h *handMade) call() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pending {
		return
	}
	h.pending = true
	time.AfterFunc(time.Until(h.last.Add(h.interval)), func() {
		h.save()
		h.mu.Lock()
		defer h.mu.Unlock()
		h.pending, h.last = false, time.Now()
	})
}

// tickerWithFlag saves at each tick if dirty is set.
func tickerWithFlag(interval time.Duration, dirty *atomic.Bool, save func(), stop <-chan struct{}) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			if dirty.Swap(false) {
				save()
			}
		}
	}
}

// A limiters has a limiter per tenant.
type limiters struct {
	interval time.Duration

	mu sync.Mutex
	of map[string]*rate.Limiter
}

func (l *limiters) call(tenant string, refresh func(tenant string)) {
	l.mu.Lock()
	limiter, ok := l.of[tenant]
	if !ok {
		limiter = rate.NewLimiter(rate.Every(l.interval), 1)
		l.of[tenant] = limiter
	}
	l.mu.Unlock()
	if limiter.Allow() {
		refresh(tenant)
	}
}

func throttleGroup(interval time.Duration, refresh func(tenant string)) (*throttle.Group[string], error) {
	return throttle.NewGroup(throttle.Every(interval), func(_ context.Context, tenant string) error {
		refresh(tenant)
		return nil
	})
}

var errSync = errors.New("sync failed")
