package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestDemonstration(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-items", "150"}, &out), out.String())
	for _, pattern := range []string{
		`^\r\[#*-*\] +\d+%  [1-9]\d* of 1200 items`,
		`\r\[#{40}\] 100%  1200 of 1200 items, \d+\.\d MB\n\n1200 reports`,
		`\n1200 reports, [1-9]\d* drawings, at least [\d.]+m?s from`,
		`\nruns +█`,
	} {
		assert.Regexp(t, pattern, out.String())
	}
}

// Shutdown draws the last state, even inside the window.
func TestProgress_LastState(t *testing.T) {
	var shown state
	p, err := newProgress(1000, func(s state) error {
		shown = s
		return nil
	})
	require.NoError(t, err)
	for range 10 {
		require.NoError(t, p.report(1))
	}
	require.NoError(t, p.drawings.Shutdown(t.Context()))
	assert.Equal(t, state{10, 1000, 10}, shown)
}

func TestCheck(t *testing.T) {
	at := func(d time.Duration, cause throttle.Cause) throttle.Run {
		return throttle.Run{Started: time.Time{}.Add(d), Cause: cause}
	}
	first := at(0, throttle.CauseCall)
	_, err := check([]throttle.Run{first, at(interval-1, throttle.CauseCall)})
	require.Error(t, err)
	least, err := check([]throttle.Run{first, at(interval, throttle.CauseCall), at(interval+1, throttle.CauseFlush)})
	require.NoError(t, err)
	assert.Equal(t, interval, least)
}

func TestRun_BrokenTerminal(t *testing.T) {
	require.ErrorIs(t, run(t.Context(), []string{"-items", "1"}, broken{}), errBroken)
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestRun_Interrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, nil, io.Discard), context.Canceled)
}
