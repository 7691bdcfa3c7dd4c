//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// killWithChildren puts the command into a process group of its own, all of which its
// context's end kills: to kill the go command does not end the test.
func killWithChildren(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
}
