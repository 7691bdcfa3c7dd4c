//go:build linux

package fleettest

import (
	"runtime"
	"strings"
	"time"
)

// This file finds goroutines that are left.

// patience is how long to wait for what has to come, however busy the machine is.
const patience = 30 * time.Second

// goroutines returns the stacks of all that there are, by what names them.
func goroutines() map[string]string {
	buffer := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buffer, true)
		if n < len(buffer) {
			buffer = buffer[:n]
			break
		}
		buffer = make([]byte, 2*len(buffer))
	}
	stacks := map[string]string{}
	for stack := range strings.SplitSeq(string(buffer), "\n\n") {
		name, _, _ := strings.Cut(stack, " [") // "goroutine 7"
		stacks[name] = stack
	}
	return stacks
}

// goroutinesSince returns the stacks of goroutines that were not there before, once they
// have had the time to end.
func goroutinesSince(before map[string]string) (left []string) {
	for end := time.Now().Add(patience / 3); time.Now().Before(end); time.Sleep(time.Millisecond) {
		left = nil
		for name, stack := range goroutines() {
			if _, ok := before[name]; !ok {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return nil
		}
	}
	return left
}
