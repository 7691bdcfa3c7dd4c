//go:build linux

package fleettest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/internal/testkit/heap"
)

// A crowd is many keys of one process, on one engine, whose callbacks return at once: throttlers or,
// if group is not nil, keys of a Group.
type crowd struct {
	host   *host
	engine fleet.Engine
	keys   []string
	all    []*fleet.Throttler
	group  *fleet.Group

	mu sync.Mutex // guards the field below
	// +checklocks:mu
	report crowdReport
}

// A crowdReport says what has become of a crowd.
type crowdReport struct {
	Runs    []crowdRun
	Counts  fleet.Counts // the sum over all throttlers
	Errors  map[errorKind]int
	Pending int // how many throttlers have calls that are not known to be covered, or keys the Group holds
	Heap    int // bytes in use on the heap, except for Runs; 0 unless a Group holds no key

	Unreachable bool // whether messages do not reach the store
}

// A crowdRun is the start of a run of the key with that number.
type crowdRun struct {
	Key   int
	At    int64
	Token int64
}

// gather creates a crowd of keys, whose names are o.Key and a number.
func (h *host) gather(o options) (*crowd, error) {
	engine, err := h.open(o.Address)
	if err != nil {
		return nil, err
	}
	c := &crowd{host: h, engine: engine, report: crowdReport{Errors: make(map[errorKind]int)}}
	for i := range o.Keys {
		c.keys = append(c.keys, keyOf(o.Key, o.First+i))
	}
	opts := o.asOptions(c.failed)
	if o.Group {
		c.group, err = fleet.NewGroup(engine, throttle.Every(o.Interval), func(ctx context.Context, key string) error {
			token, _ := fleet.Token(ctx)
			number, err := strconv.Atoi(key[len(o.Key)+1:])
			c.ran(crowdRun{number, h.now(), token})
			return err
		}, opts...)
		return c, err
	}
	for i, key := range c.keys {
		var token int64 // of the active run, or the last one
		t, err := fleet.New(engine, key, throttle.Every(o.Interval), func(ctx context.Context) error {
			token, _ = fleet.Token(ctx)
			return nil
		}, append(slices.Clip(opts), fleet.WithObserver(func(run throttle.Run) {
			c.ran(crowdRun{i, h.instant(run.Started), token})
		}))...)
		if err != nil {
			return nil, err
		}
		c.all = append(c.all, t)
	}
	return c, nil
}

// ran records the start of a run.
func (c *crowd) ran(r crowdRun) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Runs = append(c.report.Runs, r)
}

// instant returns t on the machine's monotonic clock, to a tenth of a millisecond, even if the
// process is paused meanwhile.
func (h *host) instant(t time.Time) int64 {
	for {
		before := h.now()
		since := time.Since(t).Microseconds()
		if h.now() < before+100 {
			return before - since
		}
	}
}

// keyOf returns the name of a crowd's key.
func keyOf(prefix string, number int) string { return fmt.Sprintf("%s-%d", prefix, number) }

// failed is the error handler of all throttlers.
func (c *crowd) failed(err error) {
	kind, _ := kindOf(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Errors[kind]++
}

// obey does what a command says.
func (c *crowd) obey(do command, answer *event) {
	switch do.Do {
	case actCall:
		for i := range do.Times {
			if i > 0 {
				time.Sleep(do.Pace)
			}
			answer.At = c.host.now()
			c.call()
		}
	case actRegister:
		answer.At = c.host.now()
		c.call()
		if !eventually(func() bool { return c.areRegistered(do.Times) }) {
			answer.Error, answer.Text = other, "the store does not know of all calls"
		}
	case actStats:
		answer.Crowd = c.describe()
	case actOpen, actGather, actBehave, actCallAll, actDo, actCancel, actShutdown, actClose, actQuit:
		answer.Error, answer.Text = other, "a crowd cannot do that"
	}
}

// call calls every key once.
func (c *crowd) call() {
	for _, t := range c.all {
		t.Call()
	}
	if c.group == nil {
		return
	}
	for _, key := range c.keys {
		if err := c.group.Call(key); err != nil {
			c.failed(err)
		}
	}
}

// areRegistered reports whether the store knows of so many generations of every key.
func (c *crowd) areRegistered(generations int) bool {
	for _, key := range c.keys {
		if state, err := c.engine.Inspect(context.Background(), key); err != nil || state.Requested < int64(generations) {
			return false
		}
	}
	return true
}

func (c *crowd) describe() *crowdReport {
	inUse := 0
	if c.group != nil && c.group.Len() == 0 { // a collection takes a while
		inUse = heap.InUse()
	}
	c.mu.Lock()
	r := crowdReport{Runs: slices.Clone(c.report.Runs), Errors: maps.Clone(c.report.Errors)}
	r.Heap = max(0, inUse-cap(c.report.Runs)*int(unsafe.Sizeof(crowdRun{})))
	c.mu.Unlock()
	r.Counts = total(c.all)
	if c.group != nil {
		r.Counts, r.Pending = c.group.Counts(), c.group.Len()
	}
	if engine, ok := c.engine.(interface{ Health() fleet.Health }); ok {
		r.Unreachable = engine.Health().Unreachable != nil
	}
	for _, t := range c.all {
		if t.Stats().Pending {
			r.Pending++
		}
	}
	return &r
}

// total returns the sum of the throttlers' counts.
func total(all []*fleet.Throttler) (sum fleet.Counts) {
	for _, t := range all {
		n := t.Counts()
		sum.Served += n.Served
		sum.Granted += n.Granted
		sum.Deferred += n.Deferred
		sum.Failed += n.Failed
		sum.Late += n.Late
		sum.LocalRuns += n.LocalRuns
		sum.LostLeases += n.LostLeases
	}
	return sum
}

// CallMany calls many throttlers of one engine once each, at the same time. It requires that each
// runs once, without an error, and needs its claim and hardly more, however long it waits for its
// turn. The guard should be longer than a claim takes on a busy machine, and shorter than all of
// them take.
func CallMany(t *testing.T, engine fleet.Engine, throttlers int, guard time.Duration) {
	t.Helper()
	const patience = time.Minute
	var runs, problems atomic.Int64
	all := make([]*fleet.Throttler, throttlers)
	for i := range all {
		var err error
		all[i], err = fleet.New(engine, strconv.Itoa(i), throttle.Every(time.Second), func(context.Context) error {
			runs.Add(1)
			return nil
		}, fleet.WithGuard(guard), fleet.WithErrorHandler(func(err error) {
			problems.Add(1)
			t.Log(err)
		}))
		require.NoError(t, err)
	}
	begun := time.Now()
	for _, throttler := range all {
		throttler.Call()
	}
	require.Eventually(t, func() bool { return runs.Load() == int64(throttlers) }, patience, time.Millisecond)
	t.Logf("%d runs in %v", throttlers, time.Since(begun))
	for _, throttler := range all {
		require.NoError(t, throttler.Shutdown(t.Context()))
	}
	sum := total(all)
	t.Logf("%+v", sum)
	assert.EqualValues(t, throttlers, runs.Load())
	assert.LessOrEqual(t, float64(sum.Granted+sum.Deferred+sum.Served), 1.1*float64(throttlers))
	assert.Zero(t, sum.Failed)
	assert.Zero(t, sum.Late)
	assert.Zero(t, problems.Load())
}

// close closes all throttlers.
func (c *crowd) close(ctx context.Context) error {
	for _, t := range c.all {
		_ = t.Close() // always nil
	}
	var failed error
	if c.group != nil {
		_ = c.group.Close() // always nil
		failed = c.group.Shutdown(ctx)
	}
	for _, t := range c.all {
		if err := t.Shutdown(ctx); err != nil {
			failed = err
		}
	}
	closeEngine(c.engine)
	return failed
}
