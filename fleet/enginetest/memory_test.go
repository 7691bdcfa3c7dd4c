package enginetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/enginetest"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the engine in memory to the suite.

func TestMemoryConforms(t *testing.T) {
	memory := fleet.NewMemory()
	enginetest.Run(t, func(*testing.T) fleet.Engine { return memory })
}

func TestMemoryConformsInFakeTime(t *testing.T) {
	memory := fleet.NewMemory()
	enginetest.Run(t, func(*testing.T) fleet.Engine { return memory }, enginetest.Within(synctest.Test))
}

func TestMemoryConformsAsItsClockSteps(t *testing.T) {
	memory := fleet.NewMemory()
	var shift time.Duration // of its clock
	set := func(now machine.Time) {
		step := now.Sub(machine.Time(time.Now().UnixMicro())) - shift
		shift += step
		memory.Step(step)
	}
	// Where time is fake, it stands still between the steps.
	enginetest.Run(t, func(*testing.T) fleet.Engine { return memory },
		enginetest.Within(synctest.Test), enginetest.SetClock(set))
}
