//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// tryLock fails: there is no flock here.
func tryLock(*os.File) (locked bool, err error) {
	return false, fmt.Errorf("locking a file on %s: %w (use -election lease)", runtime.GOOS, errors.ErrUnsupported)
}
