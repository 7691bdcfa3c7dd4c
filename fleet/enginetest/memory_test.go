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

// Here each subtest has a store of its own.
func TestRun_FakeTime(t *testing.T) {
	var (
		memory *fleet.Memory
		last   *testing.T
	)
	open := func(t *testing.T) fleet.Engine {
		if t != last {
			memory, last = fleet.NewMemory(), t
		}
		return memory
	}
	enginetest.Run(t, open, enginetest.Within(synctest.Test))
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
