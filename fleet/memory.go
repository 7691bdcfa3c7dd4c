package fleet

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// A Memory is an [Engine] that keeps its state in the process. Throttlers share that state
// if they are made on the same Memory. Use it in tests, and in programs that may grow beyond
// one process later.
type Memory struct {
	Base

	mu sync.Mutex // guards the fields below
	// How far Step has moved the clock.
	// +checklocks:mu
	shift time.Duration
	// +checklocks:mu
	keys map[string]*machine.State
	// +checklocks:mu
	listeners map[*func(machine.Wake)]struct{}
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{
		keys:      map[string]*machine.State{},
		listeners: map[*func(machine.Wake)]struct{}{},
	}
}

// Claim implements [Engine].
func (m *Memory) Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error) {
	if err := ctx.Err(); err != nil {
		return machine.Reply{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stateLocked(key).Claim(m.nowLocked(), c)
}

// Finish implements [Engine].
func (m *Memory) Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error) {
	if err := ctx.Err(); err != nil {
		return machine.Finished{}, err
	}
	finished, listeners, err := m.finish(key, f)
	if err == nil && !finished.Stale {
		for _, wake := range listeners {
			wake(finished.Wake(key))
		}
	}
	return finished, err
}

func (m *Memory) finish(key string, f machine.Finish) (machine.Finished, []func(machine.Wake), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	finished, err := m.stateLocked(key).Finish(m.nowLocked(), f)
	listeners := make([]func(machine.Wake), 0, len(m.listeners))
	for wake := range m.listeners {
		listeners = append(listeners, *wake)
	}
	return finished, listeners, err
}

// Renew implements [Engine].
func (m *Memory) Renew(ctx context.Context, key string, token int64) (held bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stateLocked(key).Renew(m.nowLocked(), token), nil
}

// Due implements [Engine].
func (m *Memory) Due(ctx context.Context, held []string) (machine.Due, error) {
	if err := ctx.Err(); err != nil {
		return machine.Due{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	asked := make(map[string]bool, len(held))
	for _, key := range held {
		asked[key] = true
	}
	answer := machine.Due{Next: machine.None, Now: m.nowLocked()}
	for key, state := range m.keys { // in random order
		switch due, pending := state.Due(); {
		case !pending:
		case due > answer.Now:
			if next := due.Sub(answer.Now); answer.Next == machine.None || next < answer.Next {
				answer.Next = next
			}
		default:
			answer.Oldest = max(answer.Oldest, answer.Now.Sub(due))
			answer.Count++
			if len(answer.Keys) < machine.MaxDue || asked[key] {
				answer.Keys = append(answer.Keys, key)
			}
		}
	}
	return answer, nil
}

// Listen implements [Engine].
func (m *Memory) Listen(ctx context.Context, wake func(machine.Wake)) error {
	m.mu.Lock()
	m.listeners[&wake] = struct{}{}
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	delete(m.listeners, &wake)
	m.mu.Unlock()
	return ctx.Err()
}

// Inspect implements [Engine].
func (m *Memory) Inspect(ctx context.Context, key string) (machine.State, error) {
	if err := ctx.Err(); err != nil {
		return machine.State{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var s machine.State
	if stored := m.keys[key]; stored != nil {
		s = *stored
		s.IDs = slices.Clone(s.IDs)
	}
	return s, nil
}

// Forget implements [Engine].
func (m *Memory) Forget(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, key)
	return nil
}

// Part implements [Engine].
func (m *Memory) Part(string) int { return 0 }

// Step moves the engine's clock by d, as if somebody had set the clock of a store. It is for
// tests.
func (m *Memory) Step(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shift += d
}

// Wipe deletes every key, like the failure of a store that is not durable. It is for tests.
func (m *Memory) Wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.keys)
}

// stateLocked returns the state of key.
//
// +checklocks:m.mu
func (m *Memory) stateLocked(key string) *machine.State {
	s := m.keys[key]
	if s == nil {
		s = &machine.State{}
		m.keys[key] = s
	}
	return s
}

// nowLocked reads the engine's clock.
//
// +checklocks:m.mu
func (m *Memory) nowLocked() machine.Time {
	return machine.Time(time.Now().Add(m.shift).UnixMicro())
}
