package verify_test

import "flag"

// effort is by how much more than the short form everything is checked. It is a
// factor of how many scenarios are played, histories are recorded and states are
// visited, and of how long the litmus test runs.
var effort = flag.Int("effort", 1, "check this many times as much as the short form does")
