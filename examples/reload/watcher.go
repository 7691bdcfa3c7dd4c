package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// A watcher tells when a file may have changed. It watches folders, never the file: an
// editor renames a new file over the old one, and a watch on the old one would not see
// the new. It also watches the folder of each symbolic link on the way to the file. A
// mounted Kubernetes ConfigMap changes like that: config.json leads to ..data/config.json,
// and a new link is renamed over ..data.
type watcher struct {
	file    string // absolute
	folders *fsnotify.Watcher

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	way []string // as wayTo returns it
}

// newWatcher returns a watcher that watches nothing before load.
func newWatcher(file string) (*watcher, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	folders, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &watcher{file: file, folders: folders}, nil
}

func (w *watcher) close() error { return w.folders.Close() }

// load watches the file, and then reads it. The other way round, a change in between
// would go unnoticed. Each load renews the watch, because a folder may be a new one, and
// a link may lead elsewhere. So a repeated load also finds a folder that was missing.
// Calls of load must not overlap.
func (w *watcher) load() (*config, error) {
	if err := w.follow(); err != nil {
		return nil, err
	}
	return load(w.file)
}

// follow watches all folders in which a change can give the file another content, and no
// others.
func (w *watcher) follow() error {
	way := wayTo(w.file)
	for {
		w.expect(way) // before the first event of a new folder
		for _, path := range way {
			if err := w.folders.Add(filepath.Dir(path)); err != nil {
				return err
			}
		}
		// A link may have changed before its folder was watched.
		again := wayTo(w.file)
		if slices.Equal(way, again) {
			break
		}
		way = again
	}
	for _, folder := range w.folders.WatchList() {
		if !slices.ContainsFunc(way, func(path string) bool { return filepath.Dir(path) == folder }) {
			_ = w.folders.Remove(folder) // fails if the folder is gone, and the watch with it
		}
	}
	return nil
}

func (w *watcher) expect(way []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.way = way
}

// concerns reports whether the file may have another content after event. Most programs
// keep other files in the same folder.
func (w *watcher) concerns(event fsnotify.Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.way, func(path string) bool {
		return event.Name == path || event.Name == filepath.Dir(path)
	})
}

// maxLinks is how many links wayTo follows before it takes them for a circle.
const maxLinks = 40

// wayTo returns the symbolic links on the way to an absolute path, and at last the file
// itself, all by the real names of their folders. It returns as much as there is.
func wayTo(file string) []string {
	var way []string
	resolved, ahead := split(file)
	for len(ahead) > 0 && len(way) < maxLinks {
		next := filepath.Join(resolved, ahead[0]) // resolved has no links, so Join may resolve ".."
		ahead = ahead[1:]
		target, err := os.Readlink(next)
		if err != nil { // no link, or not there
			resolved = next
			continue
		}
		way = append(way, next)
		if filepath.IsAbs(target) {
			var parts []string
			resolved, parts = split(target)
			ahead = append(parts, ahead...)
		} else {
			ahead = append(elements(target), ahead...)
		}
	}
	return append(way, resolved)
}

// split returns the root of an absolute path, and its other elements.
func split(path string) (root string, rest []string) {
	root = filepath.VolumeName(path) + string(filepath.Separator)
	return root, elements(path[len(root):])
}

func elements(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == filepath.Separator })
}
