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

// tick is the unit of CPU times in /proc, the same on every platform.
const tick = time.Second / 100

// cpuTime returns the CPU time of all processes of the server, user and system, including
// those that have ended.
func (s *store) cpuTime() (time.Duration, error) {
	var ticks int64
	for i, pid := range s.server.Processes() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil && i == 0 {
			return 0, err // another process has ended: the first one has its time by now
		}
		// The name, up to the last parenthesis, may contain spaces. The four fields are the
		// user and system time of the process, and of its children that have ended.
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

// loadAverage returns the average number of processes that wanted to run in the last
// minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}
