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

// A snapshotter writes snapshots of a store. Its write method is the callback of a
// throttler, whose runs never overlap: fields that only write uses need no lock. The
// store needs one, since requests change it meanwhile.
type snapshotter struct {
	store *store
	file  string

	unsaved     time.Time     // first change that is not in a snapshot yet; zero if there is none
	longestWait time.Duration // from a change until it was on disk
}

// write writes a snapshot of the store.
func (s *snapshotter) write() error {
	// The copy is made under the store's mutex, the slow work without it.
	current, changed := s.store.take()
	if s.unsaved.IsZero() {
		s.unsaved = changed // otherwise the last write failed, and its change is older
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

// readState returns the state in file, empty if there is no file.
func readState(file string) (state, error) {
	s := state{Counters: map[string]uint64{}}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	// Be strict: another program's file is no snapshot, and must not be replaced.
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

// writeState replaces file with one that holds s. Even if the machine crashes, there is
// either the whole old file or the whole new one.
func writeState(file string, s state) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	// In the same folder, since a rename works only within a file system.
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
