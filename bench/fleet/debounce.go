//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/throttle-go/throttle/bench/internal/measure"
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

const (
	quiet    = time.Second // asynq takes no shorter grace period
	maxWait  = time.Minute
	patience = 90 * time.Second // for a run after a process was killed
)

// A contender debounces. Some of its processes call, and others only run.
type contender struct {
	name        string
	calls, runs jobKind
	runners     int // processes that only run, which a burst needs
}

func contenders() []contender {
	return []contender{{"throttle", debouncer, debouncer, 0}, {"asynq", enqueuer, aggregator, 1}}
}

// A burst is the calls that each of several processes makes.
type burst struct {
	name      string
	processes int
	keys      int
	calls     int           // of a key
	pace      time.Duration // between two calls of a key
	stagger   time.Duration // between the first calls of two keys
}

func bursts() []burst {
	return []burst{
		{"1 key, 5 s, a call per ms", 8, 1, 5000, time.Millisecond, 0},
		{"1 key, 5 s, a call per 10 ms", 8, 1, 500, 10 * time.Millisecond, 0},
		{"300 keys, 1 s each, a call per 100 ms", 8, 300, 10, 100 * time.Millisecond, 40 * time.Millisecond},
	}
}

// A crew is processes that debounce, and what they have reported.
type crew struct {
	store     *redisClient
	processes []*process
	reports   chan report // closed when no process is left

	ready int
	calls map[string]time.Time // the last one of each key
	done  int                  // how often a process has made its last call of a key
	runs  []report
	sum   report // of the counts
}

// recruit starts processes on an empty store: those that call, from number 0 on, and runners. The
// caller must call end.
func (s *store) recruit(ctx context.Context, p contender, b burst, runners int, busy time.Duration) (*crew, error) {
	store, err := openRedis(s.address(), 1)
	if err != nil {
		return nil, err
	}
	c := &crew{store: store, reports: make(chan report), calls: map[string]time.Time{}}
	err = errors.Join(store.client.FlushAll(ctx).Err(), store.client.ConfigResetStat(ctx).Err())
	var readers sync.WaitGroup
	for number := 0; number < b.processes+runners && err == nil; number++ {
		j := job{
			Kind: p.calls, URL: s.address(), Number: number, Processes: b.processes, Goroutines: 20,
			Keys: b.keys, Calls: b.calls, Pace: b.pace, Stagger: b.stagger, Busy: busy,
		}
		if number >= b.processes {
			j.Kind = p.runs
		}
		var started *process
		if started, err = startProcess(ctx, j); err == nil {
			c.processes = append(c.processes, started)
			readers.Go(func() {
				for {
					r := report{process: number}
					if started.answers.Decode(&r) != nil {
						return // the process has ended
					}
					c.reports <- r
				}
			})
		}
	}
	go func() { // ends with the processes
		readers.Wait()
		close(c.reports)
	}()
	if err == nil && !c.until(ctx, patience, func() bool { return c.ready == len(c.processes) }) {
		err = errors.New("a process is not ready")
	}
	if err != nil {
		c.end(ctx)
		return nil, err
	}
	return c, nil
}

// until receives reports until done returns true, and reports whether it did in time.
func (c *crew) until(ctx context.Context, limit time.Duration, done func() bool) bool {
	timeout := time.After(limit)
	for !done() {
		select {
		case r, open := <-c.reports:
			if !open {
				return false
			}
			c.note(r)
		case <-timeout:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func never() bool { return false }

func (c *crew) note(r report) {
	switch r.Event {
	case isReady:
		c.ready++
	case hasRun:
		c.runs = append(c.runs, r)
	case wasLast:
		c.done++
		if r.At.After(c.calls[r.Key]) {
			c.calls[r.Key] = r.At
		}
	case hasEnded:
		c.sum.Messages += r.Messages
		c.sum.Errors += r.Errors
	}
}

// start lets the first n processes call.
func (c *crew) start(n int) (err error) {
	for _, p := range c.processes[:n] {
		_, failed := fmt.Fprintln(p.commands)
		err = errors.Join(err, failed)
	}
	return err
}

// end ends the processes, and receives what they still report. It does not tell how they ended:
// some were killed.
func (c *crew) end(ctx context.Context) {
	for _, p := range c.processes {
		_ = p.commands.Close()
	}
	_ = c.until(ctx, patience, never)
	for _, p := range c.processes {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
	}
	c.store.close()
}

// covered returns, for each key in since, the nanoseconds from then to the first run that the
// given process did not make, as far as there is one.
func (c *crew) covered(since map[string]time.Time, except int) []float64 {
	first := map[string]float64{}
	for _, r := range c.runs {
		at, ours := since[r.Key]
		if _, known := first[r.Key]; ours && !known && r.process != except && r.At.After(at) {
			first[r.Key] = float64(r.At.Sub(at))
		}
	}
	return slices.Collect(maps.Values(first))
}

// measureBurst returns a row of the table of bursts.
func (s *store) measureBurst(ctx context.Context, p contender, b burst) ([]string, error) {
	c, err := s.recruit(ctx, p, b, p.runners, 0)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err = c.start(b.processes); err == nil && !c.until(ctx, patience, func() bool {
		return c.done == b.processes*b.keys && len(c.covered(c.calls, -1)) == b.keys
	}) {
		err = fmt.Errorf("%s: calls are not covered", p.name)
	}
	_ = c.until(ctx, 2*quiet, never) // for runs that nobody needs
	scripts, _, failed := c.store.commands(ctx)
	c.end(ctx)
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	took := slices.MaxFunc(slices.Collect(maps.Values(c.calls)), time.Time.Compare).Sub(begun)
	calls, runs, late := float64(b.processes*b.keys*b.calls), float64(len(c.runs)), c.covered(c.calls, -1)
	return []string{
		p.name, b.name, whole(calls), whole(calls / took.Seconds()),
		fixed(float64(c.sum.Messages) / calls * 1000), fixed(scripts / calls * 1000),
		fixed(runs / float64(b.keys)), fixed(float64(c.sum.Messages) / runs),
		seconds(slices.Min(late)), seconds(measure.Median(late)), seconds(measure.Quantile(late, 0.99)),
		strconv.FormatInt(c.sum.Errors, 10),
	}, nil
}

// measureKill returns a row of the table of killed processes. If running is set, the victim is the
// process that runs first, in mid-run, otherwise the one that called, after its last call.
func (s *store) measureKill(ctx context.Context, p contender, running bool) ([]string, error) {
	const keys = 20
	c, err := s.recruit(ctx, p, burst{"", 1, keys, 10, 100 * time.Millisecond, 0}, 2, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer c.end(ctx)
	if err = c.start(1); err == nil && !c.until(ctx, patience, func() bool { return c.done == keys && (!running || len(c.runs) > 0) }) {
		err = fmt.Errorf("%s: no run", p.name)
	}
	if err != nil {
		return nil, err
	}
	victim, since, what := 0, c.calls, "the caller, before the run"
	if running {
		_ = c.until(ctx, 2*quiet, never) // all runs have begun, and none is over
		victim, since, what = c.runs[0].process, map[string]time.Time{}, "a runner, in mid-run"
	}
	if err := c.processes[victim].command.Process.Kill(); err != nil {
		return nil, err
	}
	if running {
		now := time.Now()
		for _, r := range c.runs {
			if r.process == victim {
				since[r.Key] = now
			}
		}
	}
	_ = c.until(ctx, patience, func() bool { return len(c.covered(since, victim)) == len(since) })
	late := c.covered(since, victim)
	row := []string{p.name, what, strconv.Itoa(len(since)), strconv.Itoa(len(late))}
	if len(late) == 0 {
		return append(row, "-", "-", "-"), nil
	}
	return append(row, seconds(slices.Min(late)), seconds(measure.Median(late)), seconds(slices.Max(late))), nil
}

// measureDebounce prints what a debounce costs, beside asynq and BullMQ, on a Redis server of its own.
func measureDebounce(ctx context.Context, command string, stdout io.Writer) error {
	printHeader(stdout, command)
	s, err := kinds()[1].start(ctx)
	if err != nil {
		return err
	}
	defer s.remove()
	version, err := s.version(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %s\n", s.name, version)
	section(stdout, fmt.Sprintf("Wait until calls stop: bursts from 8 processes, Quiet %v, the default slack of %v, MaxWait %v", quiet, quiet/4, maxWait),
		"messages: claims, or the tasks that asynq's clients enqueue. scripts: EVALSHA at Redis, everything included. Both per thousand calls.",
		"runs: per key. late: seconds from the last call in any process to the run that covers it; Quiet to Quiet plus the slack is wanted.",
		"errors: reported to error handlers, such as late grants. asynq: GroupGracePeriod is Quiet, GroupMaxDelay is MaxWait, one more process",
		"aggregates and runs, and looks for tasks every 100 ms. A client that cannot keep the pace calls as fast as it can.")
	rows := [][]string{{
		"by", "burst", "calls", "calls/s", "messages", "scripts", "runs", "messages/run", "late min", "p50", "p99", "errors",
	}}
	for _, b := range bursts() {
		for _, p := range contenders() {
			row, err := s.measureBurst(ctx, p, b)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
	}
	align(stdout, rows, 2)
	section(stdout, "After kill -9",
		"One process calls 20 keys for a second; two more are there to run. Killed: the caller, when its last calls have returned; or the process",
		fmt.Sprintf("that runs first, in runs of 5 s. covered: keys with a run in another process, within %v. after: seconds to the start of that run,", patience),
		"from the last call, or from the kill. throttle: a lease of 10 s, the default. asynq: a retry delay of 1 s.")
	rows = [][]string{{"by", "killed", "keys", "covered", "after min", "p50", "max"}}
	for _, running := range []bool{false, true} {
		for _, p := range contenders() {
			row, err := s.measureKill(ctx, p, running)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
	}
	align(stdout, rows, 2)
	b, err := measureBullMQ(ctx, s.server.Addr())
	if errors.Is(err, servers.ErrNotInstalled) {
		fmt.Fprintf(stdout, "\nBullMQ is left out: %v\n", err)
		return nil
	}
	if err == nil {
		printBullMQ(stdout, b)
	}
	return err
}

// seconds writes nanoseconds as seconds.
func seconds(ns float64) string { return fixed(ns / 1e9) }
