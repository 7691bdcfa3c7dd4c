package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/testkit/flagstest"
)

func TestDemonstration(t *testing.T) {
	var out bytes.Buffer
	begun := time.Now()
	require.NoError(t, run(t.Context(), nil, &out), out.String())
	most := 1 + int(time.Since(begun)/demonstrationSettings.interval)
	patterns := []string{
		`reload: version 1 is active`,
		`reload: version 11 is active \(cause: \w+, calls: \d+\)`,
		`reload failed, version 11 stays \(cause: retry, attempt: \d+\): invalid configuration: unexpected EOF`,
		`answer: 500 Internal Server Error invalid configuration: unexpected EOF`,
		`reload: version 12 is active`,
		`answer: 204 No Content`,
		`\nruns +█.*✗.*█`,
	}
	if hasHangup {
		patterns = append(patterns, `asked by SIGHUP`)
	}
	for _, pattern := range patterns {
		assert.Regexp(t, pattern, out.String())
	}
	assert.LessOrEqual(t, bytes.Count(out.Bytes(), []byte("cause: ")), most, "one reload per interval")
}

// The demonstration fails if its changes do not become active.
func TestDemonstration_WrongConfiguration(t *testing.T) {
	logger := log.New(io.Discard, "", 0)
	d := newDemonstration(filepath.Join(t.TempDir(), "config.json"), logger)
	other := d.settings
	other.file = writeConfig(t, `{"version": 1, "greeting": "hello"}`)
	files, err := newWatcher(other.file)
	require.NoError(t, err)
	defer files.close()
	r, err := newReloader(other, files.load, logger, d.asked, throttle.WithObserver(d.reloaded))
	require.NoError(t, err)

	err = r.run(t.Context(), files, func(ctx context.Context, url string) error {
		if d.post(ctx, url, http.StatusInternalServerError) == nil {
			return errors.New("the server answered as if the reload had failed")
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		return d.play(ctx, r, url)
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "the last change")
}

func TestRun_File(t *testing.T) {
	file := writeConfig(t, `{"version": 1, "greeting": "hello"}`)
	ctx, interrupt := context.WithCancel(t.Context())
	outRead, outWrite := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-file", file, "-interval", "10ms", "-quiet", "5ms"}, outWrite)
		result <- errors.Join(err, outWrite.Close())
	}()
	out := bufio.NewReader(outRead)
	url := find(t, out, `curl -X POST (http://.*)/-/reload`)
	assert.JSONEq(t, `{"version": 1, "greeting": "hello"}`, get(t, url+"/config"))

	require.NoError(t, os.WriteFile(file, []byte(`{"version": 2, "greeting": "good day"}`), 0o600))
	find(t, out, `(version 2 is active)`)
	assert.JSONEq(t, `{"version": 2, "greeting": "good day"}`, get(t, url+"/config"))

	require.NoError(t, os.Remove(file))
	find(t, out, `(version 2 stays)`)
	find(t, out, `(attempt: 2)`)
	assert.JSONEq(t, `{"version": 2, "greeting": "good day"}`, get(t, url+"/config"))

	require.NoError(t, os.WriteFile(file, []byte(`{"version": 3, "greeting": "hello"}`), 0o600))
	find(t, out, `(version 3 is active)`)

	interrupt()
	_, err := io.Copy(io.Discard, out)
	require.NoError(t, err)
	require.NoError(t, <-result)
}

func TestReloader_SharedReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestReloader(t, writeConfig(t, `{"version": 1, "greeting": "hello"}`))
		require.NoError(t, r.reloads.Do(t.Context()))
		codes := make(chan int, 20)
		for range cap(codes) {
			go func() { codes <- post(t, r) }()
		}
		time.Sleep(r.settings.interval)
		synctest.Wait()
		require.Len(t, codes, cap(codes))
		for range cap(codes) {
			assert.Equal(t, http.StatusNoContent, <-codes)
		}
		assert.Equal(t, uint64(2), r.reloads.Stats().Runs, "the first, and one for all requests")
	})
}

func TestReloader_Error(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestReloader(t, writeConfig(t, `{"version": 1, "greeting": ""}`))
		assert.Equal(t, http.StatusInternalServerError, post(t, r))

		code := make(chan int, 1)
		go func() { code <- post(t, r) }()
		synctest.Wait()
		require.NoError(t, r.reloads.Close())
		assert.Equal(t, http.StatusServiceUnavailable, <-code)
	})
}

func TestLoad(t *testing.T) {
	for text, valid := range map[string]bool{
		`{"version": 1, "greeting": "hello"}`:   true,
		``:                                      false,
		`{}`:                                    false,
		`{"version": 1, "greeting": ""}`:        false,
		`{"version": "1", "greeting": "hello"}`: false,
		`{"version": 1, "greeting": "hello"`:    false,
		`{"version": 1, "greeting": "hello", "other": ""}`: false,
	} {
		_, err := load(writeConfig(t, text))
		assert.Equal(t, valid, err == nil, text)
	}
}

func TestRun_WrongFile(t *testing.T) {
	for _, file := range []string{writeConfig(t, `{`), filepath.Join(t.TempDir(), "missing")} {
		require.Error(t, run(t.Context(), []string{"-file", file}, io.Discard), file)
	}
}

func TestFlags(t *testing.T) {
	flagstest.Check(t, filepath.Join(flagstest.Build(t, "."), "reload"),
		"-interval 1s", "-file f -interval 0", "-file f -quiet -1s", "-file f -addr nowhere", "-file f -quiet soon")
}

// newTestReloader returns a reloader that has not loaded a file yet.
func newTestReloader(t *testing.T, file string) *reloader {
	t.Helper()
	s := settings{file: file, interval: time.Second, quiet: 10 * time.Millisecond}
	r, err := newReloader(s, func() (*config, error) { return load(file) }, log.New(io.Discard, "", 0), func(string) {})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.reloads.Close()) })
	return r
}

func writeConfig(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// post returns the status of POST /-/reload.
func post(t *testing.T, r *reloader) int {
	t.Helper()
	response := httptest.NewRecorder()
	r.handler().ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/-/reload", http.NoBody))
	return response.Code
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

// find reads lines until pattern matches one, and returns its first group.
func find(t *testing.T, out *bufio.Reader, pattern string) string {
	t.Helper()
	for {
		line, err := out.ReadString('\n')
		require.NoError(t, err, "no %q", pattern)
		if match := regexp.MustCompile(pattern).FindStringSubmatch(line); match != nil {
			return match[1]
		}
	}
}
