package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

// A watched is a reloader that watches a real file.
type watched struct {
	*reloader

	files *watcher
	news  chan struct{} // has one slot, filled after each request and each reload

	mu sync.Mutex // guards the fields below

	reasons []string      // of the requests for a reload
	gate    chan struct{} // if not nil, each request waits here
	failed  uint64        // number of reloads that failed
}

// watchTest watches file until the test ends. A failed reload is not repeated, so that
// only an event leads to the next.
func watchTest(t *testing.T, file string) *watched {
	t.Helper()
	w := &watched{news: make(chan struct{}, 1)}
	var err error
	w.files, err = newWatcher(file)
	require.NoError(t, err)
	s := settings{file: file, addr: "127.0.0.1:0", interval: 10 * time.Millisecond, quiet: 2 * time.Millisecond}
	w.reloader, err = newReloader(s, w.files.load, log.New(io.Discard, "", 0), w.asked, throttle.WithObserver(w.reloaded))
	require.NoError(t, err)
	require.NoError(t, w.reloads.SetPolicy(throttle.Policy{Interval: s.interval, Quiet: s.quiet, MaxWait: s.interval}))

	ctx, stop := context.WithCancel(context.Background())
	started, result := make(chan struct{}), make(chan error, 1)
	go func() {
		result <- w.run(ctx, w.files, func(ctx context.Context, _ string) error {
			close(started)
			<-ctx.Done()
			return nil
		})
	}()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, errors.Join(<-result, w.files.close()))
	})
	select {
	case <-started:
	case err := <-result:
		require.NoError(t, err)
	}
	return w
}

func (w *watched) asked(why string) {
	w.mu.Lock()
	w.reasons = append(w.reasons, why)
	gate := w.gate
	w.mu.Unlock()
	w.wake()
	if gate != nil {
		<-gate
	}
}

func (w *watched) reloaded(run throttle.Run) {
	w.mu.Lock()
	if run.Err != nil {
		w.failed++
	}
	w.mu.Unlock()
	w.wake()
}

func (w *watched) wake() {
	select {
	case w.news <- struct{}{}:
	default: // wait has not seen the earlier news yet
	}
}

// wait waits until reached returns true.
func (w *watched) wait(t *testing.T, what string, reached func() bool) {
	t.Helper()
	timeout := time.After(time.Minute)
	for !reached() {
		select {
		case <-w.news:
		case <-timeout:
			require.Fail(t, "timeout", "no %s after %q", what, w.said())
		}
	}
}

// requireActive requires that a version of the file becomes active.
func (w *watched) requireActive(t *testing.T, version int) {
	t.Helper()
	w.wait(t, fmt.Sprintf("version %d", version), func() bool { return w.active.Load().Version == version })
}

// requireFailure requires that a reload fails after the first so many.
func (w *watched) requireFailure(t *testing.T, earlier uint64) {
	t.Helper()
	w.wait(t, "failure", func() bool { return w.failures() > earlier })
}

func (w *watched) failures() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// said returns why a reload was asked for, the last times.
func (w *watched) said() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reasons[max(0, len(w.reasons)-10):]
}

// hold makes further requests wait until the gate is closed.
func (w *watched) hold(gate chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gate = gate
}

func writeVersion(t *testing.T, file string, version int) {
	t.Helper()
	text := fmt.Sprintf(`{"version": %d, "greeting": "hello"}`, version)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

func TestWatcher(t *testing.T) {
	t.Run("a file written in place", func(t *testing.T) {
		file := writeConfig(t, `{"version": 1, "greeting": "hello"}`)
		w := watchTest(t, file)
		for version := 2; version <= 4; version++ {
			writeVersion(t, file, version)
			w.requireActive(t, version)
		}
	})
	t.Run("a new file renamed over the old one", func(t *testing.T) {
		file := writeConfig(t, `{"version": 1, "greeting": "hello"}`)
		w := watchTest(t, file)
		for version := 2; version <= 4; version++ {
			writeVersion(t, file+".new", version)
			require.NoError(t, os.Rename(file+".new", file))
			w.requireActive(t, version)
		}
	})
	t.Run("a file removed and made again", func(t *testing.T) {
		file := writeConfig(t, `{"version": 1, "greeting": "hello"}`)
		w := watchTest(t, file)
		for version := 2; version <= 4; version++ {
			failures := w.failures()
			require.NoError(t, os.Remove(file))
			w.requireFailure(t, failures)
			assert.Equal(t, version-1, w.active.Load().Version)
			writeVersion(t, file, version)
			w.requireActive(t, version)
		}
	})
	t.Run("a folder removed and made again", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "etc", "config.json")
		require.NoError(t, os.Mkdir(filepath.Dir(file), 0o700))
		writeVersion(t, file, 1)
		w := watchTest(t, file)
		require.NoError(t, w.reloads.SetPolicy(throttle.Policy{Retry: throttle.Backoff{Initial: time.Millisecond}}))
		require.NoError(t, os.RemoveAll(filepath.Dir(file)))
		w.requireFailure(t, 0)
		require.NoError(t, os.Mkdir(filepath.Dir(file), 0o700))
		writeVersion(t, file, 2)
		w.requireActive(t, 2) // by a retry
		writeVersion(t, file, 3)
		w.requireActive(t, 3)
	})
	t.Run("a burst of writes", func(t *testing.T) {
		file := writeConfig(t, `{"version": 1, "greeting": "hello"}`)
		w := watchTest(t, file)
		begun, runs := time.Now(), w.reloads.Stats().Runs
		const last = 1000
		for version := 2; version <= last; version++ {
			writeVersion(t, file, version)
		}
		w.requireActive(t, last)
		runs, most := w.reloads.Stats().Runs-runs, 1+uint64(time.Since(begun)/w.settings.interval)
		assert.LessOrEqual(t, runs, most, "one reload per interval")
	})
}

func TestWatcher_Links(t *testing.T) {
	requireLinks(t)
	// The steps are those of the kubelet: all files are in a folder of their own, and a link
	// to the new folder is renamed over the link to the old one.
	t.Run("a ConfigMap", func(t *testing.T) {
		mount := t.TempDir()
		file, data := filepath.Join(mount, "config.json"), filepath.Join(mount, "..data")
		update := func(version int) {
			t.Helper()
			folder := "..version" + strconv.Itoa(version)
			require.NoError(t, os.Mkdir(filepath.Join(mount, folder), 0o700))
			writeVersion(t, filepath.Join(mount, folder, "config.json"), version)
			require.NoError(t, os.Symlink(folder, data+"_tmp"))
			require.NoError(t, os.Rename(data+"_tmp", data))
		}
		update(1)
		require.NoError(t, os.Symlink(filepath.Join("..data", "config.json"), file))
		w := watchTest(t, file)
		for version := 2; version <= 4; version++ {
			update(version)
			w.requireActive(t, version)
			require.NoError(t, os.RemoveAll(filepath.Join(mount, "..version"+strconv.Itoa(version-1))))
		}
	})
	t.Run("a file behind a link", func(t *testing.T) {
		file := writeConfig(t, `{"version": 1, "greeting": "hello"}`)
		link := filepath.Join(t.TempDir(), "config.json")
		require.NoError(t, os.Symlink(file, link))
		w := watchTest(t, link)
		for version := 2; version <= 4; version++ {
			writeVersion(t, file+".new", version)
			require.NoError(t, os.Rename(file+".new", file))
			w.requireActive(t, version)
		}
	})
	t.Run("a folder behind a link", func(t *testing.T) {
		root := t.TempDir()
		current := filepath.Join(root, "current")
		release := func(version int) {
			t.Helper()
			folder := filepath.Join(t.TempDir(), "release")
			require.NoError(t, os.Mkdir(folder, 0o700))
			writeVersion(t, filepath.Join(folder, "config.json"), version)
			require.NoError(t, os.Symlink(folder, current+".new"))
			require.NoError(t, os.Rename(current+".new", current))
		}
		release(1)
		w := watchTest(t, filepath.Join(current, "config.json"))
		for version := 2; version <= 6; version += 2 {
			release(version)
			w.requireActive(t, version)
			writeVersion(t, filepath.Join(current, "config.json"), version+1) // in the new folder
			w.requireActive(t, version+1)
		}
		// The folders of old releases are still there, but not watched.
		assert.LessOrEqual(t, len(w.files.folders.WatchList()), len(wayTo(w.files.file)))
	})
}

// After lost events the reloader reloads to be safe.
func TestWatcher_Overflow(t *testing.T) {
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s has no inotify", runtime.GOOS)
	}
	require.NoError(t, err)
	queue, err := strconv.Atoi(strings.TrimSpace(string(limit)))
	require.NoError(t, err)
	file := writeConfig(t, `{"version": 1, "greeting": "hello"}`)
	others := []string{file + ".a", file + ".b"}
	for _, other := range others {
		writeVersion(t, other, 0)
	}
	w := watchTest(t, file)

	// While the first request waits, nobody takes events.
	first, second := make(chan struct{}), make(chan struct{})
	w.hold(first)
	writeVersion(t, file+".new", 2)
	require.NoError(t, os.Rename(file+".new", file)) // one event of the file
	w.wait(t, "request", func() bool { return len(w.said()) == 1 })
	w.hold(second)
	for n := range 2*queue + 10_000 {
		require.NoError(t, os.Chmod(others[n%2], 0o600))
	}
	writeVersion(t, file, 3) // these events are lost
	close(first)

	// The reload of the first request comes before that of the overflow, which still waits.
	w.wait(t, "overflow", func() bool { return len(w.said()) == 2 })
	assert.Equal(t, "watch error: "+fsnotify.ErrEventOverflow.Error(), w.said()[1])
	w.requireActive(t, 3)
	require.NoError(t, w.reloads.Flush(t.Context()))
	runs := w.reloads.Stats().Runs
	close(second)
	w.wait(t, "reload", func() bool { return w.reloads.Stats().Runs > runs })
}

func TestWatcher_Error(t *testing.T) {
	w := watchTest(t, writeConfig(t, `{"version": 1, "greeting": "hello"}`))
	runs := w.reloads.Stats().Runs
	w.files.folders.Errors <- errors.New("broken")
	w.wait(t, "reload", func() bool { return w.reloads.Stats().Runs > runs })
	assert.Equal(t, []string{"watch error: broken"}, w.said())
}

func TestWatcher_Concerns(t *testing.T) {
	folder, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	file := filepath.Join(folder, "config.json")
	writeVersion(t, file, 1)
	w, err := newWatcher(file)
	require.NoError(t, err)
	defer w.close()
	_, err = w.load()
	require.NoError(t, err)
	assert.True(t, w.concerns(fsnotify.Event{Name: file}))
	assert.True(t, w.concerns(fsnotify.Event{Name: folder}))
	assert.False(t, w.concerns(fsnotify.Event{Name: file + ".new"}))
}

func TestWayTo(t *testing.T) {
	requireLinks(t)
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	at := func(path string) string { return filepath.Join(root, filepath.FromSlash(path)) }
	require.NoError(t, os.MkdirAll(at("a/b"), 0o700))
	for link, target := range map[string]string{
		"c": "a", "a/d": "../c/b", "a/b/e": at("a/d"), "circle": "circle", "lost": "nowhere/f",
	} {
		require.NoError(t, os.Symlink(filepath.FromSlash(target), at(link)))
	}
	tests := map[string][]string{
		"a/b/f":   {"a/b/f"},
		"c/b/f":   {"c", "a/b/f"},
		"a/d/f":   {"a/d", "c", "a/b/f"},
		"c/b/e/f": {"c", "a/b/e", "a/d", "c", "a/b/f"},
		"lost":    {"lost", "nowhere/f"},
	}
	for path, want := range tests {
		for i := range want {
			want[i] = at(want[i])
		}
		assert.Equal(t, want, wayTo(at(path)), path)
	}
	assert.Len(t, wayTo(at("circle")), maxLinks+1, "it ends")
}

// requireLinks skips the test if the user may not make symbolic links, as on Windows.
func requireLinks(t *testing.T) {
	t.Helper()
	if err := os.Symlink("nowhere", filepath.Join(t.TempDir(), "link")); err != nil {
		t.Skip(err)
	}
}
