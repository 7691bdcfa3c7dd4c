package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Every check plays a scenario with a contestant and reports whether it kept the
// promise. The instants of a scenario are at least a quarter of an interval apart, so
// that a slow machine changes nothing.

// A promise has a name and a check.
type promise struct {
	name string
	kept func(c contestant, interval time.Duration) (bool, error)

	// alone says that the check looks at the whole process, so it must run for
	// one contestant at a time.
	alone bool
}

// checked returns the promises that all contestants are checked for.
func checked() []promise {
	return []promise{
		{name: "last call", kept: coversLastCall},
		{name: "no overlap", kept: neverOverlaps},
		{name: "interval", kept: keepsInterval},
		{name: "at once", kept: returnsAtOnce},
		{name: "stop", kept: stops},
		{name: "panic", kept: survivesPanic},
		{name: "no goroutine", kept: ownsNoGoroutine, alone: true},
	}
}

func promises() subject {
	return subject{
		name:  "promises",
		title: "What each peer keeps",
		notes: []string{
			"last call: after calls in a window, a run starts after the last of them, with no further call.",
			"no overlap: runs never overlap, with calls from several goroutines and a callback that takes three intervals.",
			"interval: with ten calls per interval, no two runs are closer than three quarters of it.",
			"at once: calls take less than an interval, while the callback takes three.",
			"stop: afterwards no run starts, for calls before or after it. A peer that cannot be stopped fails this check.",
			"panic: the callback panics, in another process, and runs again after a later call. The two techniques, as" +
				" written here, do not recover.",
			"no goroutine: of 50 instances that have run once and are idle, few or none own one.",
		},
		check: func(e effort) (*matrix, error) { return check(checked(), contestants(), e.interval) },
	}
}

// check runs all checks for all contestants.
func check(promises []promise, all []contestant, interval time.Duration) (*matrix, error) {
	m := new(matrix)
	for _, c := range all {
		m.Peers = append(m.Peers, verdicts{Peer: c.name, Kept: make([]bool, len(promises))})
	}
	var failures []error
	for i, p := range promises {
		m.Promises = append(m.Promises, p.name)
		failed := make([]error, len(all))
		var checks sync.WaitGroup
		for j, c := range all {
			checks.Go(func() { m.Peers[j].Kept[i], failed[j] = p.kept(c, interval) })
			if p.alone {
				checks.Wait()
			}
		}
		checks.Wait()
		failures = append(failures, failed...)
	}
	return m, errors.Join(failures...)
}

// forever is longer than any other time.
const forever = time.Duration(1<<63 - 1)

// A recorder records the runs of its callback.
type recorder struct {
	takes time.Duration

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	starts []time.Time
	// +checklocks:mu
	active int // runs
	// +checklocks:mu
	most int // of them at once
}

func (r *recorder) run() {
	r.mu.Lock()
	r.starts = append(r.starts, time.Now())
	r.active++
	r.most = max(r.most, r.active)
	r.mu.Unlock()
	time.Sleep(r.takes)
	r.mu.Lock()
	r.active--
	r.mu.Unlock()
}

// ranAfter reports whether a run started at t or later.
func (r *recorder) ranAfter(t time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.starts, func(start time.Time) bool { return !start.Before(t) })
}

// overlapped reports whether a run started while another was active.
func (r *recorder) overlapped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most > 1
}

// delay returns the time from t to the start of the first run; forever if there was
// none.
func (r *recorder) delay(t time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.starts) == 0 {
		return forever
	}
	return r.starts[0].Sub(t)
}

// least returns the least time between the starts of two runs; forever if there were
// fewer than two.
func (r *recorder) least() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	least := forever
	for i := 1; i < len(r.starts); i++ {
		least = min(least, r.starts[i].Sub(r.starts[i-1]))
	}
	return least
}

func coversLastCall(c contestant, interval time.Duration) (bool, error) {
	r := new(recorder)
	call, stop := c.wrap(interval, r.run)
	defer stop()
	call()
	time.Sleep(interval / 4)
	var last time.Time
	for range 3 {
		last = time.Now()
		call()
	}
	time.Sleep(4 * interval)
	return r.ranAfter(last), nil
}

func neverOverlaps(c contestant, interval time.Duration) (bool, error) {
	r := &recorder{takes: 3 * interval}
	call, stop := c.wrap(interval, r.run)
	defer stop()
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(call)
		time.Sleep(2 * interval)
	}
	calls.Wait()
	time.Sleep(8 * interval) // the last run ends
	return !r.overlapped(), nil
}

func keepsInterval(c contestant, interval time.Duration) (bool, error) {
	r := new(recorder)
	call, stop := c.wrap(interval, r.run)
	defer stop()
	time.Sleep(interval * 9 / 10) // a window that began with the instance ends soon
	for start := time.Now(); time.Since(start) < 5*interval; time.Sleep(interval / 10) {
		call()
	}
	time.Sleep(2 * interval)
	return r.least() >= interval*3/4, nil
}

func returnsAtOnce(c contestant, interval time.Duration) (bool, error) {
	r := &recorder{takes: 3 * interval}
	call, stop := c.wrap(interval, r.run)
	defer stop()
	var longest time.Duration
	for range 3 {
		start := time.Now()
		call()
		longest = max(longest, time.Since(start))
		time.Sleep(interval / 4)
	}
	time.Sleep(8 * interval)
	return longest < interval, nil
}

func stops(c contestant, interval time.Duration) (bool, error) {
	r := new(recorder)
	call, stop := c.wrap(interval, r.run)
	var calls sync.WaitGroup
	calls.Go(call)
	time.Sleep(interval / 4)
	calls.Go(call)
	time.Sleep(interval / 4)
	stop()
	stopped := time.Now()
	time.Sleep(2 * interval)
	calls.Go(call)
	time.Sleep(2 * interval)
	calls.Wait()
	return !r.ranAfter(stopped), nil
}

func ownsNoGoroutine(c contestant, interval time.Duration) (bool, error) {
	const instances = 50
	before := runtime.NumGoroutine()
	var stop []func()
	for range instances {
		call, end := c.wrap(interval/4, nothing)
		call()
		stop = append(stop, end)
	}
	time.Sleep(interval)
	owned := runtime.NumGoroutine() - before
	for _, end := range stop {
		end()
	}
	// A goroutine still running would count for the next contestant.
	for tries := 0; runtime.NumGoroutine() > before && tries < 100; tries++ {
		time.Sleep(interval / 10)
	}
	return owned < instances/2, nil
}

// survivesPanic tries in another process, which the panic may end.
func survivesPanic(c contestant, _ time.Duration) (bool, error) {
	program, err := os.Executable()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = exec.CommandContext(ctx, program, "-"+survive, c.name).Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// survive is the flag with which survivesPanic starts this program.
const survive = "survive"

// errDidNotRun is what runAgain returns if the callback did not run again.
var errDidNotRun = errors.New("the callback did not run again")

// surviveOne is the child process of survivesPanic, for the named contestant.
func surviveOne(name string) error {
	all := slices.Concat(contestants(), keyedContestants(), valueContestants())
	i := slices.IndexFunc(all, func(c contestant) bool { return c.name == name })
	if i < 0 {
		return fmt.Errorf("unknown contestant %q", name)
	}
	return runAgain(all[i], 50*time.Millisecond)
}

// runAgain makes a callback panic, calls again in later windows, and returns nil if the
// callback ran again.
func runAgain(c contestant, interval time.Duration) error {
	var runs atomic.Int64
	call, stop := c.wrap(interval, func() {
		if runs.Add(1) == 1 {
			panic("on purpose")
		}
	})
	defer stop()
	for range 3 { // a peer may lose one of the calls
		func() {
			defer func() { _ = recover() }() // some peers run the callback in the caller
			call()
		}()
		time.Sleep(3 * interval)
	}
	if runs.Load() < 2 {
		return errDidNotRun
	}
	return nil
}
