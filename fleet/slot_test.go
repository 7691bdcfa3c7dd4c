package fleet_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// No more runs are active at once than WithMaxConcurrent allows, and a process with enough to do
// leaves its keys to another.
func TestWithMaxConcurrent(t *testing.T) {
	inFleet(t, func(r *rig) {
		const n = 200
		all, runs := r.groups(1, throttle.Every(interval), func(context.Context, string) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}, fleet.WithMaxConcurrent(3))
		for _, key := range keys(n) {
			require.NoError(r, all[0].Call(key))
		}
		r.sleep(10 * time.Second)
		for _, key := range keys(n) {
			require.Len(r, runs.of(key), 1, key)
		}
		assert.Equal(r, map[int]int{0: 3}, runs.most())
		assert.LessOrEqual(r, all[0].link.claims.Load(), int64(2*n+10), "one to register the call, one for the run")
		assert.Empty(r, r.errors())
		assert.Zero(r, all[0].Len())
	})
}

func TestWithMaxConcurrent_fullProcess(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(2, throttle.Every(interval), func(_ context.Context, key string) error {
			if key == "long" {
				time.Sleep(time.Minute)
			}
			return nil
		}, fleet.WithMaxConcurrent(1))
		require.NoError(r, all[0].Call("long"))
		r.sleep(interval)
		for _, key := range keys(300) {
			require.NoError(r, all[0].Call(key))
		}
		r.sleep(30 * time.Second)
		for _, key := range keys(300) {
			starts := runs.of(key)
			require.Len(r, starts, 1)
			assert.Equal(r, 1, starts[0].member)
		}
		assert.Equal(r, map[int]int{0: 1, 1: 1}, runs.most())
		r.sleep(time.Minute)
		assert.Zero(r, all[0].Len(), "calls that others have served are forgotten")
	})
}

// A run without a grant needs a place, too.
func TestWithMaxConcurrent_local(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(1, throttle.Every(30*interval), func(context.Context, string) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}, fleet.WithMaxConcurrent(2), fleet.RunLocal())
		all[0].link.cut()
		for _, rest := range []time.Duration{25 * interval, 2 * interval} {
			for _, key := range keys(50) {
				require.NoError(r, all[0].Call(key))
			}
			r.sleep(rest)
		}
		for _, key := range keys(50) {
			require.Len(r, runs.of(key), 1, "the window of a local run is remembered")
		}
		assert.Equal(r, map[int]int{0: 2}, runs.most())
		r.sleep(30 * interval)
		for _, key := range keys(50) {
			times := runs.times(key)
			require.Len(r, times, 2)
			assert.GreaterOrEqual(r, times[1]-times[0], 30*interval)
		}
		_ = r.errors()
	})
}

// A claim keeps its place only for as long as its grant would be in time.
func TestWithMaxConcurrent_slowStore(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(1, throttle.Every(interval), nil, fleet.WithMaxConcurrent(1))
		var begun atomic.Bool
		all[0].link.on(func(ctx context.Context, op string) error {
			if op == "claim" && !begun.Swap(true) {
				<-ctx.Done()
			}
			return ctx.Err()
		}, nil)
		require.NoError(r, all[0].Call("slow"))
		r.sleep(interval / 20)
		require.NoError(r, all[0].Call("other"))
		r.sleep(10 * interval)
		assert.Len(r, runs.of("slow"), 1)
		require.Len(r, runs.of("other"), 1)
		assert.Less(r, runs.times("other")[0], interval/5)
		_ = r.errors()
	})
}

func TestWithMaxKeys(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(2, throttle.Every(interval), nil, fleet.WithMaxKeys(2), fleet.WithName("tenants"))
		for range 2 {
			for _, key := range keys(2) {
				require.NoError(r, all[0].Call(key))
			}
			r.sleep(0)
		}
		err := all[0].Call("key 2")
		require.ErrorIs(r, err, throttle.ErrTooManyKeys)
		assert.Equal(r, `throttle: tenants: too many keys: "key 2"`, err.Error())
		require.ErrorIs(r, all[0].Do(r.Context(), "key 2"), throttle.ErrTooManyKeys)
		r.sleep(10 * time.Second)
		require.NoError(r, all[0].Call("key 2"))
		r.sleep(10 * time.Second)
		assert.Len(r, runs.of("key 2"), 1)
		assert.Equal(r, "tenants", all[0].Name())
	})
}
