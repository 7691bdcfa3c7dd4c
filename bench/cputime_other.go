//go:build !unix

package main

import "time"

// cpuTime returns the CPU time of the process, user and system, and whether the system
// reports it: not here.
func cpuTime() (time.Duration, bool) { return 0, false }
