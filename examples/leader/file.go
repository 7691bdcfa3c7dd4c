package main

import (
	"context"
	"errors"
	"os"
	"time"
)

// A fileElection elects by a lock of a file, among the processes of one machine. The
// system unlocks the file when the process ends, however it ends.
type fileElection struct {
	path string
	wait time.Duration // between two tries to lock the file
	file *os.File      // the garbage collector would close, and so unlock, a file without a reference
}

func newFileElection(path string) *fileElection {
	return &fileElection{path: path, wait: 20 * time.Millisecond}
}

// patience returns how long a sync may take. Nobody else takes the lock of a process that
// lives, so this is only the longest time for a handover.
func (*fileElection) patience() time.Duration { return 10 * time.Second }

func (e *fileElection) run(ctx context.Context, lead func(context.Context) error) error {
	var err error
	e.file, err = os.OpenFile(e.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	locked, err := e.lock(ctx)
	if !locked {
		return errors.Join(err, e.file.Close())
	}
	if err := lead(ctx); err != nil {
		return err // the end of the process unlocks the file
	}
	// Do not remove the file: a replica that has opened the removed one, and another with a
	// new one, would both lead.
	return e.file.Close()
}

// lock waits until it has locked the file, or ctx ends. The system could wait as well, but
// not for ctx.
func (e *fileElection) lock(ctx context.Context) (locked bool, err error) {
	for {
		if locked, err := tryLock(e.file); locked || err != nil {
			return locked, err
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-time.After(e.wait):
		}
	}
}
