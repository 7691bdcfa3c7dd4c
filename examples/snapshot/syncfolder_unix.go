//go:build unix

package main

import (
	"errors"
	"os"
)

// syncFolder waits until dir itself is on disk, and with it the names of the
// files in it: a rename is lasting only then.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
