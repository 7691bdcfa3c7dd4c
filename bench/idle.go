package main

import (
	"runtime"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/bench/internal/measure"
)

func idleInstances() subject {
	own := func(callback func()) instance {
		return ownInstance{throttle.Must(throttle.New(throttle.Every(time.Nanosecond), callback))}
	}
	return subject{
		name:  "idle",
		title: "An instance that has run once and has nothing to do, among 10 000",
		notes: []string{
			"memory: heap and stacks. The runtime's descriptors of goroutines, some 400 bytes each, are not counted.",
			"CPU: the CPU time of the process, user and system, in an idle second, with all instances at once." +
				" The process itself uses up to 1 ms.",
		},
		experiments: []experiment{
			{"each", loopName, func(e effort) ([]result, error) {
				return compareIdle(e, own, func(callback func()) instance { return newLoop(time.Nanosecond, callback) }), nil
			}},
			{"each", triggerName, func(e effort) ([]result, error) {
				return compareIdle(e, own, func(callback func()) instance { return newTrigger(time.Nanosecond, callback) }), nil
			}},
		},
	}
}

// cpuNoise is the CPU time per second that the process itself uses, in nanoseconds.
const cpuNoise = 1e6

// An instance is ours or a peer's.
type instance interface {
	call()
	stop()
}

// An ownInstance is an instance that takes no memory besides its Throttler.
type ownInstance struct{ *throttle.Throttler }

func (o ownInstance) call() { o.Call() }
func (o ownInstance) stop() { _ = o.Close() }

// A footprint is the cost of idle instances.
type footprint struct {
	memory     float64 // bytes of each
	goroutines float64 // of each
	cpu        float64 // nanoseconds per second of all together
}

// compareIdle compares the instances that own and peer make.
func compareIdle(e effort, own, peer func(callback func()) instance) []result {
	var ours, theirs []footprint
	e.alternate(
		func() { ours = append(ours, e.footprint(own)) },
		func() { theirs = append(theirs, e.footprint(peer)) },
	)
	of := func(metric string, u measure.Unit, noise float64, value func(footprint) float64) result {
		return newResult(metric, u, noise, each(ours, value), each(theirs, value))
	}
	results := []result{
		of("memory", measure.Byte, 0, func(f footprint) float64 { return f.memory }),
		of("goroutines", measure.Count, 0, func(f footprint) float64 { return f.goroutines }),
	}
	if _, ok := cpuTime(); ok {
		results = append(results, of("CPU of all", measure.Nanosecond, cpuNoise, func(f footprint) float64 { return f.cpu }))
	}
	return results
}

// each returns the value of each of all.
func each[T any](all []T, value func(T) float64) []float64 {
	values := make([]float64, len(all))
	for i, one := range all {
		values[i] = value(one)
	}
	return values
}

// footprint starts instances, lets each run once, and measures them at rest.
func (e effort) footprint(start func(callback func()) instance) footprint {
	const pause = 10 * time.Millisecond // for goroutines that are about to end
	makeDescriptors(e.instances)
	ran := make(chan struct{})
	callback := func() { ran <- struct{}{} }
	instances := make([]instance, e.instances)
	before, running := memory(), runtime.NumGoroutine()
	for i := range instances {
		instances[i] = start(callback)
		instances[i].call()
		<-ran
	}
	time.Sleep(pause)
	f := footprint{
		memory:     max(0, memory()-before) / float64(e.instances),
		goroutines: float64(max(0, runtime.NumGoroutine()-running)) / float64(e.instances),
	}
	used, _ := cpuTime()
	time.Sleep(e.idle)
	usedLater, _ := cpuTime()
	f.cpu = float64(usedLater-used) / e.idle.Seconds()
	for _, i := range instances {
		i.stop()
	}
	time.Sleep(pause)
	return f
}

// memory returns the bytes in use after a collection, including stacks.
func memory() float64 {
	runtime.GC()
	runtime.GC() // the first may have begun before the garbage was
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc + stats.StackInuse)
}

// makeDescriptors runs n goroutines at the same time and returns when all have
// ended.
//
// The runtime keeps the descriptor of an ended goroutine for the next one. This
// memory grows with the largest number of goroutines at a time. Making the
// descriptors beforehand keeps them out of the measurement.
func makeDescriptors(n int) {
	var all sync.WaitGroup
	end := make(chan struct{})
	for range n {
		all.Go(func() { <-end })
	}
	close(end)
	all.Wait()
}
