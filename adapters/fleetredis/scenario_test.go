//go:build linux

package fleetredis_test

import (
	"testing"

	"github.com/throttle-go/throttle/internal/testkit/fleettest"
)

func TestMain(m *testing.M) { fleettest.Main(m, open) }

var (
	_ fleettest.Store        = (*server)(nil)
	_ fleettest.Store        = (*steppedServer)(nil)
	_ fleettest.ClockStepper = (*steppedServer)(nil)
)

// TestScenarios runs the scenarios of package fleettest, or a few typical ones under -short.
func TestScenarios(t *testing.T) {
	var numbers []int
	if testing.Short() {
		numbers = []int{2, 7, 10, 16}
	}
	forEachServer(t, func(t *testing.T, s *server) { fleettest.Run(t, s, numbers...) })
}

// TestScenarios_ClockSteps runs the scenarios in which the store loses its state, or its clock
// steps. The clock of a real server is the machine's, so these need a server in the test.
func TestScenarios_ClockSteps(t *testing.T) { fleettest.Run(t, newSteppedServer(t), 11, 15) }
