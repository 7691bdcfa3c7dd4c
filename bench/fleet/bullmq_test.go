//go:build linux

package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// It does not run in parallel with tests that measure time.
func TestMeasureBullMQ(t *testing.T) {
	if testing.Short() {
		t.Skip("starts node processes, and installs packages from the npm registry")
	}
	server, err := servers.Redis("redis-server")
	servers.Require(t, err)
	servers.RemoveAtEnd(t, server)
	require.NoError(t, server.Start(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	b, err := measureBullMQ(ctx, server.Addr(), "--processes", "2", "--workers", "1", "--quiet", "200",
		"--rounds", "1", "--keys", "5", "--calls", "3", "--over", "100", "--trials", "1", "--stalled", "0")
	if errors.Is(err, servers.ErrNotInstalled) {
		t.Skipf("needs BullMQ: %v", err)
	}
	require.NoError(t, err)
	assert.Equal(t, 2, b.Processes)
	assert.Equal(t, 200, b.Quiet)
	assert.Equal(t, 5, b.Burst.Keys)
	assert.Equal(t, 2*5*3, b.Burst.Calls)
	assert.GreaterOrEqual(t, b.Burst.Runs, b.Burst.Keys-b.Burst.Missed)
	assert.GreaterOrEqual(t, b.Burst.Messages, 1000.0)
	assert.Greater(t, b.Burst.Commands, b.Burst.Messages)
	assert.LessOrEqual(t, b.Burst.Lateness.P50, b.Burst.Lateness.Max)
	require.Len(t, b.Again, 6)
	for _, a := range b.Again {
		assert.LessOrEqual(t, a.Lost+a.Overlapped, a.Calls)
	}
	assert.Equal(t, 2, b.CallerKilled.Calls)
	assert.Equal(t, 2, b.CallerKilled.Ran)
	assert.Nil(t, b.WorkerKilled)

	var out strings.Builder
	printBullMQ(&out, b)
	assert.Regexp(t, `\nBullMQ [\d.]+ in its debounce mode: 2 processes call, `, out.String())
	assert.NotContains(t, out.String(), "a worker, in the middle of a run")
}

func TestMeasureBullMQ_NotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := measureBullMQ(t.Context(), "127.0.0.1:1")
	require.ErrorIs(t, err, servers.ErrNotInstalled)
	assert.ErrorContains(t, err, "node is not installed")
}
