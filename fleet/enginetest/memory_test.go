package enginetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/enginetest"
	"github.com/throttle-go/throttle/fleet/machine"
)

func TestRun(t *testing.T) {
	memory := fleet.NewMemory()
	enginetest.Run(t, func(*testing.T) fleet.Engine { return memory })
}

func TestRun_FakeTime(t *testing.T) {
	memory := fleet.NewMemory()
	enginetest.Run(t, func(*testing.T) fleet.Engine { return memory }, enginetest.Within(synctest.Test))
}

func TestRun_ClockSteps(t *testing.T) {
	memory := fleet.NewMemory()
	var shift time.Duration // of the engine's clock
	set := func(now machine.Time) {
		step := now.Sub(machine.Time(time.Now().UnixMicro())) - shift
		shift += step
		memory.Step(step)
	}
	// Time in the bubble stands still between the steps.
	enginetest.Run(t, func(*testing.T) fleet.Engine { return memory },
		enginetest.Within(synctest.Test), enginetest.SetClock(set))
}
