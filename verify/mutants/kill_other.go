//go:build !unix

package main

import "os/exec"

// killWithChildren does nothing where there are no process groups: a test that hangs
// then goes on when the go command has been killed.
func killWithChildren(*exec.Cmd) {}
