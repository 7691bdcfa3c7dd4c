package throttle_test

// This file holds the target that plays scripts on several keys of a Group, each
// beside a Throttler that does the same.

import (
	"math/rand/v2"
	"testing"
)

// FuzzGroup turns bytes into a policy and a script, and plays them.
func FuzzGroup(f *testing.F) {
	random := rand.NewChaCha8([32]byte([]byte("throttle: the seeds of FuzzGroup")))
	for range 64 {
		f.Add(randomScenario(random))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		playDuet(t, 4, data)
	})
}
