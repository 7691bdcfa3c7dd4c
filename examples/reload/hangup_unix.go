//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

const hasHangup = true

// notifyHangup makes SIGHUP come to c.
func notifyHangup(c chan<- os.Signal) { signal.Notify(c, syscall.SIGHUP) }

// sendHangup sends SIGHUP to this process.
func sendHangup() error { return syscall.Kill(os.Getpid(), syscall.SIGHUP) }
