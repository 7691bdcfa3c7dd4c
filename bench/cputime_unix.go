//go:build unix

package main

import (
	"syscall"
	"time"
)

// cpuTime returns how long the process has used a processor, user and system
// time together, and whether the system tells.
func cpuTime() (time.Duration, bool) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, false
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), true
}
