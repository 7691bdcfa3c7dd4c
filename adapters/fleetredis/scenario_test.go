//go:build linux

package fleetredis_test

import (
	"testing"

	"github.com/throttle-go/throttle/internal/testkit/fleettest"
)

// This file runs the scenarios that a fleet has to get through.

func TestMain(m *testing.M) { fleettest.Main(m, open) }

var (
	_ fleettest.Store        = (*server)(nil)
	_ fleettest.Store        = (*steppedServer)(nil)
	_ fleettest.ClockStepper = (*steppedServer)(nil)
)

func TestScenarios(t *testing.T) {
	forEachServer(t, func(t *testing.T, s *server) { fleettest.Run(t, s) })
}

// TestScenariosOfAClockThatSteps runs those in which the store's state or its clock is not
// what it was: the clock of a real server is the machine's.
func TestScenariosOfAClockThatSteps(t *testing.T) { fleettest.Run(t, newSteppedServer(t), 11, 15) }
