package throttledebug

import (
	"time"

	"github.com/throttle-go/throttle"
)

// A Page is the Handler's response to format=json. Times are in RFC 3339, in UTC and rounded
// to the millisecond; a zero time is left out. Durations are in seconds. Texts are UTF-8,
// and long ones are cut off.
type Page struct {
	Now       time.Time  `json:"now"`               // when the Handler started to read the throttles
	Throttles []Throttle `json:"throttles"`         // in the order of the Handler's options
	Engines   []Health   `json:"engines,omitempty"` // likewise
}

// A Throttle is a Throttler, a Group, a Coalescer or a KeyedCoalescer, or a Throttler or Group
// of a fleet.
type Throttle struct {
	Kind   string `json:"kind"`           // throttler, group, coalescer, keyed coalescer, fleet throttler or fleet group
	Name   string `json:"name,omitempty"` // as given with throttle.WithName; that of a fleet throttler may be its key
	Policy string `json:"policy"`         // in words
	Status

	Runs     uint64   `json:"runs"`
	Failures uint64   `json:"failures"` // panics included
	Panics   uint64   `json:"panics"`
	Dropped  uint64   `json:"dropped"`           // calls dropped because there is no trailing edge
	Refused  uint64   `json:"refused,omitempty"` // calls refused because of throttle.WithMaxPending
	Calls    uint64   `json:"calls"`             // 0 unless calls are counted
	Duration float64  `json:"duration"`          // of the last finished run
	Failure  *Failure `json:"failure,omitempty"` // the last known failure

	Recent []Run   `json:"recent,omitempty"` // from a Recorder, the latest last
	Keys   *Keys   `json:"keys,omitempty"`   // of a throttle with keys
	Counts *Counts `json:"counts,omitempty"` // of a throttle of a fleet

	policy throttle.Policy
	busy   map[string]Status // of the keys that ran most often, as far as they are held
	lanes  []lane            // of the same keys
}

// A Status is the current state of a throttle, or of a key.
type Status struct {
	State     State     `json:"state"`
	Next      time.Time `json:"next,omitzero"`       // when the next run is due; while a run is active, the earliest possible time; zero while paused; of a throttle of a fleet, when it asks the store next
	LastStart time.Time `json:"last_start,omitzero"` // start of the last run, or of the active one
	Batches   int       `json:"batches,omitempty"`   // batches that wait; 0 without values
	Values    int       `json:"values,omitempty"`    // calls whose values wait in these batches

	asks    bool // Next is when a throttle of a fleet asks the store
	pending bool // a call waits for its run, or a failed run for its retry
	paused  bool // no run starts until Resume, even if the State is Running
	closed  bool // calls are refused, even if the State is another one
}

// A State says what a throttle is doing. With keys, it is that of the busiest key.
type State string

// The states. If several apply, the first one wins.
const (
	Running State = "running" // a run is active
	Paused  State = "paused"  // no run starts until Resume
	Waiting State = "waiting" // a call waits for its run, or a failed run for its retry
	Closed  State = "closed"  // no run starts any more
	Idle    State = "idle"
)

// Keys describes the keys of a Group or KeyedCoalescer, or of a Group of a fleet.
type Keys struct {
	Held     int    `json:"held"`     // number of keys
	Query    string `json:"query"`    // search text; upper and lower case are the same
	Matching int    `json:"matching"` // number of keys that contain the search text
	First    []Key  `json:"first"`    // the first 50 matching keys, in natural order: item-2 before item-10
}

// A Key is a key of a throttle with keys.
type Key struct {
	Key string `json:"key"` // as fmt.Sprint prints it; an address for a pointer without a String method
	Status
}

// Counts are how often something has happened to a throttle of a fleet. Its fields have the same
// meaning as in [fleet.Counts].
type Counts struct {
	// Claims, by what the store answered.
	Served   uint64 `json:"served"`
	Granted  uint64 `json:"granted"`
	Deferred uint64 `json:"deferred"`

	Failed     uint64 `json:"failed"` // attempts to send a claim or a finish
	Late       uint64 `json:"late"`   // grants
	LocalRuns  uint64 `json:"local_runs"`
	LostLeases uint64 `json:"lost_leases"`
}

// A Health is what the process sees of an engine. Its fields have the same meaning as in
// [fleet.Health].
type Health struct {
	Name        string  `json:"name,omitempty"` // as given to Engine
	Throttlers  int     `json:"throttlers"`
	InFlight    int     `json:"in_flight"`             // messages
	Waiting     int     `json:"waiting"`               // messages
	Unreachable string  `json:"unreachable,omitempty"` // why messages do not reach the store, or a part of it
	DueKeys     int     `json:"due_keys"`              // whether or not this process holds them
	OldestDue   float64 `json:"oldest_due"`            // how long the first of them had been due
}

// A Run is a finished run. Its fields have the same meaning as in [throttle.Run].
type Run struct {
	Key      string    `json:"key,omitempty"` // of the run, if there are keys
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

	retry time.Time // when it will be repeated, as things stood at its end
}

// A Failure is the error of a run.
type Failure struct {
	Message   string    `json:"message"`
	Type      string    `json:"type"`             // the Go type
	Causes    []Cause   `json:"causes,omitempty"` // wrapped errors, the outer ones first: at most 16
	Stack     string    `json:"stack,omitempty"`  // of a panic
	At        time.Time `json:"at,omitzero"`      // when the run ended, if a Recorder saw it
	Key       string    `json:"key,omitempty"`    // of the run, if there are keys and a Recorder saw the run
	Recovered bool      `json:"recovered"`        // the last run did not fail
}

// A Cause is an error that another wraps.
type Cause struct {
	Message string `json:"message"`
	Type    string `json:"type"`
}
