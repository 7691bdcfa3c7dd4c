//go:build linux

package fleettest

import (
	"os"
	"testing"
	"time"
)

// This file holds what a store has to offer.

// A Store is a server of the test's own, empty at first.
type Store interface {
	// Name says what it is.
	Name() string

	// Start starts the server, the first time or after Kill, and waits until it answers.
	Start(t testing.TB)

	// Kill ends all of the server's processes with SIGKILL, and waits for their end. It does
	// nothing if none runs.
	Kill(t testing.TB)

	// Signal sends a signal to all of the server's processes.
	Signal(t testing.TB, s os.Signal)

	// Addr is host and port, the same ones all along.
	Addr() string

	// Wipe makes the server lose all that it holds of fleets.
	Wipe(t testing.TB)

	// FlushScripts makes the server forget what it has prepared: scripts or plans.
	FlushScripts(t testing.TB)

	// Grants returns the server's own record of the grants there were, whatever it has lost
	// since, in the order that it made them in.
	Grants(t testing.TB) []Grant
}

// A Grant is one that a store has recorded.
type Grant struct {
	Key   string
	Token int64
	At    int64 // on the store's clock, in microseconds
}

// A ClockStepper is a [Store] whose clock can be moved.
type ClockStepper interface {
	// Step moves the clock by d from now on.
	Step(t testing.TB, d time.Duration)
}
