package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A snapshotter writes snapshots of a store. Its write method is the callback of
// a throttler, of which no two runs overlap: so what only write uses needs no
// lock, unlike the store, which requests change meanwhile.
type snapshotter struct {
	store *store
	file  string

	unsaved     time.Time     // the first change that is in no snapshot yet; zero if all are
	longestWait time.Duration // from a change until it was on disk
}

// write writes a snapshot of what is in the store now.
func (s *snapshotter) write() error {
	// The copy is made under the store's mutex, the slow work without it.
	current, changed := s.store.take()
	if s.unsaved.IsZero() {
		s.unsaved = changed // otherwise the write before failed, and that change is older
	}
	if err := writeState(s.file, current); err != nil {
		return err
	}
	if !s.unsaved.IsZero() {
		s.longestWait = max(s.longestWait, time.Since(s.unsaved))
		s.unsaved = time.Time{}
	}
	return nil
}

// readState returns what the last snapshot holds: nothing if there is none.
func readState(file string) (state, error) {
	s := state{Counters: map[string]uint64{}}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	// Strict, so as not to take another program's file for a snapshot, and
	// then replace it.
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s, fmt.Errorf("%s is not a snapshot: %w", file, err)
	}
	if s.Counters == nil {
		return s, fmt.Errorf("%s is not a snapshot: it has no counters", file)
	}
	return s, nil
}

// writeState replaces file by one that holds s. Whenever the machine stops,
// there is either the old file or the new one, and never a part of one.
func writeState(file string, s state) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	// In the same folder, because a rename across file systems is none.
	dir := filepath.Dir(file)
	temporary, err := writeTemporary(dir, filepath.Base(file)+".*.tmp", append(data, '\n'))
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, file); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncFolder(dir)
}

// writeTemporary writes data to a new file in dir and waits until it is on disk.
func writeTemporary(dir, pattern string, data []byte) (name string, err error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		// Without this the rename may reach the disk before the data.
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}
