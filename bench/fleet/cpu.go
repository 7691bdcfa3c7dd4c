//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// This file takes the CPU time of a server.

// tick is what the kernel counts CPU time in where it tells of it, on every platform.
const tick = time.Second / 100

// cpuTime returns how long all processes of the server have used a processor, user and
// system time together, those included that have ended.
func (s *store) cpuTime() (time.Duration, error) {
	var ticks int64
	for i, pid := range s.server.Processes() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil && i == 0 {
			return 0, err // of others, the first one has the time by now
		}
		// What stands before the last parenthesis may contain spaces. Of its own and of those
		// that have ended, user and system time.
		fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
		for _, field := range fields[min(11, len(fields)):min(15, len(fields))] {
			n, err := strconv.ParseInt(string(field), 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * tick, nil
}

// loadAverage returns how many processes wanted to run in the last minute, as the system
// tells.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}
