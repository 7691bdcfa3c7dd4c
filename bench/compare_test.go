package main

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// takes returns a task that reports d for each of n repetitions.
func takes(d time.Duration) task {
	return func(n int) time.Duration { return time.Duration(n) * d }
}

func TestPair_Compare(t *testing.T) {
	results := pair{ours: takes(3), peer: takes(12), cores: 1}.compare(tiny())
	require.Len(t, results, 1)
	got := results[0]
	got.Allocs = nil
	assert.Equal(t, result{Unit: measure.Nanosecond, Ratio: &measure.Spread{P25: 0.25, P50: 0.25, P75: 0.25}, Ours: 3, Theirs: 12, Turns: 2}, got)
}

// Both sides do the same batch, after an untimed preparation.
func TestPair_Batch(t *testing.T) {
	var sizes []int
	resets := 0
	count := after(func() { resets++ }, func(n int) time.Duration {
		sizes = append(sizes, n)
		return time.Nanosecond
	})
	pair{ours: count, peer: count, cores: 1, batch: 7}.compare(effort{turns: 2})
	assert.Equal(t, []int{7, 7, 7, 7, 7, 7}, sizes, "two turns of both, and their allocations")
	assert.Equal(t, len(sizes), resets)
}

func TestPair_Allocations(t *testing.T) {
	var sink atomic.Pointer[[8]int]
	allocate := timed(func(n int) {
		for range n {
			sink.Store(new([8]int))
		}
	})
	p := pair{cores: 1}
	assert.InDelta(t, 1, p.allocations(allocate, 10_000), 0.1)
	assert.InDelta(t, 0, p.allocations(takes(1), 10_000), 0.1)
	assert.InDelta(t, 0.5, pair{cores: 2}.allocations(allocate, 10_000), 0.1, "of a call, where each core makes n")
}

func TestOnCores(t *testing.T) {
	for _, cores := range []int{1, 3} {
		var calls atomic.Int64
		onCores(cores, func(n int) { calls.Add(int64(n)) })(5)
		assert.EqualValues(t, 5*cores, calls.Load())
	}
}

// An early run is an error, even if the others are late.
func TestLatenesses(t *testing.T) {
	turns := [][]float64{{3, 1}, {2, 4}}
	results, err := latenesses(turns, [][]float64{{6, 2}, {4, 8}})
	require.NoError(t, err)
	require.Len(t, results, 4)
	assert.Equal(t, result{
		Metric: "max", Unit: measure.Nanosecond, Ratio: &measure.Spread{P25: 0.5, P50: 0.5, P75: 0.5}, Ours: 4, Theirs: 8, Turns: 2,
	}, results[3])
	assert.InDelta(t, 2.5, results[0].Ours, 1e-9, "p50 of all waits")

	turns[1][0] = -1
	_, err = latenesses(turns, turns)
	assert.EqualError(t, err, "a run started 1ns early")
}

// A footprint includes the memory and the goroutines of idle instances.
func TestFootprint(t *testing.T) {
	for _, x := range idleInstances().experiments {
		e := tiny()
		e.instances = 2000 // beside which the rest of the process weighs nothing
		results, err := x.measure(e)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(results), 2)
		memory, goroutines := results[0], results[1]
		assert.Zero(t, goroutines.Ours)
		assert.InDelta(t, 1, goroutines.Theirs, 0.01, x.peer)
		assert.Less(t, memory.Ours, 1000.0)
		assert.Greater(t, memory.Theirs, 1000.0, "a goroutine's stack is part of it")
	}
}
