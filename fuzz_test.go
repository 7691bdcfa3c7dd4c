package throttle_test

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/throttle-go/throttle/internal/testkit/reference"
)

// Each fuzz target turns bytes into a scenario: a policy, what the callback does in each
// run, and a sequence of operations. Package reference plays it. The tests after them
// play random scenarios, the same ones each time, and check that these reach whatever
// they are meant to test.

func FuzzThrottler(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { playThrottler(t, data) })
}

func FuzzGroup(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { playGroup(t, 4, data) })
}

func FuzzCoalescer(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { playCoalescer(t, data) })
}

func FuzzBatches(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { playBatches(t, data) })
}

func addSeeds(f *testing.F) {
	f.Helper()
	random := rand.NewChaCha8([32]byte([]byte("throttle: the seeds of " + f.Name() + "          ")[:32]))
	for range 32 {
		f.Add(randomScenario(random))
	}
}

func randomScenario(random *rand.ChaCha8) []byte {
	data := make([]byte, 64+random.Uint64()%256)
	_, _ = random.Read(data) // never fails
	return data
}

// playThrottler plays a scenario on a Throttler and on the reference model, and returns
// how often each rule of the model decided.
func playThrottler(t *testing.T, data []byte) map[reference.Rule]int {
	t.Helper()
	report := reference.Play(t, reference.NewDecoder(data).Scenario())
	if report.Failure != "" {
		t.Fatalf("bytes: %q\n%s", data, report.Failure)
	}
	return report.Fired
}

// playGroup plays a script on some keys of a Group and on a Throttler for each, and
// returns how often it reached each of reference.Features.
func playGroup(t *testing.T, keys int, data []byte) map[string]int {
	t.Helper()
	report := reference.PlayGroup(t, keys, data)
	if report.Failure != "" {
		t.Fatalf("bytes: %q\n%s", data, report.Failure)
	}
	return report.Reached
}

// playCoalescer plays a scenario on a Coalescer and on a Throttler, and returns how many
// values had each fate.
func playCoalescer(t *testing.T, data []byte) map[reference.Fate]int {
	t.Helper()
	report := reference.PlayCoalescer(t, reference.NewDecoder(data).Scenario())
	if report.Failure != "" {
		t.Fatalf("bytes: %q\n%s", data, report.Failure)
	}
	return report.Fates
}

// playBatches plays a script on a Coalescer and on a model of its batches, and returns how
// often it reached each of reference.BatchFeatures.
func playBatches(t *testing.T, data []byte) map[string]int {
	t.Helper()
	report := reference.PlayBatches(t, data)
	if report.Failure != "" {
		t.Fatalf("bytes: %q\n%s", data, report.Failure)
	}
	return report.Reached
}

func TestThrottler_reference(t *testing.T) {
	counts := playRandomly(t, 500, 4000, playThrottler)
	requireCounts(t, counts, reference.Rules(), 1)
}

// TestGroup_reference plays one key, so that the Group forgets it as often as possible.
func TestGroup_reference(t *testing.T) {
	counts := playRandomly(t, 160, 1200, func(t *testing.T, data []byte) map[string]int { return playGroup(t, 1, data) })
	requireCounts(t, counts, reference.Features(), 12)
}

func TestCoalescer_reference(t *testing.T) {
	counts := playRandomly(t, 240, 2000, playCoalescer)
	requireCounts(t, counts, reference.Fates(), 10)
}

func TestCoalescer_batches_reference(t *testing.T) {
	counts := playRandomly(t, 800, 8000, playBatches)
	requireCounts(t, counts, reference.BatchFeatures(), 5)
}

// playRandomly plays so many scenarios under -short, and otherwise so many, and adds up
// what play counts.
func playRandomly[K comparable](t *testing.T, short, long int, play func(*testing.T, []byte) map[K]int) map[K]int {
	t.Helper()
	const blocks = 4
	scenarios := long
	if testing.Short() {
		scenarios = short
	}
	var mu sync.Mutex // guards counts
	counts := make(map[K]int)
	t.Run("scenarios", func(t *testing.T) {
		for block := range blocks {
			t.Run(strconv.Itoa(block), func(t *testing.T) {
				t.Parallel()
				random := rand.NewChaCha8([32]byte{byte(block)})
				for range scenarios / blocks {
					add := play(t, randomScenario(random))
					mu.Lock()
					for what, count := range add {
						counts[what] += count
					}
					mu.Unlock()
				}
			})
		}
	})
	return counts
}

// requireCounts checks that each of all was counted often enough.
func requireCounts[K comparable](t *testing.T, counts map[K]int, all []K, least int) {
	t.Helper()
	for _, what := range all {
		t.Logf("%6d  %v", counts[what], what)
		if counts[what] < least {
			t.Errorf("%v: reached %d times, want %d", what, counts[what], least)
		}
	}
}
