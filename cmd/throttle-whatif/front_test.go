package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// point returns a result with these measures.
func point(runs int, p99, stale time.Duration) result {
	return result{runs: runs, p99: p99, stale: stale}
}

func TestMarkFront(t *testing.T) {
	for name, test := range map[string]struct {
		results []result
		want    []bool
	}{
		"one":                     {[]result{point(1, 1, 1)}, []bool{true}},
		"more runs":               {[]result{point(2, 1, 1), point(1, 1, 1)}, []bool{false, true}},
		"longer waits":            {[]result{point(1, 1, 1), point(1, 2, 1)}, []bool{true, false}},
		"more stale":              {[]result{point(1, 1, 1), point(1, 1, 2)}, []bool{true, false}},
		"equal":                   {[]result{point(1, 1, 1), point(1, 1, 1)}, []bool{true, true}},
		"each better in one":      {[]result{point(3, 2, 1), point(2, 1, 3), point(1, 3, 2)}, []bool{true, true, true}},
		"worse than one of many":  {[]result{point(3, 1, 1), point(2, 5, 5), point(1, 5, 5), point(2, 3, 3)}, []bool{true, false, true, true}},
		"better in two, not in 3": {[]result{point(1, 1, 9), point(2, 2, 1)}, []bool{true, true}},
	} {
		markFront(test.results)
		var got []bool
		for _, r := range test.results {
			got = append(got, r.front)
		}
		assert.Equal(t, test.want, got, name)
	}
}

// Dropping calls saves runs, but does not shorten waits.
func TestMarkFront_Dropped(t *testing.T) {
	s := watch(3*time.Second, 10*ms, 0, 100*ms, 200*ms, 300*ms, 400*ms)
	both, leading := throttle.Every(time.Second), throttle.Policy{Interval: time.Second, Edges: throttle.Leading}
	results := s.tryAll([]throttle.Policy{leading, both})
	require.Equal(t, both, results[0].policy)
	assert.Equal(t, []int{2, 1}, []int{results[0].runs, results[1].runs})
	assert.Less(t, results[0].p99, results[1].p99)
	assert.Less(t, results[0].stale, results[1].stale)
	// A policy that makes as few runs without dropping a call is better.
	s = watch(3*time.Second, 10*ms, 0, 1100*ms, 1200*ms)
	results = s.tryAll([]throttle.Policy{leading, throttle.Every(1500 * ms)})
	assert.Equal(t, []int{2, 2}, []int{results[0].runs, results[1].runs})
	assert.Equal(t, []bool{false, true}, []bool{results[0].front, results[1].front})
}

func TestBest(t *testing.T) {
	results := []result{
		point(1001, 0, 0),   // 1 + 0
		point(501, 1, 100),  // 0.5 + 0.1
		point(501, 1, 100),  // the same
		point(101, 2, 200),  // 0.1 + 0.2
		point(51, 3, 500),   // 0.05 + 0.5
		point(1, 4, 1000),   // 0 + 1
		point(2000, 5, 500), // worse than others
	}
	markFront(results)
	require.False(t, results[6].front)
	assert.Equal(t, []result{results[1], results[3], results[4]}, best(results, 3))
	assert.Equal(t, []result{results[3]}, best(results, 1))
	assert.Len(t, best(results, 10), 5)
	assert.Len(t, best(results[:1], 3), 1)
	equal := []result{point(1, 1, 1), point(1, 1, 1)}
	markFront(equal)
	assert.Len(t, best(equal, 3), 1)
}
