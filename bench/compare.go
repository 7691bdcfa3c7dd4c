package main

import (
	"runtime"
	"sync"
	"time"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// A task does something n times, and returns how long that took.
type task func(n int) time.Duration

// timed returns a task that times all of do.
func timed(do func(n int)) task {
	return func(n int) time.Duration {
		start := time.Now()
		do(n)
		return time.Since(start)
	}
}

// after returns a task that calls first, untimed, and then do.
func after(first func(), do task) task {
	return func(n int) time.Duration {
		first()
		return do(n)
	}
}

// onCores returns a function that calls do in several goroutines at once.
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
	cores      int // number of goroutines in which each of them does its n
	batch      int // the n of both; 0: as many as fill a turn
}

// compare runs ours and the peer in turns.
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

// newResult returns the result of the turns of both sides, equally many. It leaves
// turns out of the ratio in which the peer's figure is not above noise.
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

// nanoseconds returns the time that do takes for one of n repetitions.
func nanoseconds(do task, n int) float64 { return float64(do(n)) / float64(n) }

// allocations returns the allocations of the whole process for one of n repetitions
// of do, rounded to a thousandth, which hides what the runtime itself allocates now
// and then.
func (p pair) allocations(do task, n int) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do(n)
	runtime.ReadMemStats(&after)
	each := float64(after.Mallocs-before.Mallocs) / float64(n*p.cores)
	return float64(int(each*1000+0.5)) / 1000
}
