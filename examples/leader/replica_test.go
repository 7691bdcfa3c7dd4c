package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// A single is an election with one replica, which leads until ctx ends.
type single struct{}

func (single) patience() time.Duration { return 10 * time.Second }

func (single) run(ctx context.Context, lead func(context.Context) error) error { return lead(ctx) }

// A lab is a replica in a bubble.
type lab struct {
	*replica

	runs, calls atomic.Int64
	leads       atomic.Bool
}

func newLab(t *testing.T, sync func(context.Context) error) *lab {
	t.Helper()
	l := new(lab)
	var err error
	l.replica, err = newReplica(single{}, time.Second, func(ctx context.Context) error {
		assert.True(t, l.leads.Load(), "a sync without the lead")
		l.runs.Add(1)
		return sync(ctx)
	}, l.leads.Store, throttle.WithCallCount(), throttle.WithErrorHandler(func(error) {}),
		throttle.WithObserver(func(run throttle.Run) { l.calls.Add(int64(run.Calls)) }))
	require.NoError(t, err)
	t.Cleanup(func() { l.syncs.Close() })
	return l
}

// start runs the replica until stop is called, which returns the result.
func (l *lab) start(t *testing.T) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- l.run(ctx) }()
	synctest.Wait()
	return func() error {
		cancel()
		return <-result
	}
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func quick(context.Context) error { return nil }

func TestReplica(t *testing.T) {
	t.Run("keeps calls until it leads", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, quick)
			for range 3 {
				l.syncs.Call()
				pass(time.Hour)
			}
			assert.Zero(t, l.runs.Load())
			stop := l.start(t)
			assert.Equal(t, int64(1), l.runs.Load(), "one sync for all, at once")
			assert.Equal(t, int64(4), l.calls.Load(), "three calls and that of the lead")
			require.NoError(t, stop())
		})
	})
	t.Run("syncs when it begins to lead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, quick)
			stop := l.start(t)
			assert.Equal(t, int64(1), l.runs.Load())
			require.NoError(t, stop())
		})
	})
	t.Run("starts no sync after the lead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, quick)
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan error, 1)
			go func() { result <- l.lead(ctx) }()
			synctest.Wait()
			l.syncs.Call() // due in a second
			cancel()
			require.NoError(t, <-result)
			l.syncs.Call()
			pass(time.Hour)
			assert.Equal(t, int64(1), l.runs.Load())
			assert.True(t, l.syncs.Stats().Pending, "for the next lead")
		})
	})
	t.Run("starts no sync if the lead is over before it begins", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, quick)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			l.syncs.Call()
			require.NoError(t, l.lead(ctx))
			pass(time.Hour)
			assert.Zero(t, l.runs.Load())
		})
	})
	t.Run("waits for the active sync", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, result := range []error{nil, errors.New("broken")} {
				l := newLab(t, func(context.Context) error {
					time.Sleep(9 * time.Second)
					return result
				})
				stop, begun := l.start(t), time.Now()
				require.NoError(t, stop())
				assert.Equal(t, 9*time.Second, time.Since(begun))
			}
		})
	})
	t.Run("ends a long sync in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
			stop := l.start(t)
			pass(5 * time.Second)
			begun := time.Now()
			require.NoError(t, stop())
			assert.Equal(t, 5*time.Second, time.Since(begun))
		})
	})
	t.Run("fails if the sync goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, func(context.Context) error {
				time.Sleep(time.Hour)
				return nil
			})
			stop, begun := l.start(t), time.Now()
			require.ErrorContains(t, stop(), "a sync goes on after the end of the lead")
			assert.Equal(t, single{}.patience(), time.Since(begun))
			assert.True(t, l.leads.Load())
			pass(time.Hour)
		})
	})
}
