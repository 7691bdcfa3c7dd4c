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

// patience returns how long to wait for something that must come, however busy the machine
// is: half a minute, or the value of the environment variable FLEETTEST_PATIENCE.
func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("FLEETTEST_PATIENCE")); err == nil {
		return d
	}
	return 30 * time.Second
}

// eventually waits until done returns true, and reports whether it does.
func eventually(done func() bool) bool {
	for end := time.Now().Add(patience()); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}

// now returns the machine's monotonic clock in microseconds. All processes share it. They
// share the wall clock too, but somebody may set that during a test.
func now() int64 {
	const monotonic = 1
	var t syscall.Timespec
	//nolint:gosec // the standard library has no other way
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

// canBeAhead reports whether a process can have a monotonic clock that is ahead: it returns
// nil, or the reason why not.
func canBeAhead(d time.Duration) error {
	arguments := unshare(d)
	try := exec.Command(arguments[0], append(arguments[1:], "true")...) //nolint:gosec // unshare builds the arguments
	if output, err := try.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

// ahead changes command so that its monotonic clock is d ahead.
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

// unshare returns the beginning of a command line that shifts the clock of a command.
func unshare(d time.Duration) []string {
	seconds := strconv.Itoa(int(d / time.Second))
	return []string{"unshare", "--time", "--monotonic", seconds, "--fork", "--kill-child", "--"}
}
