package sources

import (
	"maps"
	"sync"
	"time"

	"github.com/throttle-go/throttle/fleet"
)

// An Engine is any [fleet.Engine]: all of them embed a [fleet.Base].
type Engine interface {
	Health() fleet.Health
}

// An EngineSum adds up the Health of the engines of one name.
type EngineSum struct {
	Name        string // as Valid returns it
	Throttlers  int
	InFlight    int
	Waiting     int
	Unreachable int // engines that cannot reach their store, or a part of it
	DueKeys     int
	OldestDue   time.Duration // the longest
}

// Engines is a set of engines. The zero Engines is empty and ready to use. Its methods may
// be called concurrently. They call an engine's Health with no lock held.
type Engines struct {
	mu sync.Mutex // guards the field below

	// By a pointer to the valid name. It tells engines of one name apart.
	// +checklocks:mu
	added map[*string]Engine
}

// Add adds engine under name until remove is called. It ignores an engine that IsNil.
// remove may be called several times, and concurrently.
func (e *Engines) Add(name string, engine Engine) (remove func()) {
	if IsNil(engine) {
		return func() {}
	}
	name = Valid(name)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.added == nil {
		e.added = make(map[*string]Engine)
	}
	e.added[&name] = engine
	return func() { e.remove(&name) }
}

// remove removes the engine that was added under this very pointer.
func (e *Engines) remove(name *string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.added, name)
}

// Sums returns the sum of each name, in no order.
func (e *Engines) Sums() []EngineSum {
	e.mu.Lock()
	added := maps.Clone(e.added)
	e.mu.Unlock()
	byName := make(map[string]EngineSum)
	for name, engine := range added {
		byName[*name] = byName[*name].with(engine.Health())
	}
	sums := make([]EngineSum, 0, len(byName))
	for name, sum := range byName {
		sum.Name = name
		sums = append(sums, sum)
	}
	return sums
}

// with returns s plus the Health of one more engine.
func (s EngineSum) with(h fleet.Health) EngineSum {
	s.Throttlers += h.Throttlers
	s.InFlight += h.InFlight
	s.Waiting += h.Waiting
	if h.Unreachable != nil {
		s.Unreachable++
	}
	s.DueKeys += h.DueKeys
	s.OldestDue = max(s.OldestDue, h.OldestDue)
	return s
}
