// Package effort says how thoroughly to check.
package effort

import "flag"

//nolint:gochecknoglobals // a flag of every test program that imports this
var factor = flag.Int("effort", 1, "check this many times as much as the short form does")

// Factor returns by how much more than in the short form to check: scenarios,
// histories, and how long a litmus test runs. A search that is exhaustive up to its
// bound has larger bounds from some effort on.
func Factor() int { return *factor }
