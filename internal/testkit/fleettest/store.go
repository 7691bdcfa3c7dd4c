//go:build linux

package fleettest

import (
	"os"
	"testing"
	"time"
)

// A Store is a server that belongs to one test. It is empty at first.
type Store interface {
	// Name returns the kind of server.
	Name() string

	// Start starts the server, the first time or after Kill, and waits until it answers.
	Start(t testing.TB)

	// Kill kills all of the server's processes with SIGKILL, and waits for their end. It does
	// nothing if none is running.
	Kill(t testing.TB)

	// Signal sends a signal to all of the server's processes.
	Signal(t testing.TB, s os.Signal)

	// Addr returns host and port. They never change.
	Addr() string

	// Wipe deletes all state of fleets.
	Wipe(t testing.TB)

	// FlushScripts makes the server forget its cached scripts, or its plans of statements.
	FlushScripts(t testing.TB)

	// Refuse makes the server answer every change of a state with an error, for want of memory
	// or of rights, or ends that.
	Refuse(t testing.TB, refuse bool)

	// Grants returns the server's own record of all grants, in the order in which it made
	// them. Wipe and Kill must not change the record.
	Grants(t testing.TB) []Grant
}

// A Grant is a grant in a store's record.
type Grant struct {
	Key   string
	Token int64
	At    int64 // on the store's clock, in microseconds
}

// A ClockStepper is a [Store] whose clock a test can move.
type ClockStepper interface {
	// Step moves the clock by d from now on.
	Step(t testing.TB, d time.Duration)
}
