package main

import (
	"runtime"
	"sync"
	"time"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// This file compares two ways to do the same on a noisy machine: in turns, in
// one run.

// A task does something n times, and returns how long that took.
type task func(n int) time.Duration

// timed makes a task of do, all of which counts.
func timed(do func(n int)) task {
	return func(n int) time.Duration {
		start := time.Now()
		do(n)
		return time.Since(start)
	}
}

// after makes a task that does first, once and untimed, and then do.
func after(first func(), do task) task {
	return func(n int) time.Duration {
		first()
		return do(n)
	}
}

// onCores returns what does it n times in each of several goroutines at once.
func onCores(cores int, do func(n int)) func(n int) {
	if cores == 1 {
		return do
	}
	return func(n int) {
		var all sync.WaitGroup
		for range cores {
			all.Go(func() { do(n) })
		}
		all.Wait()
	}
}

// A pair is two tasks to compare.
type pair struct {
	ours, peer task
	cores      int // in how many goroutines each of them does its n at once
	batch      int // the n of both; 0: as many as fill a turn
}

// compare has ours and the peer do their work in turns.
func (p pair) compare(e effort) []result {
	n, m := p.batch, p.batch
	if p.batch == 0 {
		n, m = measure.Fill(p.ours, e.turn), measure.Fill(p.peer, e.turn)
	}
	var ours, theirs []float64
	e.alternate(
		func() { ours = append(ours, nanoseconds(p.ours, n)) },
		func() { theirs = append(theirs, nanoseconds(p.peer, m)) },
	)
	r := newResult("", measure.Nanosecond, 0, ours, theirs)
	r.Allocs = []float64{p.allocations(p.ours, n), p.allocations(p.peer, m)}
	return []result{r}
}

// alternate calls ours and peer in turns, as often as e wants.
func (e effort) alternate(ours, peer func()) { measure.Alternate(e.budget, e.turns, ours, peer) }

// newResult returns the result of turns, of which both sides had as many. A peer's
// figure that is not above noise is nothing to divide by.
func newResult(metric string, u measure.Unit, noise float64, ours, theirs []float64) result {
	return result{
		Metric: metric,
		Unit:   u,
		Ratio:  measure.Ratios(ours, theirs, noise),
		Ours:   measure.Median(ours),
		Theirs: measure.Median(theirs),
		Turns:  len(ours),
	}
}

// nanoseconds returns how long do takes for each of n times.
func nanoseconds(do task, n int) float64 { return float64(do(n)) / float64(n) }

// allocations returns how many there are in the whole process for each of the n
// times that do does it, to a thousandth: what the runtime itself allocates now
// and then does not show.
func (p pair) allocations(do task, n int) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do(n)
	runtime.ReadMemStats(&after)
	each := float64(after.Mallocs-before.Mallocs) / float64(n*p.cores)
	return float64(int(each*1000+0.5)) / 1000
}
