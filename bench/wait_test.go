package bench_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/throttle-go/throttle"
)

// This file measures what waiting costs: how late a deferred run starts, and
// what an idle throttler weighs.

// BenchmarkLateness compares how late a deferred run starts with how late the
// function of a time.AfterFunc does. No run may be early.
func BenchmarkLateness(b *testing.B) {
	const wait = time.Millisecond
	entered := make(chan time.Time, 1)
	f := func() { entered <- time.Now() }
	t := throttle.Must(throttle.New(throttle.Debounce(wait, 0), f))
	defer t.Close()
	var ours, bare []float64
	for b.Loop() {
		called := time.Now()
		t.Call()
		late := (<-entered).Sub(called) - wait
		if late < 0 {
			b.Fatalf("a run started %v early", -late)
		}
		ours = append(ours, float64(late))
		called = time.Now()
		time.AfterFunc(wait, f)
		bare = append(bare, float64((<-entered).Sub(called)-wait))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(quantile(ours, 0.5)/quantile(bare, 0.5), "ratio")
	for _, at := range []struct {
		unit string
		q    float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}} {
		b.ReportMetric(quantile(ours, at.q)/1e3, "µs-ours-"+at.unit)
		b.ReportMetric(quantile(bare, at.q)/1e3, "µs-bare-"+at.unit)
	}
}

// BenchmarkIdle reports what a throttler weighs that has run and has nothing
// pending, in memory and goroutines.
func BenchmarkIdle(b *testing.B) {
	const count = 100_000
	f := func() {}
	var perThrottler, goroutines float64
	for b.Loop() {
		throttlers := make([]*throttle.Throttler, count)
		before, running := heap(), runtime.NumGoroutine()
		for i := range throttlers {
			throttlers[i] = throttle.Must(throttle.New(throttle.Every(time.Nanosecond), f))
			if err := throttlers[i].Do(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		perThrottler = float64(heap()-before) / count
		goroutines = float64(runtime.NumGoroutine() - running)
		runtime.KeepAlive(throttlers)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(perThrottler, "B/throttler")
	b.ReportMetric(goroutines, "goroutines")
}

// heap returns how many bytes are in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
