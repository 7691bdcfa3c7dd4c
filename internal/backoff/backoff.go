// Package backoff holds the arithmetic of repeated attempts, for the root package and for
// package fleet.
package backoff

import "time"

// Delay returns how long to wait after the given number of failures in a row, at least 1:
// initial, and twice as long after each further failure, up to limit if that is more. A
// share of it, up to jitter, is taken away as random says, which is drawn from [0, 1).
func Delay(initial, limit time.Duration, jitter float64, failures int, random float64) time.Duration {
	d, limit := initial, max(initial, limit)
	for ; failures > 1 && d < limit; failures-- {
		d += min(d, limit-d)
	}
	return d - time.Duration(random*jitter*float64(d))
}
