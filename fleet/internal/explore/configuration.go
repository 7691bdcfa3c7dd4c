package explore

import "time"

// This file holds what a search is told: who takes part, how long things take, and
// how much may go wrong.

// A Configuration bounds a search. Its times are in ticks.
type Configuration struct {
	Replicas int           // at most three
	Calls    int           // that are made in all
	Hints    int           // how often somebody looks at the index or is woken, before all is calm
	Tick     time.Duration // how long a tick is for the store; a millisecond if it is 0

	Interval int
	Guard    int
	Lease    int
	Second   Policy // what SetPolicy sets
	Local    bool   // RunLocal

	Run      int   // how long a callback takes at most
	Slow     int   // how long a slow message takes at most, each way; others take Guard there and back
	Patience int   // for how long a claim is sent again
	Retries  []int // delays that a failed run asks for
	Step     int   // how far the store's clock is stepped

	Faults int            // that happen in all
	Of     [KindCount]int // how many of a kind

	// Once all is calm a message takes as long each way, together at most Guard.
	There, Back int
}

// A Policy is what SetPolicy changes.
type Policy struct{ Interval, Guard int }

// spacing is the least time between grants.
func (p Policy) spacing() int { return p.Interval + p.Guard }

// A Kind is a kind of fault, or of what else a budget limits.
type Kind uint8

// The kinds.
const (
	noKind    Kind = iota
	Loss           // a message or its answer is lost
	Copy           // a message arrives once more, at any time
	Slowness       // a message or its answer takes longer than Guard allows for
	Crash          // a process ends at once
	Pause          // a process does nothing for a while
	Wipe           // the store loses its state
	Rollback       // the store goes back to a state of before
	Backward       // the store's clock is stepped back
	Forward        // the store's clock is stepped forward
	Failure        // a callback fails
	Canceling      // Cancel
	Closing        // Close
	Draining       // Shutdown
	Steering       // SetPolicy
	KindCount
)

func (k Kind) String() string {
	return [KindCount]string{
		noKind: "no fault", Loss: "loss", Copy: "copy", Slowness: "slowness", Crash: "crash", Pause: "pause",
		Wipe: "wipe", Rollback: "rollback", Backward: "step back", Forward: "step forward",
		Failure: "failure", Canceling: "Cancel", Closing: "Close", Draining: "Shutdown", Steering: "SetPolicy",
	}[k]
}
