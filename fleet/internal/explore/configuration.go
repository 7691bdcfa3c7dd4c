package explore

import "time"

// A Configuration bounds a search: how many replicas take part, how long things take, and
// how much may go wrong. Its times are in ticks.
type Configuration struct {
	Replicas int           // at most three
	Calls    int           // how many calls are made in all
	Hints    int           // how often a process looks at the index or is woken before all is calm
	Tick     time.Duration // how long a tick is for the store; 0 means a millisecond

	Interval int
	Quiet    int
	MaxWait  int
	Slack    int
	Guard    int
	Lease    int
	Second   Policy // set by SetPolicy
	Local    bool   // RunLocal
	Group    bool   // each process drops its replica as soon as it is idle, as a Group does

	Run      int   // how long a callback takes at most
	Slow     int   // how long a slow message takes at most, each way; others take Guard there and back
	Patience int   // how long a claim is sent again
	Retries  []int // delays that a failed run may ask for
	Step     int   // how far the store's clock steps

	Faults int            // how many faults happen in all
	Of     [KindCount]int // how many faults of each kind may happen

	// Once all is calm, a message takes so long each way, together at most Guard.
	There, Back int
}

// A Policy is the part of a throttler's policy that SetPolicy changes.
type Policy struct{ Interval, Guard int }

// spacing returns the least time between grants.
func (p Policy) spacing() int { return p.Interval + p.Guard }

// A Kind is a kind of fault, or of another event with a budget.
type Kind uint8

// The kinds.
const (
	noKind    Kind = iota
	Loss           // a message or its answer is lost
	Copy           // a message arrives once more, at any time
	Slowness       // a message or its answer takes longer than Guard allows
	Crash          // a process ends at once
	Pause          // a process does nothing for a while
	Wipe           // the store loses its state
	Rollback       // the store goes back to an earlier state
	Backward       // the store's clock steps back
	Forward        // the store's clock steps forward
	Failure        // a callback fails
	Canceling      // Cancel
	Closing        // Close
	Draining       // Shutdown
	Steering       // SetPolicy
	Filling        // a process has as many runs of other keys as it may have, for a while
	KindCount
)

func (k Kind) String() string {
	return [KindCount]string{
		noKind: "no fault", Loss: "loss", Copy: "copy", Slowness: "slowness", Crash: "crash", Pause: "pause",
		Wipe: "wipe", Rollback: "rollback", Backward: "step back", Forward: "step forward",
		Failure: "failure", Canceling: "Cancel", Closing: "Close", Draining: "Shutdown", Steering: "SetPolicy", Filling: "full",
	}[k]
}
