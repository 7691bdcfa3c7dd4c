package throttledebug

import (
	"cmp"
	"slices"
)

// shownLanes is the greatest number of keys of a throttle that have a strip of their own.
const shownLanes = 5

// A lane is a key that has a strip of its own.
type lane struct {
	key    string
	status Status
	runs   []Run
}

// busiest returns the keys with the most of these runs, in natural order.
func busiest(runs []Run) []string {
	counts := make(map[string]int)
	var keys []string
	for _, run := range runs {
		if counts[run.Key] == 0 {
			keys = append(keys, run.Key)
		}
		counts[run.Key]++
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), compareNatural(a, b))
	})
	keys = keys[:min(len(keys), shownLanes)]
	slices.SortFunc(keys, compareNatural)
	return keys
}

// lanesOf returns the lanes of the given keys. A key without a status is no longer held.
func lanesOf(keys []string, statuses map[string]Status, runs []Run) []lane {
	lanes := make([]lane, 0, len(keys))
	for _, key := range keys {
		status, held := statuses[key]
		if !held {
			status.State = Idle
		}
		own := slices.DeleteFunc(slices.Clone(runs), func(r Run) bool {
			// A Recorder may be ahead of Stats.
			return r.Key != key || status.State == Running && r.Started.Equal(status.LastStart)
		})
		lanes = append(lanes, lane{key, status, own})
	}
	return lanes
}
