//go:build linux

package fleettest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// A crowd is many throttlers of one process, on one engine, whose callbacks return at once.
type crowd struct {
	host   *host
	engine fleet.Engine
	prefix string
	all    []*fleet.Throttler

	mu sync.Mutex // guards the field below
	// +checklocks:mu
	report crowdReport
}

// A crowdReport says what has become of a crowd.
type crowdReport struct {
	Runs    []crowdRun
	Counts  fleet.Counts // the sum over all throttlers
	Errors  map[errorKind]int
	Pending int // how many throttlers have calls that are not known to be covered
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
	c := &crowd{host: h, engine: engine, prefix: o.Key, report: crowdReport{Errors: make(map[errorKind]int)}}
	opts := []fleet.Option{fleet.WithGuard(o.Guard), fleet.WithLease(o.Lease), fleet.WithErrorHandler(c.failed)}
	if o.Local {
		opts = append(opts, fleet.RunLocal())
	}
	for i := range o.Keys {
		var token int64 // of the active run, or the last one
		t, err := fleet.New(engine, keyOf(o.Key, i), throttle.Every(o.Interval), func(ctx context.Context) error {
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
			for _, t := range c.all {
				t.Call()
			}
		}
	case actStats:
		answer.Crowd = c.describe()
	case actOpen, actGather, actBehave, actRegister, actCallAll, actDo, actCancel, actShutdown, actClose, actQuit:
		answer.Error, answer.Text = other, "a crowd cannot do that"
	}
}

func (c *crowd) describe() *crowdReport {
	c.mu.Lock()
	r := crowdReport{Runs: slices.Clone(c.report.Runs), Errors: maps.Clone(c.report.Errors)}
	c.mu.Unlock()
	for _, t := range c.all {
		n := t.Counts()
		r.Counts.Served += n.Served
		r.Counts.Granted += n.Granted
		r.Counts.Deferred += n.Deferred
		r.Counts.Failed += n.Failed
		r.Counts.Late += n.Late
		r.Counts.LocalRuns += n.LocalRuns
		r.Counts.LostLeases += n.LostLeases
		if t.Stats().Pending {
			r.Pending++
		}
	}
	return &r
}

// close closes all throttlers.
func (c *crowd) close(ctx context.Context) error {
	for _, t := range c.all {
		_ = t.Close() // always nil
	}
	var failed error
	for _, t := range c.all {
		if err := t.Shutdown(ctx); err != nil {
			failed = err
		}
	}
	closeEngine(c.engine)
	return failed
}
