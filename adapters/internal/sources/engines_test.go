package sources_test

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/internal/sources"
	"github.com/throttle-go/throttle/fleet"
)

// A fakeEngine has a given Health. Its Health method also calls meanwhile.
type fakeEngine struct {
	health    fleet.Health
	meanwhile func()
}

func (f *fakeEngine) Health() fleet.Health {
	if f.meanwhile != nil {
		f.meanwhile()
	}
	return f.health
}

// engineSums returns the sums of engines, sorted by name.
func engineSums(engines *sources.Engines) []sources.EngineSum {
	return slices.SortedFunc(slices.Values(engines.Sums()), func(a, b sources.EngineSum) int { return strings.Compare(a.Name, b.Name) })
}

func TestEngines_Sums(t *testing.T) {
	var engines sources.Engines
	require.Empty(t, engines.Sums())
	engines.Add("none", nil)()
	engines.Add("none", (*fleet.Memory)(nil))
	engines.Add("memory", fleet.NewMemory())
	first := &fakeEngine{health: fleet.Health{
		Throttlers: 1, InFlight: 2, Waiting: 3, DueKeys: 4, OldestDue: time.Minute,
	}}
	remove := engines.Add("p\xff", first)
	removeAgain := engines.Add("p\xfe", first)
	engines.Add("p\ufffd", &fakeEngine{health: fleet.Health{
		Throttlers: 10, InFlight: 20, Waiting: 30, Unreachable: errors.New("refused"), DueKeys: 40, OldestDue: time.Second,
	}})
	memory := sources.EngineSum{Name: "memory"}
	require.Equal(t, []sources.EngineSum{memory, {
		Name: "p\ufffd", Throttlers: 12, InFlight: 24, Waiting: 36, Unreachable: 1, DueKeys: 48, OldestDue: time.Minute,
	}}, engineSums(&engines))
	remove()
	remove()
	require.Equal(t, []sources.EngineSum{memory, {
		Name: "p\ufffd", Throttlers: 11, InFlight: 22, Waiting: 33, Unreachable: 1, DueKeys: 44, OldestDue: time.Minute,
	}}, engineSums(&engines))
	removeAgain()
	require.Equal(t, []sources.EngineSum{memory, {
		Name: "p\ufffd", Throttlers: 10, InFlight: 20, Waiting: 30, Unreachable: 1, DueKeys: 40, OldestDue: time.Second,
	}}, engineSums(&engines))
}

func TestEngines_NoLockHeld(t *testing.T) {
	var engines sources.Engines
	engine := &fakeEngine{}
	remove := engines.Add("redis", engine)
	engine.meanwhile = func() {
		engines.Add("another", &fakeEngine{})()
		remove()
		engines.Sums()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		engines.Sums()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		require.Fail(t, "the engine waits for itself")
	}
	require.Empty(t, engines.Sums())
}

func TestEngines_RemovedEngineIsCollected(t *testing.T) {
	var engines sources.Engines
	add := func() (func(), weak.Pointer[fleet.Memory]) {
		engine := fleet.NewMemory()
		return engines.Add("memory", engine), weak.Make(engine)
	}
	remove, gone := add()
	require.Len(t, engines.Sums(), 1)
	remove()
	require.Eventually(t, func() bool {
		runtime.GC()
		return gone.Value() == nil
	}, 10*time.Second, time.Millisecond)
	remove()
	require.Empty(t, engines.Sums())
}

func TestEngines_Concurrent(t *testing.T) {
	const goroutines, rounds = 4, 200
	var engines sources.Engines
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range rounds {
				remove := engines.Add("redis", &fakeEngine{health: fleet.Health{Throttlers: 1}})
				all.Go(remove)
				remove()
			}
		})
		all.Go(func() {
			for range rounds {
				for _, sum := range engines.Sums() {
					assert.LessOrEqual(t, sum.Throttlers, goroutines)
				}
			}
		})
	}
	all.Wait()
	require.Empty(t, engines.Sums())
}
