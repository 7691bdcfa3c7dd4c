package main

import (
	"maps"
	"sync"
	"time"
)

// A state is the content of the server's memory and of a snapshot.
type state struct {
	Changes  uint64            `json:"changes"`
	Counters map[string]uint64 `json:"counters"`
}

func (s state) clone() state { return state{s.Changes, maps.Clone(s.Counters)} }

func (s state) equal(other state) bool {
	return s.Changes == other.Changes && maps.Equal(s.Counters, other.Counters)
}

// A store holds the current state.
type store struct {
	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	current state
	// +checklocks:mu
	changed time.Time // the first change since the last take; zero if there was none
}

// increment changes the state, and returns the counter's new value.
func (s *store) increment(name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.Changes++
	s.current.Counters[name]++
	if s.changed.IsZero() {
		s.changed = time.Now()
	}
	return s.current.Counters[name]
}

// state returns a copy of the current state.
func (s *store) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.clone()
}

// take returns a copy of the current state, and the time of the first change
// since the last take; zero if there was none.
func (s *store) take() (current state, changed time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed, s.changed = s.changed, time.Time{}
	return s.current.clone(), changed
}
