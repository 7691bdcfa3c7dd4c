package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// output returns what the command prints for the calls in stdin.
func output(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, run(args, strings.NewReader(stdin), &out))
	return out.String()
}

func TestRun_Table(t *testing.T) {
	const calls = "0\n0.03\n0.04\n5\n"
	got := output(t, calls, "-interval", "0,100ms,1s", "-edges", ",leading")
	want := `
4 calls in 5s. Each policy is watched for 6.02s.

     runs  saved  running  load  dropped  p50    p99  longest  stale  policy
  *     4   0.0%     40ms  0.7%        0   0s     0s       0s   0.7%  no limit
  *     4   0.0%     40ms  0.7%        0   0s     0s       0s   0.7%  leading edge alone
  *     3  25.0%     30ms  0.5%        0   0s   70ms     70ms   1.7%  at most once per 100ms
        3  25.0%     30ms  0.5%        0   0s  970ms    970ms  16.6%  at most once per 1s
  *     2  50.0%     20ms  0.3%        2   0s  4.97s    4.97s  82.9%  at most once per 100ms, leading edge alone
  *     2  50.0%     20ms  0.3%        2   0s  4.97s    4.97s  82.9%  at most once per 1s, leading edge alone
`
	assert.Equal(t, strings.TrimPrefix(want, "\n"), got)
}

func TestRun_TableOfOneCall(t *testing.T) {
	got := output(t, "7\n", "-interval", "0", "-took", "0")
	assert.Contains(t, got, "1 call in 0s. Each policy is watched for 0s.\n")
	assert.Contains(t, got, " 1   0.0%")
	assert.NotContains(t, got, "NaN")
}

func TestRun_JSON(t *testing.T) {
	got := output(t, "0\n0.03\n0.04\n5\n", "-json", "-interval", "1s", "-edges", "leading", "-took", "20ms")
	want := `[{
		"words": "at most once per 1s, leading edge alone",
		"policy": {
			"interval_ns": 1000000000, "burst": 0, "max_load": 0, "quiet_ns": 0, "max_wait_ns": 0, "max_interval_ns": 0,
			"max_calls": 0, "retry_initial_ns": 0, "retry_max_ns": 0, "edges": "leading", "from": "start"
		},
		"front": true, "calls": 4, "watched_ns": 6040000000,
		"runs": 2, "failed": 0, "saved": 0.5, "running_ns": 40000000, "load": 0.006622516556291391, "dropped": 2,
		"wait_p50_ns": 0, "wait_p99_ns": 4970000000, "wait_longest_ns": 4970000000,
		"stale_ns": 5010000000, "stale": 0.8294701986754967
	}]`
	assert.JSONEq(t, want, got)
}

func TestRun_JSONPolicy(t *testing.T) {
	got := output(t, "0\n", "-json", "-interval", "1s", "-maxload", "0.25", "-quiet", "2s", "-maxwait", "3s",
		"-maxinterval", "4s", "-maxcalls", "5", "-retry", "6s", "-retrymax", "7s", "-edges", "both", "-burst", "8")
	var all []struct{ Policy json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(got), &all))
	require.Len(t, all, 1)
	assert.JSONEq(t, `{
		"interval_ns": 1000000000, "max_load": 0.25, "quiet_ns": 2000000000, "max_wait_ns": 3000000000,
		"max_interval_ns": 4000000000, "max_calls": 5, "retry_initial_ns": 6000000000, "retry_max_ns": 7000000000,
		"edges": "both", "burst": 8, "from": "start"
	}`, string(all[0].Policy))
	assert.Contains(t, output(t, "0\n", "-json", "-from", "end", "-edges", "trailing"), `"from": "end"`)
}

// The JSON says all that the table says, in the same order.
func TestRun_JSONOfMany(t *testing.T) {
	args := []string{
		"-interval", "1s,2s", "-burst", "0,3", "-maxload", "0,0.5", "-maxinterval", "0,5s", "-maxcalls", "0,4", "-from", "start,end",
		"-retry", "0,1s", "-retrymax", "0,3s", "-fail", "0.5",
	}
	const calls = "0\n0.5\n0.75\n1.5\n2\n20\n"
	var all []struct {
		Words  string
		Runs   int
		Front  bool
		Failed int
		Policy map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(output(t, calls, append(args, "-json")...)), &all))
	policies := policiesOf(t, args...)
	require.Len(t, all, len(policies))
	table := output(t, calls, args...)
	words := map[string]bool{}
	for _, r := range all {
		assert.Len(t, r.Policy, 11)
		words[r.Words] = true
	}
	for _, p := range policies {
		assert.True(t, words[p.String()], p)
	}
	rows := strings.Split(strings.TrimSpace(table), "\n")[3:]
	require.Len(t, rows, len(all))
	for i, row := range rows {
		assert.Equal(t, all[i].Front, strings.Contains(row, "*"))
		assert.True(t, strings.HasSuffix(row, "  "+all[i].Words), row)
	}
}

func TestRounded(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"},
		{1, "1ns"},
		{999, "999ns"},
		{1234, "1.23µs"},
		{1235 * time.Microsecond, "1.24ms"},
		{999_999 * time.Nanosecond, "1ms"},
		{12_345 * time.Microsecond, "12.3ms"},
		{123_456 * time.Microsecond, "123ms"},
		{1_234_567 * time.Microsecond, "1.23s"},
		{83_456 * time.Millisecond, "1m23.5s"},
		{time.Hour + 23*time.Minute + 45678*ms, "1h23m46s"},
		{math.MaxInt64, "2562047h47m16.854775807s"},
	} {
		assert.Equal(t, test.want, rounded(test.d).String())
	}
}

// A table that cannot be written is an error.
func TestRun_Unwritable(t *testing.T) {
	broken := errors.New("broken")
	for _, args := range [][]string{nil, {"-json"}} {
		require.ErrorIs(t, run(args, strings.NewReader("1\n"), &failing{err: broken}), broken)
	}
	require.ErrorIs(t, run(nil, strings.NewReader("1\n"), &failing{after: 1, err: broken}), broken)
	require.Error(t, run([]string{"-svg", t.TempDir()}, strings.NewReader("1\n"), io.Discard))
}

// A failing writer fails after some writes.
type failing struct {
	after int
	err   error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.after == 0 {
		return 0, f.err
	}
	f.after--
	return len(p), nil
}
