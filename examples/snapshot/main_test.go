package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestDemonstration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counters.json")
	var out bytes.Buffer
	err := run(t.Context(), []string{"-duration", "300ms", "-interval", "50ms", "-clients", "4", "-file", file}, &out)
	require.NoError(t, err, out.String())

	for _, pattern := range []string{
		`^4 clients change counters at http://127\.0\.0\.1:\d+ for 300ms, at most one snapshot per 50ms\n`,
		`\nrequests +[1-9]\d* +\d+ per second`,
		`\nsnapshots +[1-9]\d* +one for \d+ requests, 0 failed\n`,
		`\nlongest wait +[\d.]+m?s +from a change`,
		`\nfile +ok +it holds all [1-9]\d* changes\n`,
		`\ncalls +[▁▂▃▄▅▆▇█]`,
		`\nruns +█`,
		`\nwindows +├─`,
	} {
		assert.Regexp(t, pattern, out.String())
	}
	saved, err := readState(file)
	require.NoError(t, err)
	assert.Contains(t, out.String(), fmt.Sprintf("it holds all %d changes", saved.Changes))
	assertOnly(t, file)
}

// Without -file, no file is left.
func TestDemonstration_LeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir) // on Unix
	require.NoError(t, run(t.Context(), []string{"-duration", "50ms", "-interval", "10ms"}, io.Discard))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A server gets requests, is interrupted, and starts again with the same file.
func TestRun_Serve(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counters.json")
	for start := range 2 {
		ctx, interrupt := context.WithCancel(t.Context())
		outRead, outWrite := io.Pipe()
		result := make(chan error, 1)
		go func() {
			err := run(ctx, []string{"-serve", "-interval", "1h", "-file", file}, outWrite)
			outWrite.Close()
			result <- err
		}()
		var url string
		_, err := fmt.Fscanf(outRead, "serving at %s until", &url)
		require.NoError(t, err)
		rest := make(chan string, 1)
		go func() {
			text, _ := io.ReadAll(outRead)
			rest <- string(text)
		}()

		do := func(method, path string, wantStatus int) string {
			t.Helper()
			request, err := http.NewRequestWithContext(t.Context(), method, url+path, http.NoBody)
			require.NoError(t, err)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, wantStatus, response.StatusCode, string(body))
			return string(body)
		}
		before := uint64(start * 3)
		assert.Equal(t, fmt.Sprintln(before+1), do("POST", "/counters/apples", http.StatusOK))
		assert.Equal(t, fmt.Sprintln(before+2), do("POST", "/counters/apples", http.StatusOK))
		assert.JSONEq(t, fmt.Sprintf(`{"changes": %d, "counters": {"apples": %[1]d}}`, before+2), do("GET", "/counters", http.StatusOK))

		do("POST", "/flush", http.StatusNoContent)
		saved, err := readState(file)
		require.NoError(t, err)
		assert.Equal(t, before+2, saved.Changes, "Flush returns after the write")

		do("POST", "/counters/apples", http.StatusOK) // would be pending for an hour without the shutdown
		var stats map[string]any
		require.NoError(t, json.Unmarshal([]byte(do("GET", "/snapshot-status", http.StatusOK)), &stats))
		assert.Equal(t, true, stats["Pending"])
		assert.Empty(t, stats["LastError"])

		http.DefaultClient.CloseIdleConnections()
		interrupt()
		assert.Contains(t, <-rest, fmt.Sprintf("it holds all %d changes", before+3))
		require.NoError(t, <-result)
	}
	assertOnly(t, file)
}

func TestServer_FailedSnapshot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	s, err := newServer(config{interval: time.Hour, file: filepath.Join(dir, "counters.json")})
	require.NoError(t, err)

	s.store.increment("apples")
	err = s.snapshots.Do(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, s.verify(), errDiffers)
	assert.Contains(t, newStatus(s.snapshots.Stats()).LastError, "counters.json")

	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, s.stop(t.Context()), "the retry that was pending has run")
	require.NoError(t, s.report(io.Discard))
	assert.Positive(t, s.snapshotter.longestWait)
}

func TestServer_Report(t *testing.T) {
	damages := map[string]func(string) error{
		"removed":   os.Remove,
		"empty":     func(file string) error { return os.Truncate(file, 0) },
		"truncated": func(file string) error { return os.Truncate(file, 10) },
		"of another program": func(file string) error {
			return os.WriteFile(file, []byte(`{"apples": 2}`), 0o600)
		},
		"one change behind": func(file string) error {
			return writeState(file, state{1, map[string]uint64{"apples": 1}})
		},
		"a wrong counter": func(file string) error {
			return writeState(file, state{2, map[string]uint64{"apples": 1, "pears": 2}})
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "counters.json")
			s, err := newServer(config{interval: time.Millisecond, file: file})
			require.NoError(t, err)
			for _, name := range []string{"apples", "pears"} {
				s.store.increment(name)
				s.recorder.call()
				s.snapshots.Call()
			}
			require.NoError(t, s.stop(t.Context()))
			require.NoError(t, s.report(io.Discard), "before the damage")

			require.NoError(t, damage(file))
			var out bytes.Buffer
			require.Error(t, s.report(&out))
			assert.Contains(t, out.String(), "WRONG")
		})
	}
}

func TestRecorder_Faults(t *testing.T) {
	begin := time.Now()
	at := func(start, end int, cause throttle.Cause) throttle.Run {
		ms := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Millisecond) }
		return throttle.Run{Started: ms(start), Ended: ms(end), Cause: cause}
	}
	const call, flush = throttle.CauseCall, throttle.CauseFlush
	tests := map[string]struct {
		first, second throttle.Run
		faults        int
	}{
		"in time":               {at(0, 10, call), at(100, 101, call), 0},
		"too early":             {at(0, 10, call), at(99, 101, call), 1},
		"flushed":               {at(0, 10, call), at(50, 51, flush), 0},
		"overlapping":           {at(0, 120, call), at(100, 101, call), 1},
		"flushed, overlapping":  {at(0, 60, call), at(50, 51, flush), 1},
		"early and overlapping": {at(0, 60, call), at(50, 51, call), 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := &recorder{interval: 100 * time.Millisecond, seen: record{first: begin}}
			r.run(test.first)
			r.run(test.second)
			assert.Len(t, r.result().faults, test.faults)
			assert.Len(t, r.result().events.Runs, 2)
		})
	}
}

func TestRun_WrongFile(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other.json")
	require.NoError(t, os.WriteFile(other, []byte(`{"not": "ours"}`), 0o600))
	for _, file := range []string{other, t.TempDir()} {
		require.Error(t, run(t.Context(), []string{"-file", file}, io.Discard), file)
	}
	assertOnly(t, other)
}

// assertOnly asserts that file is alone in its folder.
func assertOnly(t *testing.T, file string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, filepath.Base(file), entries[0].Name())
}
