package main

import (
	"cmp"
	"slices"
)

// betters reports whether r is at least as good as other in everything, and better in
// something. A dropped call counts in the waits and in the staleness, so that a policy does
// not win by dropping calls.
func (r result) betters(other result) bool {
	return r.runs <= other.runs && r.p99 <= other.p99 && r.stale <= other.stale && !r.equals(other)
}

// equals reports whether r and other are equally good.
func (r result) equals(other result) bool {
	return r.runs == other.runs && r.p99 == other.p99 && r.stale == other.stale
}

// markFront marks the results that no other result betters: the Pareto front.
func markFront(results []result) {
	for i, r := range results {
		results[i].front = !slices.ContainsFunc(results, func(other result) bool { return other.betters(r) })
	}
}

// best returns at most n results of the front, in the order of results. They have the
// smallest sums of runs and staleness, each scaled to the front's range. Of equally good
// results it takes the first, because their pictures would hardly differ.
func best(results []result, n int) []result {
	var front []result
	for _, r := range results {
		if r.front && !slices.ContainsFunc(front, r.equals) {
			front = append(front, r)
		}
	}
	runs := scaled(front, func(r result) float64 { return float64(r.runs) })
	stale := scaled(front, func(r result) float64 { return float64(r.stale) })
	order := make([]int, len(front))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(runs[a]+stale[a], runs[b]+stale[b]) })
	order = order[:min(n, len(order))]
	slices.Sort(order)
	chosen := make([]result, 0, n)
	for _, i := range order {
		chosen = append(chosen, front[i])
	}
	return chosen
}

// scaled returns the value of each result, scaled so that the smallest is 0 and the largest 1.
// If all are equal, it is 0.
func scaled(results []result, value func(result) float64) []float64 {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = value(r)
	}
	least, most := slices.Min(values), slices.Max(values)
	for i := range values {
		values[i] = (values[i] - least) / max(most-least, 1)
	}
	return values
}
