package enginetest

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// This file finds goroutines that are left.

// goroutines returns the stacks of all that there are, by what names them.
func goroutines() map[string]string {
	buffer := make([]byte, 1<<20)
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

// patience is how long to wait for what has to come, but for a machine that is busy.
const patience = 20 * time.Second

// requireNoGoroutineSince requires that all goroutines end that were not there before.
func requireNoGoroutineSince(t *testing.T, name string, before map[string]string) {
	t.Helper()
	var left []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		left = nil
		for name, stack := range goroutines() {
			if _, ok := before[name]; !ok {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return
		}
	}
	require.Empty(t, left, "goroutines are left of %q", name)
}
