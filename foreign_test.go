package throttle_test

// This file holds that a throttler runs nothing of its user's with its lock held.

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// TestNoForeignCodeRunsUnderTheLock holds G9: it takes the lock from another
// goroutine wherever the throttler runs what is not its own. It does so in real
// time, since in a bubble who waits for a mutex stops all.
func TestNoForeignCodeRunsUnderTheLock(t *testing.T) {
	methods := map[string]func(*throttle.Throttler, context.Context) error{
		"Do":       (*throttle.Throttler).Do,
		"Flush":    (*throttle.Throttler).Flush,
		"Shutdown": (*throttle.Throttler).Shutdown,
	}
	for name, method := range methods {
		t.Run(name+" until the run's end", func(t *testing.T) {
			p := newProbe(t)
			w := p.await(t.Context(), method)
			close(p.release)
			require.Error(t, <-w)
			p.endParent()
		})
		t.Run(name+" until its context's end", func(t *testing.T) {
			p := newProbe(t)
			ctx, leave := context.WithCancel(t.Context())
			w := p.await(ctx, method)
			leave()
			require.Equal(t, context.Canceled, <-w)
			close(p.release)
			p.endParent()
		})
		t.Run(name+" until the parent's end", func(t *testing.T) {
			p := newProbe(t)
			w := p.await(t.Context(), method)
			p.endParent()
			close(p.release)
			require.Error(t, <-w)
		})
	}
}

// A probe is a throttler all of whose foreign code tries to take its lock.
type probe struct {
	t         *testing.T
	throttler *throttle.Throttler
	ready     chan struct{} // closed once throttler is set
	release   chan struct{} // closed to let runs end
	waits     chan struct{} // sent to when a method begins to wait
	end       context.CancelFunc
}

// newProbe returns a probe whose throttler has an active run.
func newProbe(t *testing.T) *probe {
	t.Helper()
	parent, end := context.WithCancel(t.Context())
	p := &probe{t: t, ready: make(chan struct{}), release: make(chan struct{}), waits: make(chan struct{}, 1), end: end}
	entered := make(chan struct{}, 9)
	p.throttler = throttle.Must(throttle.New(throttle.Policy{},
		func(context.Context) error {
			p.touch("callback")
			entered <- struct{}{}
			<-p.release
			return probingError{p}
		},
		throttle.WithContext(probingContext{parent, p, "parent"}),
		throttle.WithErrorHandler(func(err error) {
			p.touch("handler")
			slog.New(slog.DiscardHandler).Error("run failed", "error", err)
		}),
		throttle.WithObserver(func(throttle.Run) { p.touch("observer") }),
		throttle.WithTracer(func(ctx context.Context, _ throttle.Run, _ []context.Context) (context.Context, func(throttle.Run)) {
			p.touch("tracer")
			return probingContext{ctx, p, "traced"}, func(throttle.Run) { p.touch("end of a trace") }
		})))
	close(p.ready)
	t.Cleanup(func() { _ = p.throttler.Shutdown(context.Background()) })
	p.throttler.Call()
	<-entered
	return p
}

// touch reports an error if the lock is held.
func (p *probe) touch(where string) {
	select {
	case <-p.ready:
	default:
		return // New has not returned it yet
	}
	taken := make(chan struct{})
	go func() {
		p.throttler.Stats()
		close(taken)
	}()
	select {
	case <-taken:
	case <-time.After(5 * time.Second):
		p.t.Errorf("%s: the lock is held", where)
	}
}

// await calls method with a context that probes, and returns once it waits.
func (p *probe) await(ctx context.Context, method func(*throttle.Throttler, context.Context) error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- method(p.throttler, probingContext{ctx, p, "context"}) }()
	<-p.waits
	return result
}

// endParent ends the parent context and returns once that has closed the throttler.
func (p *probe) endParent() {
	p.end()
	for !p.throttler.Stats().Closed {
		runtime.Gosched()
	}
}

// A probingContext tries to take the lock in every method.
type probingContext struct {
	context.Context
	probe *probe
	name  string
}

func (c probingContext) Deadline() (time.Time, bool) {
	c.probe.touch(c.name + ".Deadline")
	return c.Context.Deadline()
}

func (c probingContext) Done() <-chan struct{} {
	c.probe.touch(c.name + ".Done")
	if c.name == "context" {
		select {
		case c.probe.waits <- struct{}{}:
		default:
		}
	}
	return c.Context.Done()
}

func (c probingContext) Err() error {
	c.probe.touch(c.name + ".Err")
	return c.Context.Err()
}

func (c probingContext) Value(key any) any {
	c.probe.touch(c.name + ".Value")
	return c.Context.Value(key)
}

// A probingError tries to take the lock when it is looked into.
type probingError struct{ probe *probe }

func (e probingError) Error() string {
	e.probe.touch("error.Error")
	return "probing"
}

func (e probingError) As(any) bool {
	e.probe.touch("error.As")
	return false
}

func (e probingError) Is(error) bool {
	e.probe.touch("error.Is")
	return false
}
