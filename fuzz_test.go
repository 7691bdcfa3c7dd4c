package throttle_test

// This file holds the targets that play scenarios on a throttler and on the
// reference model: what a fuzzer finds, and a fixed number of random ones. A
// scenario is a policy, what the callback will do in each run, and a sequence of
// operations, all decoded from bytes.

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// FuzzThrottler turns bytes into a scenario and plays it.
func FuzzThrottler(f *testing.F) {
	random := rand.NewChaCha8([32]byte([]byte("throttle: seeds of FuzzThrottler")))
	for range 64 {
		f.Add(randomScenario(random))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		playScenario(t, data)
	})
}

// playScenario plays what the bytes mean and returns how often each rule decided.
func playScenario(t *testing.T, data []byte) (fired map[reference.Rule]int) {
	t.Helper()
	report := reference.Play(t, reference.NewDecoder(data).Scenario())
	if report.Failure != "" {
		t.Fatalf("bytes: %q\n%s", data, report.Failure)
	}
	return report.Fired
}

// TestModelAgrees plays random scenarios, the same ones each time. They must
// reach every rule, or the generator has gone blind.
func TestModelAgrees(t *testing.T) {
	const blocks, scenarios = 4, 500
	var (
		mu    sync.Mutex // guards fired
		fired = make(map[reference.Rule]int)
	)
	t.Run("scenarios", func(t *testing.T) {
		for block := range blocks {
			t.Run(strconv.Itoa(block), func(t *testing.T) {
				t.Parallel()
				seed := [32]byte{byte(block)}
				random := rand.NewChaCha8(seed)
				for range scenarios {
					counts := playScenario(t, randomScenario(random))
					mu.Lock()
					for rule, count := range counts {
						fired[rule] += count
					}
					mu.Unlock()
				}
			})
		}
	})
	for _, rule := range reference.Rules() {
		t.Logf("%6d  %s", fired[rule], rule)
		if fired[rule] == 0 {
			t.Errorf("no scenario reached the rule %q", rule)
		}
	}
}

func randomScenario(random *rand.ChaCha8) []byte {
	data := make([]byte, 64+random.Uint64()%256)
	_, _ = random.Read(data) // never fails
	return data
}
