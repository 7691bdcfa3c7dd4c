//go:build linux

package fleettest

import (
	"runtime"
	"strings"
	"time"
)

// This file waits, and finds goroutines that are left.

// eventually waits until done returns true, and reports whether it does.
func eventually(done func() bool) bool {
	for end := time.Now().Add(patience()); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}

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
	eventually(func() bool {
		left = nil
		for name, stack := range goroutines() {
			if _, ok := before[name]; !ok {
				left = append(left, stack)
			}
		}
		return len(left) == 0
	})
	return left
}
