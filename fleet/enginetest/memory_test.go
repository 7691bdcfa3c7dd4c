package enginetest_test

import (
	"context"
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

// A slowStore takes so long for a message that old identifiers go at any message of a sequence.
type slowStore struct{ *fleet.Memory }

func (s slowStore) Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error) {
	s.wait(ctx)
	return s.Memory.Claim(ctx, key, c)
}

func (s slowStore) Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error) {
	s.wait(ctx)
	return s.Memory.Finish(ctx, key, f)
}

func (s slowStore) Renew(ctx context.Context, key string, token int64) (bool, error) {
	s.wait(ctx)
	return s.Memory.Renew(ctx, key, token)
}

func (s slowStore) wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(machine.KeepIDs / 100):
	}
}

func TestRun_SlowStore(t *testing.T) {
	store := slowStore{fleet.NewMemory()}
	enginetest.Run(t, func(*testing.T) fleet.Engine { return store }, enginetest.Within(synctest.Test))
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
