package throttledebug

import "time"

// This file holds what a look at throttles tells: as JSON, and to the page.

// A Page is what the Handler tells with format=json. Its times are in RFC 3339, UTC to
// the millisecond, and left out if there is none; its durations are in seconds. Texts
// are UTF-8, and cut off where they are long.
type Page struct {
	Now       time.Time  `json:"now"`       // when the look was begun
	Throttles []Throttle `json:"throttles"` // in the order in which Handler was given them
}

// A Throttle is a Throttler, a Group or a Coalescer.
type Throttle struct {
	Kind   string `json:"kind"`           // throttler, group or coalescer
	Name   string `json:"name,omitempty"` // what throttle.WithName gave
	Policy string `json:"policy"`         // in words
	Status

	Runs     uint64   `json:"runs"`
	Failures uint64   `json:"failures"` // panics included
	Panics   uint64   `json:"panics"`
	Dropped  uint64   `json:"dropped"`           // calls, for want of a trailing edge
	Calls    uint64   `json:"calls"`             // 0 unless they are counted
	Duration float64  `json:"duration"`          // of the last run that has finished
	Failure  *Failure `json:"failure,omitempty"` // the last that is known

	Recent []Run `json:"recent,omitempty"` // what a Recorder has seen, the latest last
	Keys   *Keys `json:"keys,omitempty"`   // of a Group

	strip time.Duration // how much of the past is drawn
}

// A Status says what a throttle, or a key of a Group, is up to.
type Status struct {
	State     State     `json:"state"`
	Next      time.Time `json:"next,omitzero"`       // when the next run is due; while one is active, at the earliest
	LastStart time.Time `json:"last_start,omitzero"` // of the last run, the active one included
}

// A State is what a throttle is up to. Of a Group it is that of the busiest key.
type State string

// The states. Where several hold, the first is told.
const (
	Running State = "running" // a run is active
	Waiting State = "waiting" // a call waits for its run, or a failed run for its retry
	Closed  State = "closed"  // no run starts any more
	Idle    State = "idle"
)

// Keys is what a Group holds.
type Keys struct {
	Held     int    `json:"held"`     // how many keys
	Query    string `json:"query"`    // what is searched for, in upper or lower case
	Matching int    `json:"matching"` // how many keys contain it
	First    []Key  `json:"first"`    // of these the first, in the order of their text: 50 at most
}

// A Key is a key of a Group.
type Key struct {
	Key string `json:"key"` // as fmt.Sprint has it; a pointer without a String method as an address
	Status
}

// A Run is a run that has finished. What it does not explain is as in [throttle.Run].
type Run struct {
	Key      string    `json:"key,omitempty"` // in a Group
	Cause    string    `json:"cause"`
	Attempt  int       `json:"attempt"`
	Asked    time.Time `json:"asked,omitzero"`
	Due      time.Time `json:"due"`
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	Duration float64   `json:"duration"`
	Calls    uint64    `json:"calls,omitempty"`
	Result   string    `json:"result"`
	Error    string    `json:"error,omitempty"`
}

// A Failure is the error of a run.
type Failure struct {
	Message   string    `json:"message"`
	Type      string    `json:"type"`             // in Go
	Causes    []Cause   `json:"causes,omitempty"` // the errors that it wraps, the outer ones first: 16 at most
	Stack     string    `json:"stack,omitempty"`  // of a panic
	At        time.Time `json:"at,omitzero"`      // when the run ended, if a Recorder knows
	Key       string    `json:"key,omitempty"`    // in a Group, if a Recorder knows
	Recovered bool      `json:"recovered"`        // the last run did not fail
}

// A Cause is an error that another wraps.
type Cause struct {
	Message string `json:"message"`
	Type    string `json:"type"`
}
