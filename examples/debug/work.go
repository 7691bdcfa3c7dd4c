package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// A work is a set of throttlers. Copy its options and its page.
type work struct {
	recorder throttledebug.Recorder
	counts   map[string]*atomic.Uint64 // runs, by the throttler's name; the map is not written after newWork

	reload   *throttle.Throttler // fails often, and retries
	index    *throttle.Throttler // waits until typing pauses
	health   *throttle.Throttler // also runs without calls, and sometimes panics
	preview  *throttle.Throttler // drops calls
	feed     *throttle.Throttler // the server says when to come back
	summary  *throttle.Throttler // takes long
	imported *throttle.Throttler // is closed
	journal  *throttle.Coalescer[string, []string]
	refresh  *throttle.Group[string] // per tenant
}

func newWork() *work {
	w := &work{counts: make(map[string]*atomic.Uint64)}
	w.reload = throttle.Must(throttle.New(throttle.Policy{
		Interval: 2 * time.Second,
		Retry:    throttle.Backoff{Initial: time.Second, Max: 8 * time.Second, MaxAttempts: 5, Jitter: 0.2},
	}, reload, w.options("reload")...))
	w.index = throttle.Must(throttle.New(
		throttle.Debounce(800*time.Millisecond, 4*time.Second), index, w.options("index")...))
	w.health = throttle.Must(throttle.New(throttle.Policy{
		Interval: time.Second, MaxInterval: 4 * time.Second,
	}, health, w.options("health")...))
	w.preview = throttle.Must(throttle.New(throttle.Policy{
		Interval: 3 * time.Second, Burst: 2, Edges: throttle.Leading,
	}, preview, w.options("preview")...))
	w.feed = throttle.Must(throttle.New(throttle.Every(time.Second), feed, w.options("feed")...))
	w.summary = throttle.Must(throttle.New(throttle.Policy{
		Interval: 2 * time.Second, From: throttle.FromEnd,
	}, summary, w.options("summary", throttle.WithCallCount())...))
	w.imported = throttle.Must(throttle.New(throttle.Policy{}, func() {}, w.options("import")...))
	w.journal = throttle.Must(throttle.NewCoalescer(throttle.Policy{
		Quiet: 300 * time.Millisecond, MaxWait: 2 * time.Second, MaxCalls: 20,
	}, throttle.Batch[string](), journal, w.options("journal")...))
	w.refresh = throttle.Must(throttle.NewGroup(throttle.Every(3*time.Second), refresh,
		w.options("refresh", throttle.WithMaxConcurrent(4), throttle.WithMaxKeys(10_000))...))
	return w
}

// page returns the page of w.
func (w *work) page(actions bool) http.Handler {
	options := []throttledebug.Option{
		throttledebug.Throttler(w.reload),
		throttledebug.Throttler(w.index),
		throttledebug.Throttler(w.health),
		throttledebug.Throttler(w.preview),
		throttledebug.Throttler(w.feed),
		throttledebug.Throttler(w.summary),
		throttledebug.Throttler(w.imported),
		throttledebug.Coalescer(w.journal),
		throttledebug.Group(w.refresh),
		throttledebug.Runs(&w.recorder),
	}
	if actions {
		options = append(options, throttledebug.Actions())
	}
	return throttledebug.Handler(options...)
}

// options returns the options that the page needs. The page shows the errors, so they
// are not logged too. A second count of runs serves to check the page.
func (w *work) options(name string, further ...throttle.Option) []throttle.Option {
	count := &atomic.Uint64{}
	w.counts[name] = count
	return append(further,
		throttle.WithName(name),
		throttle.WithObserver(w.recorder.Observe),
		throttle.WithObserver(func(throttle.Run) { count.Add(1) }),
		throttle.WithErrorHandler(func(error) {}),
	)
}

// check returns what is wrong with page. It must have been read after shutdown.
func (w *work) check(page throttledebug.Page) error {
	var problems []error
	seen := make(map[string]bool)
	for _, t := range page.Throttles {
		count := w.counts[t.Name]
		if count == nil || seen[t.Name] {
			problems = append(problems, fmt.Errorf("the page has one %s %q too many", t.Kind, t.Name))
			continue
		}
		seen[t.Name] = true
		if ran := count.Load(); t.Runs != ran {
			problems = append(problems, fmt.Errorf("the page shows %d runs of %s, but there were %d", t.Runs, t.Name, ran))
		}
		if t.State != throttledebug.Closed {
			problems = append(problems, fmt.Errorf("the page shows %s as %s, but it is closed", t.Name, t.State))
		}
	}
	for name := range w.counts {
		if !seen[name] {
			problems = append(problems, fmt.Errorf("the page does not show %s", name))
		}
	}
	return errors.Join(problems...)
}

// throttlers returns the plain throttlers, without key and value.
func (w *work) throttlers() []*throttle.Throttler {
	return []*throttle.Throttler{w.reload, w.index, w.health, w.preview, w.feed, w.summary, w.imported}
}

// shutdown runs what is pending, and closes everything. It is no error if the last runs
// fail, only if they take too long.
func (w *work) shutdown(ctx context.Context) error {
	var all sync.WaitGroup // all at once, since each may have to wait for a run
	for _, t := range w.throttlers() {
		all.Go(func() { _ = t.Shutdown(ctx) }) // the page shows the run's error
	}
	all.Go(func() { _ = w.journal.Shutdown(ctx) })
	all.Go(func() { _ = w.refresh.Shutdown(ctx) })
	all.Wait()
	return ctx.Err()
}

// close closes everything that shutdown has not.
func (w *work) close() {
	for _, t := range w.throttlers() {
		t.Close()
	}
	w.journal.Close()
	w.refresh.Close()
}

// reload fails two times in five.
func reload(ctx context.Context) error {
	pause(ctx, 20*time.Millisecond, 120*time.Millisecond)
	if chance(0.4) {
		return fmt.Errorf("reload the configuration: %w", &fs.PathError{Op: "open", Path: "/etc/example/config.toml", Err: fs.ErrNotExist})
	}
	return nil
}

func index(ctx context.Context) error {
	pause(ctx, 200*time.Millisecond, 600*time.Millisecond)
	return nil
}

// health panics one time in five.
func health(ctx context.Context) error {
	pause(ctx, 5*time.Millisecond, 50*time.Millisecond)
	if chance(0.2) {
		_ = strings.Fields("ok")[1] // there is no second word
	}
	return nil
}

func preview(ctx context.Context) error {
	pause(ctx, 30*time.Millisecond, 200*time.Millisecond)
	return nil
}

// feed must come back later one time in four.
func feed(ctx context.Context) error {
	pause(ctx, 50*time.Millisecond, 300*time.Millisecond)
	if chance(0.25) {
		return fmt.Errorf("429 Too Many Requests: %w", throttle.RetryIn(3*time.Second))
	}
	return nil
}

func summary(ctx context.Context) error {
	pause(ctx, time.Second, 2500*time.Millisecond)
	return nil
}

func journal(ctx context.Context, lines []string) error {
	pause(ctx, 5*time.Millisecond, 20*time.Millisecond)
	if chance(0.1) {
		return fmt.Errorf("write %d lines: disk quota exceeded", len(lines))
	}
	return nil
}

// refresh fails one time in ten, always for the same tenants.
func refresh(ctx context.Context, tenant string) error {
	pause(ctx, 50*time.Millisecond, 400*time.Millisecond)
	if tenant[len(tenant)-1] == '7' {
		return fmt.Errorf("refresh %s: %w", tenant, errors.New("403 Forbidden"))
	}
	return nil
}

func chance(share float64) bool { return rand.Float64() < share }

// pause waits for a time between least and most, or until ctx ends.
func pause(ctx context.Context, least, most time.Duration) {
	select {
	case <-time.After(least + rand.N(most-least)):
	case <-ctx.Done():
	}
}
