//go:build linux

package fleettest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// This file holds the clock that all processes share, and how long to wait.

// patience is how long to wait for what has to come, however busy the machine is: half a
// minute, or what the environment variable FLEETTEST_PATIENCE says.
func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("FLEETTEST_PATIENCE")); err == nil {
		return d
	}
	return 30 * time.Second
}

// now returns the machine's monotonic clock in microseconds. The wall clock, which they
// share too, may be set meanwhile.
func now() int64 {
	const monotonic = 1
	var t syscall.Timespec
	//nolint:gosec // the standard library has no other way to it
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		return 0
	}
	return t.Nano() / int64(time.Microsecond)
}

// offsetVariable names the environment variable that says how far a replica's monotonic
// clock is ahead of the machine's, in microseconds.
const offsetVariable = "FLEETTEST_OFFSET"

// offset returns how far this process's clock is ahead.
func offset() int64 {
	n, err := strconv.ParseInt(os.Getenv(offsetVariable), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// canBeAhead returns why no process can have a monotonic clock that is ahead; nil if one
// can.
func canBeAhead(d time.Duration) error {
	arguments := unshare(d)
	try := exec.Command(arguments[0], append(arguments[1:], "true")...) //nolint:gosec // they are unshare's
	if output, err := try.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

// ahead makes command have a monotonic clock that is d ahead.
func ahead(command *exec.Cmd, d time.Duration) error {
	path, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	command.Path = path
	command.Args = append(unshare(d), command.Args...)
	command.Env = append(command.Env, offsetVariable+"="+strconv.FormatInt(d.Microseconds(), 10))
	return nil
}

// unshare returns the beginning of a command line.
func unshare(d time.Duration) []string {
	seconds := strconv.Itoa(int(d / time.Second))
	return []string{"unshare", "--time", "--monotonic", seconds, "--fork", "--kill-child", "--"}
}
