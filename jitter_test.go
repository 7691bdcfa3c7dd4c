package throttle_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// This file tests Policy.Jitter. That a thousand draws miss a tenth of their range has odds
// of less than 1 in 10^40.

// jittered is a policy of periodic runs that come 500 to 1000 ms after the last.
var jittered = throttle.Policy{MaxInterval: time.Second, Jitter: 0.5}

// requireSpread checks that the waits are from least up to most, and are spread over all
// tenths of that range.
func requireSpread(t *testing.T, waits []time.Duration, least, most time.Duration) {
	t.Helper()
	var tenths [10]int
	for _, wait := range waits {
		require.Greater(t, wait, least-1)
		require.LessOrEqual(t, wait, most)
		tenths[min(9, 10*(wait-least)/(most-least))]++
	}
	require.NotContains(t, tenths, 0)
	require.Less(t, slices.Max(tenths[:]), len(waits)/4)
}

// TestThrottler_Jitter builds a thousand throttlers at once. Their runs must not come
// together, from the first on.
func TestThrottler_Jitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count, rounds = 1000, 3
		var mu sync.Mutex
		waits := make([][]time.Duration, rounds) // by round: how long the run came after the last, or New
		for range count {
			last, round := time.Now(), 0 // a throttler's runs are in order
			throttler := throttle.Must(throttle.New(jittered, func() {
				if round < rounds {
					mu.Lock()
					defer mu.Unlock()
					waits[round] = append(waits[round], time.Since(last))
				}
				last, round = time.Now(), round+1
			}))
			defer func() { _ = throttler.Close() }()
		}
		time.Sleep(rounds * time.Second)
		synctest.Wait()
		for _, waits := range waits {
			require.Len(t, waits, count)
			requireSpread(t, waits, 500*ms, 1000*ms)
		}
	})
}

// TestThrottler_Jitter_interval checks that Jitter shortens no period below the Interval,
// not even if the bucket would permit that.
func TestThrottler_Jitter_interval(t *testing.T) {
	for _, burst := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder()
			r.throttler(t, throttle.Policy{Interval: 900 * ms, Burst: burst, MaxInterval: time.Second, Jitter: 1})
			r.until(1_000_000)
			last, longer := r.begin, 0
			runs := r.runs()
			require.Greater(t, len(runs), 1000)
			for _, run := range runs {
				wait := run.Started.Sub(last)
				require.GreaterOrEqual(t, wait, 900*ms)
				require.LessOrEqual(t, wait, time.Second)
				if wait > 900*ms {
					longer++
				}
				last = run.Started
			}
			require.NotZero(t, longer)
		})
	}
}

// TestThrottler_Jitter_SetPolicy checks that SetPolicy keeps what was drawn, and uses it
// even if no Jitter was set then.
func TestThrottler_Jitter_SetPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		for range 1000 {
			begin := time.Now()
			throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}))
			next := func(p throttle.Policy) time.Duration {
				require.NoError(t, throttler.SetPolicy(p))
				return throttler.Stats().Next.Sub(begin)
			}
			wait := next(jittered)
			waits = append(waits, wait)
			require.Equal(t, wait, next(jittered))
			require.Equal(t, time.Second, next(throttle.Policy{MaxInterval: time.Second}))
			require.InDelta(t, 2*wait-time.Second, next(throttle.Policy{MaxInterval: time.Second, Jitter: 1}), 1)
			require.InDelta(t, 2*wait, next(throttle.Policy{MaxInterval: 2 * time.Second, Jitter: 0.5}), 1)
			require.Equal(t, wait, next(jittered))
			require.NoError(t, throttler.Close())
		}
		requireSpread(t, waits, 500*ms, 1000*ms)
	})
}

// TestThrottler_Jitter_duringRun checks that Next is a lower bound as soon as a run has
// started, whether or not its callback has been entered and Jitter has been drawn.
func TestThrottler_Jitter_duringRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			r := newRecorder(takes(time.Millisecond, nil))
			throttler := r.throttler(t, jittered)
			throttler.Call()
			promised := throttler.Stats().Next
			require.False(t, promised.Before(r.begin.Add(500*ms)))
			r.until(1001)
			next := r.runs()[1]
			require.False(t, next.Started.Before(promised), "a run is due %v before Next", promised.Sub(next.Started))
			require.NoError(t, throttler.Close())
		}
	})
}

// TestGroup_Jitter creates a thousand keys at once. Each draws for itself: as it is created,
// and as its runs start.
func TestGroup_Jitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, rounds = 1000, 3
		p := jittered
		p.Quiet = time.Hour // periodic runs do not wait for it
		var mu sync.Mutex
		waits := make([][]time.Duration, rounds)
		last, round := make([]time.Time, keys), make([]int, keys)
		g := throttle.Must(throttle.NewGroup(p, func(_ context.Context, key int) error {
			mu.Lock()
			defer mu.Unlock()
			if round[key] < rounds {
				waits[round[key]] = append(waits[round[key]], time.Since(last[key]))
			}
			last[key], round[key] = time.Now(), round[key]+1
			return nil
		}))
		defer func() { _ = g.Close() }()
		time.Sleep(time.Second) // the first period counts from a key's creation
		for key := range keys {
			last[key] = time.Now()
			require.NoError(t, g.Call(key))
		}
		time.Sleep(rounds * time.Second)
		synctest.Wait()
		for _, waits := range waits {
			require.Len(t, waits, keys)
			requireSpread(t, waits, 500*ms, 1000*ms)
		}
	})
}
