// Package backoff computes the delays between repeated attempts, for the root package and
// for package fleet.
package backoff

import "time"

// Delay returns how long to wait after a number of consecutive failures, at least 1. The
// delay is initial after the first failure and doubles with each further one, up to limit.
// If limit is not more than initial, the delay is always initial.
//
// Jitter shortens the delay by random times jitter. Both are shares, and random is drawn
// from [0, 1).
func Delay(initial, limit time.Duration, jitter float64, failures int, random float64) time.Duration {
	d, limit := initial, max(initial, limit)
	for ; failures > 1 && d < limit; failures-- { // (mutants: <= would only take longer)
		d += min(d, limit-d)
	}
	return d - time.Duration(random*jitter*float64(d))
}
