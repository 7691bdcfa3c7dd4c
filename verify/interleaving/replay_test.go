package interleaving_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/effort"
	"github.com/throttle-go/throttle/verify/interleaving"
)

const tick = time.Second

// An event happens both in the model and in the library. play reports false if it cannot
// happen now.
type event struct {
	name string
	play func(*interleaving.Replay, *throttler) bool
}

// A throttler is a throttle.Throttler whose callback returns when an event says so.
type throttler struct {
	*throttle.Throttler
	built     time.Time
	policies  [2]throttle.Policy // the first applies at first
	endParent func()
	returns   chan error
	entered   atomic.Int64
	waiting   atomic.Int64
}

func newThrottler(t *testing.T, c interleaving.Configuration) *throttler {
	t.Helper()
	parent, endParent := context.WithCancel(t.Context())
	r := &throttler{built: time.Now(), endParent: endParent, returns: make(chan error)}
	r.policies = [...]throttle.Policy{libraryPolicy(c.Policies[0]), libraryPolicy(c.Policies[1])}
	callback := func() error {
		r.entered.Add(1)
		return <-r.returns
	}
	silent := throttle.WithErrorHandler(func(error) {})
	var err error
	r.Throttler, err = throttle.New(r.policies[0], callback, throttle.WithContext(parent), silent)
	require.NoError(t, err)
	return r
}

// libraryPolicy returns p as a throttle.Policy.
func libraryPolicy(p interleaving.Policy) throttle.Policy {
	return throttle.Policy{
		Interval:    time.Duration(p.Interval) * tick,
		Quiet:       time.Duration(p.Quiet) * tick,
		MaxWait:     time.Duration(p.MaxWait) * tick,
		MaxInterval: time.Duration(p.MaxInterval) * tick,
		MaxCalls:    int(p.MaxCalls),
		Retry:       throttle.Backoff{Initial: time.Duration(p.Retry) * tick},
		Edges:       throttle.Edges(p.Edges),
	}
}

// read returns what a user can see of r.
func (r *throttler) read() interleaving.Reading {
	s := r.Stats()
	next := interleaving.Never
	if !s.Next.IsZero() {
		next = int(s.Next.Sub(r.built) / tick)
	}
	return interleaving.Reading{
		Pending: s.Pending, Running: s.Running, Closed: s.Closed, Paused: s.Paused, Next: next,
		Entered: int(r.entered.Load()), Waiting: int(r.waiting.Load()),
	}
}

// end ends r and all its goroutines.
func (r *throttler) end() {
	r.endParent()
	synctest.Wait()
	close(r.returns)
	synctest.Wait()
}

// calling is the event that a method is called, which may wait.
func calling(name string, op interleaving.Op, method func(*throttler)) event {
	return event{name, func(m *interleaving.Replay, r *throttler) bool {
		if !m.Begin(op) {
			return false
		}
		r.waiting.Add(1)
		go func() {
			defer r.waiting.Add(-1)
			method(r)
		}()
		return true
	}}
}

// returning is the event that the callback returns.
func returning(name string, verdict interleaving.Verdict, err error) event {
	return event{name, func(m *interleaving.Replay, r *throttler) bool {
		if !m.Return(verdict) {
			return false
		}
		r.returns <- err
		return true
	}}
}

// theCall is the index of Call, without which many events cannot happen.
const theCall = 0

// thePause is the index of Pause. Only paths that begin with a pause have it and Resume:
// with two more events everywhere, the paths would be twice as many.
var thePause = len(events)

// pausing are the events of paths that begin with a pause.
var pausing = append(slices.Clip(events),
	calling("Pause", interleaving.OpPause, func(r *throttler) { r.Pause() }),
	calling("Resume", interleaving.OpResume, func(r *throttler) { r.Resume() }),
)

// The results of the methods do not matter here.
var events = []event{
	calling("Call", interleaving.OpCall, func(r *throttler) { r.Call() }),
	calling("CallWithin", interleaving.OpCallWithin, func(r *throttler) { r.CallWithin(tick) }),
	calling("Do", interleaving.OpDo, func(r *throttler) { _ = r.Do(context.Background()) }),
	calling("Flush", interleaving.OpFlush, func(r *throttler) { _ = r.Flush(context.Background()) }),
	calling("Cancel", interleaving.OpCancel, func(r *throttler) { r.Cancel() }),
	calling("SetPolicy", interleaving.OpSetPolicy1, func(r *throttler) { _ = r.SetPolicy(r.policies[1]) }),
	calling("SetPolicy back", interleaving.OpSetPolicy0, func(r *throttler) { _ = r.SetPolicy(r.policies[0]) }),
	calling("Close", interleaving.OpClose, func(r *throttler) { _ = r.Close() }),
	calling("Shutdown", interleaving.OpShutdown, func(r *throttler) { _ = r.Shutdown(context.Background()) }),
	calling("the parent ends", interleaving.OpParentEnd, func(r *throttler) { r.endParent() }),
	returning("success", interleaving.Succeeded, nil),
	returning("failure", interleaving.Failed, errors.New("failed")),
	returning("RetryIn", interleaving.Again, throttle.RetryIn(tick)),
	{"tick", func(m *interleaving.Replay, _ *throttler) bool {
		m.Tick()
		time.Sleep(tick)
		return true
	}},
}

// TestReplay checks that the model is a model of the library: the same operations, one after
// the other, have the same effects in both.
func TestReplay(t *testing.T) {
	length := 4
	if effort.Factor() >= 10 {
		length = 5
	}
	for name, policies := range replayed() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := interleaving.Configuration{Policies: policies, RetryIn: 1}
				played := playAll(t, c, events, nil, length-1) + playAll(t, c, events, []int{theCall}, length)
				paused := playAll(t, c, pausing, []int{thePause, theCall}, length-1) + playAll(t, c, pausing, []int{theCall, thePause}, length-1)
				t.Logf("%d paths, and %d with a pause", played, paused)
				assert.Greater(t, played, 10_000)
				assert.Greater(t, paused, 2_000)
			})
		})
	}
}

// playAll plays all paths that continue first by length of the given events, and returns
// their number.
func playAll(t *testing.T, c interleaving.Configuration, events []event, first []int, length int) (played int) {
	t.Helper()
	for path := make([]int, length); path != nil; played++ {
		happened := play(t, c, events, slices.Concat(first, path))
		path = nextPath(path, len(events), happened-len(first))
	}
	return played
}

// play plays the events of path and returns how many of them could happen.
func play(t *testing.T, c interleaving.Configuration, events []event, path []int) int {
	t.Helper()
	r := newThrottler(t, c)
	defer r.end()
	m := interleaving.NewReplay(c)
	for i, index := range path {
		if !events[index].play(m, r) {
			return i
		}
		synctest.Wait()
		if want, got := m.Read(), r.read(); want != got {
			require.Equal(t, want, got, "after %s", names(events, path[:i+1]))
		}
	}
	return len(path)
}

// nextPath returns the path of so many events that comes after path, of which only the
// first happened events could happen. It returns nil after the last path.
func nextPath(path []int, events, happened int) []int {
	at := min(happened, len(path)-1)
	for i := at + 1; i < len(path); i++ {
		path[i] = 0
	}
	for ; at >= 0; at-- {
		path[at]++
		if path[at] < events {
			return path
		}
		path[at] = 0
	}
	return nil
}

func names(events []event, path []int) string {
	all := make([]string, len(path))
	for i, index := range path {
		all[i] = events[index].name
	}
	return strings.Join(all, ", ")
}

// replayed returns the policies to play paths with, each followed by one for SetPolicy.
func replayed() map[string][]policy {
	p := newPolicies()
	return map[string][]policy{
		"an interval, then a fixed window":      {p.every, p.window},
		"quiet, then a trailing edge":           {p.quiet, p.trailing},
		"quiet with a bound, then a full batch": {p.quietBounded, p.full},
		"a full batch, then no limit":           {p.full, p.unbounded},
		"a fixed window, then periodic":         {p.window, p.periodic},
		"periodic, then a leading edge":         {p.periodic, p.leading},
		"a leading edge, then a trailing one":   {p.leading, p.trailing},
		"a trailing edge, then both with quiet": {p.trailing, p.both},
		"both edges with quiet, then retries":   {p.both, p.retrying},
		"retries, then none":                    {p.retrying, p.every},
	}
}
