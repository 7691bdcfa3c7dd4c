//go:build !unix

package main

import (
	"errors"
	"os"
)

const hasHangup = false

// notifyHangup does nothing: there is no SIGHUP here.
func notifyHangup(chan<- os.Signal) {}

func sendHangup() error { return errors.ErrUnsupported }
