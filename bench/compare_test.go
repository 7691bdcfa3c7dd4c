package bench_test

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// This file compares two ways to do the same on a noisy machine: in turns, in
// one run, told as the median of the ratios.

// A task does something n times.
type task func(n int)

// compare runs ours and bare in turns, n times each, for as long as b wants, and
// reports the median of ours/bare, with the medians of both.
func compare(b *testing.B, n int, ours, bare task) {
	b.Helper()
	var ratios, oursTook, bareTook []float64
	for b.Loop() {
		o, p := nanoseconds(n, ours), nanoseconds(n, bare)
		ratios = append(ratios, o/p)
		oursTook, bareTook = append(oursTook, o), append(bareTook, p)
	}
	b.ReportMetric(0, "ns/op") // of both together, and so of no interest
	b.ReportMetric(quantile(ratios, 0.5), "ratio")
	b.ReportMetric(quantile(ratios, 0.25), "ratio-p25")
	b.ReportMetric(quantile(ratios, 0.75), "ratio-p75")
	b.ReportMetric(quantile(oursTook, 0.5), "ns-ours")
	b.ReportMetric(quantile(bareTook, 0.5), "ns-bare")
	b.ReportMetric(testing.AllocsPerRun(1, func() { ours(n) })/float64(n), "allocs-ours")
}

// nanoseconds returns how long do takes for each of n times.
func nanoseconds(n int, do task) float64 {
	start := time.Now()
	do(n)
	return float64(time.Since(start)) / float64(n)
}

// onAllCores makes a task that does n on every core at the same time.
func onAllCores(do task) task {
	return func(n int) {
		var all sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			all.Go(func() { do(n) })
		}
		all.Wait()
	}
}

// quantile returns the q-quantile of values, which it sorts.
func quantile(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}
