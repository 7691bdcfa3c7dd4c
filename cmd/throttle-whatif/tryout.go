package main

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/throttle-go/throttle"
)

// tryAll returns what each of the policies makes of s, the one with the most runs first, and
// marks the front.
func (s scenario) tryAll(policies []throttle.Policy) []result {
	results := make([]result, len(policies))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(policies)) {
		workers.Go(func() {
			room := make([]time.Duration, 0, len(s.calls)) // for one policy after the other
			for i := next.Add(1) - 1; int(i) < len(policies); i = next.Add(1) - 1 {
				results[i], room = s.measure(policies[i], room)
			}
		})
	}
	workers.Wait()
	slices.SortStableFunc(results, func(a, b result) int { return cmp.Compare(b.runs, a.runs) })
	markFront(results)
	return results
}
