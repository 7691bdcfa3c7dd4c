//go:build linux

package fleetpg_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// TestEngine_Crowd calls many throttlers of one engine once each, at the same time. Each needs its claim
// and hardly more, however long it waits for its turn. The guard is for a busy machine.
func TestEngine_Crowd(t *testing.T) {
	throttlers := 500
	if testing.Short() {
		throttlers = 100
	}
	engine := newEngine(t, newDatabase(t).pool(t))
	requireWorks(t, engine)
	var runs, problems atomic.Int64
	all := make([]*fleet.Throttler, throttlers)
	for i := range all {
		var err error
		all[i], err = fleet.New(engine, strconv.Itoa(i), throttle.Every(time.Second), func(context.Context) error {
			runs.Add(1)
			return nil
		}, fleet.WithGuard(2*time.Second), fleet.WithErrorHandler(func(err error) {
			problems.Add(1)
			t.Log(err)
		}))
		require.NoError(t, err)
	}
	begun := time.Now()
	for _, throttler := range all {
		throttler.Call()
	}
	require.Eventually(t, func() bool { return runs.Load() == int64(throttlers) }, patience, time.Millisecond)
	t.Logf("%d runs in %v", throttlers, time.Since(begun))
	var sum fleet.Counts
	for _, throttler := range all {
		require.NoError(t, throttler.Shutdown(t.Context()))
		n := throttler.Counts()
		sum.Granted += n.Granted
		sum.Deferred += n.Deferred
		sum.Served += n.Served
		sum.Failed += n.Failed
		sum.Late += n.Late
	}
	t.Logf("%+v", sum)
	assert.LessOrEqual(t, int(sum.Granted+sum.Deferred+sum.Served), throttlers*11/10)
	assert.EqualValues(t, throttlers, runs.Load())
	assert.Zero(t, sum.Failed)
	assert.Zero(t, problems.Load())
}
