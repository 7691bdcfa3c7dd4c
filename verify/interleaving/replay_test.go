package interleaving_test

// This file holds that the model of the interleaving check is one of the library:
// the same operations, one after the other, leave both alike.

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
	"github.com/throttle-go/throttle/verify/interleaving"
	"github.com/throttle-go/throttle/verify/internal/effort"
)

const replayTick = time.Second

// A replayEvent happens to the model and to the library. It reports false if it cannot
// happen now.
type replayEvent struct {
	name string
	play func(*interleaving.Replay, *replayThrottler) bool
}

// A replayThrottler is one of the library, whose callback returns when it is told to.
type replayThrottler struct {
	*throttle.Throttler
	built     time.Time
	policies  [2]throttle.Policy // the first is in force at first
	endParent func()
	returns   chan error
	entered   atomic.Int64
	waiting   atomic.Int64
}

func newReplayThrottler(t *testing.T, c interleaving.Configuration) *replayThrottler {
	t.Helper()
	parent, endParent := context.WithCancel(t.Context())
	r := &replayThrottler{built: time.Now(), endParent: endParent, returns: make(chan error)}
	r.policies = [...]throttle.Policy{replayPolicy(c.Policies[0]), replayPolicy(c.Policies[1])}
	callback := func() error {
		r.entered.Add(1)
		return <-r.returns
	}
	quietly := throttle.WithErrorHandler(func(error) {})
	var err error
	r.Throttler, err = throttle.New(r.policies[0], callback, throttle.WithContext(parent), quietly)
	require.NoError(t, err)
	return r
}

// replayPolicy returns the library's form of p.
func replayPolicy(p interleaving.Policy) throttle.Policy {
	return throttle.Policy{
		Interval:    time.Duration(p.Interval) * replayTick,
		Quiet:       time.Duration(p.Quiet) * replayTick,
		MaxWait:     time.Duration(p.MaxWait) * replayTick,
		MaxInterval: time.Duration(p.MaxInterval) * replayTick,
		MaxCalls:    int(p.MaxCalls),
		Retry:       throttle.Backoff{Initial: time.Duration(p.Retry) * replayTick},
		Edges:       throttle.Edges(p.Edges),
	}
}

// read returns what can be seen of r.
func (r *replayThrottler) read() interleaving.Reading {
	s := r.Stats()
	next := interleaving.Never
	if !s.Next.IsZero() {
		next = int(s.Next.Sub(r.built) / replayTick)
	}
	return interleaving.Reading{
		Pending: s.Pending, Running: s.Running, Closed: s.Closed, Next: next,
		Entered: int(r.entered.Load()), Waiting: int(r.waiting.Load()),
	}
}

// end leaves nothing of r behind.
func (r *replayThrottler) end() {
	r.endParent()
	synctest.Wait()
	close(r.returns)
	synctest.Wait()
}

// replayMethod is the event of a method that may wait.
func replayMethod(name string, op interleaving.Op, method func(*replayThrottler)) replayEvent {
	return replayEvent{name, func(m *interleaving.Replay, r *replayThrottler) bool {
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

// replayReturn is the event of a callback's return.
func replayReturn(name string, verdict interleaving.Verdict, err error) replayEvent {
	return replayEvent{name, func(m *interleaving.Replay, r *replayThrottler) bool {
		if !m.Return(verdict) {
			return false
		}
		r.returns <- err
		return true
	}}
}

// replayedCall is the index of Call, which much else needs to come first.
const replayedCall = 0

// What the methods return is beside the point here.
var replayEvents = []replayEvent{
	replayMethod("Call", interleaving.OpCall, func(r *replayThrottler) { r.Call() }),
	replayMethod("CallWithin", interleaving.OpCallWithin, func(r *replayThrottler) { r.CallWithin(replayTick) }),
	replayMethod("Do", interleaving.OpDo, func(r *replayThrottler) { _ = r.Do(context.Background()) }),
	replayMethod("Flush", interleaving.OpFlush, func(r *replayThrottler) { _ = r.Flush(context.Background()) }),
	replayMethod("Cancel", interleaving.OpCancel, func(r *replayThrottler) { r.Cancel() }),
	replayMethod("SetPolicy", interleaving.OpSetPolicy1, func(r *replayThrottler) { _ = r.SetPolicy(r.policies[1]) }),
	replayMethod("SetPolicy back", interleaving.OpSetPolicy0, func(r *replayThrottler) { _ = r.SetPolicy(r.policies[0]) }),
	replayMethod("Close", interleaving.OpClose, func(r *replayThrottler) { _ = r.Close() }),
	replayMethod("Shutdown", interleaving.OpShutdown, func(r *replayThrottler) { _ = r.Shutdown(context.Background()) }),
	replayMethod("the parent ends", interleaving.OpParentEnd, func(r *replayThrottler) { r.endParent() }),
	replayReturn("success", interleaving.Succeeded, nil),
	replayReturn("failure", interleaving.Failed, errors.New("failed")),
	replayReturn("RetryIn", interleaving.Again, throttle.RetryIn(replayTick)),
	{"tick", func(m *interleaving.Replay, _ *replayThrottler) bool {
		m.Tick()
		time.Sleep(replayTick)
		return true
	}},
}

func TestModelOfInterleavingsDoesWhatTheLibraryDoes(t *testing.T) {
	length := 4
	if effort.Factor() >= 10 {
		length = 5
	}
	for name, policies := range interleaving.Replayed() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := interleaving.Configuration{Policies: policies, RetryIn: 1}
				played := replayAll(t, c, nil, length-1) + replayAll(t, c, []int{replayedCall}, length)
				t.Logf("%d paths", played)
				assert.Greater(t, played, 10_000)
			})
		})
	}
}

// replayAll plays all paths of so many events after the first ones, and returns how
// many there are.
func replayAll(t *testing.T, c interleaving.Configuration, first []int, length int) (played int) {
	t.Helper()
	for path := make([]int, length); path != nil; played++ {
		happened := replay(t, c, slices.Concat(first, path))
		path = nextReplay(path, happened-len(first))
	}
	return played
}

// replay plays the events of path and returns how many of them could happen.
func replay(t *testing.T, c interleaving.Configuration, path []int) int {
	t.Helper()
	r := newReplayThrottler(t, c)
	defer r.end()
	m := interleaving.NewReplay(c)
	for i, index := range path {
		if !replayEvents[index].play(m, r) {
			return i
		}
		synctest.Wait()
		if want, got := m.Read(), r.read(); want != got {
			require.Equal(t, want, got, "after %s", replayNames(path[:i+1]))
		}
	}
	return len(path)
}

// nextReplay returns the path that comes after path if only its first events up to the
// given number could happen; nil if that was the last.
func nextReplay(path []int, happened int) []int {
	at := min(happened, len(path)-1)
	for i := at + 1; i < len(path); i++ {
		path[i] = 0
	}
	for ; at >= 0; at-- {
		path[at]++
		if path[at] < len(replayEvents) {
			return path
		}
		path[at] = 0
	}
	return nil
}

func replayNames(path []int) string {
	names := make([]string, len(path))
	for i, index := range path {
		names[i] = replayEvents[index].name
	}
	return strings.Join(names, ", ")
}
