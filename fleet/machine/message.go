package machine

import "time"

// This file holds the messages between a replica and an engine. Durations are whole
// microseconds.

// A Time is an instant on the store's clock, in microseconds since the Unix epoch. 0
// is none.
type Time int64

// Add returns t moved by d, which loses what is less than a microsecond.
func (t Time) Add(d time.Duration) Time { return t + Time(d/time.Microsecond) }

// Sub returns the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Microsecond }

// None is the Age of a claim that is not for a call.
const None time.Duration = -1

// A Claim asks for the right to run, and registers calls.
type Claim struct {
	// ID is unlike that of any other claim. A claim that is sent again keeps it.
	ID string

	// New is set if a call is not known to be covered by a pending generation.
	New bool

	// Age is how long ago the newest call was made that is not known to be covered, as
	// the claim was first sent, or None.
	Age time.Duration

	// By is the store's time after which the claim only registers; 0 if it is not to be
	// granted at all.
	By Time

	// Seen is the highest token that the replica has seen.
	Seen int64

	// Spacing is the least time from a grant of this claim to the next: the policy's
	// interval and the guard. At least 0.
	Spacing time.Duration

	// Lease is how long a grant of this claim, and each renewal, holds. More than 0.
	Lease time.Duration

	// Policy is a short text that says the replica's policy. It is kept with a grant,
	// for others to compare with their own.
	Policy string
}

// A Verdict says what became of a claim.
type Verdict uint8

// The verdicts on a claim.
const (
	// Served: no call is pending; a run that has ended covered them all.
	Served Verdict = iota + 1

	// Granted: the replica shall run.
	Granted

	// Deferred: calls are pending, and a run is not due yet or in another's hands.
	Deferred
)

// A Reply answers a claim.
type Reply struct {
	Verdict Verdict

	// Token is the grant's, 0 without one.
	Token int64

	// Failures is with a grant how many runs in a row have failed before it.
	Failures int

	// Hold is how long calls made since the claim was sent join what is pending: until
	// then no run starts. 0 unless deferred.
	Hold time.Duration

	// Poll is in how long the key is due. 0 unless deferred.
	Poll time.Duration

	// Generation is the newest generation, and Acknowledged the newest that a run which
	// has ended covered.
	Generation   int64
	Acknowledged int64

	// Last is how the last run ended that the store knows of; zero if there was none.
	Last Ending

	// Policy is that of the grant before, empty if there was none.
	Policy string

	// Now is the store's time.
	Now Time
}

// An Ending is how a run ended. The run covered the generations above From, up to
// Through.
type Ending struct {
	From, Through int64
	Token         int64
	Outcome       Outcome
}

// An Outcome is what became of a run.
type Outcome struct {
	Failed  bool
	Message string // a short text if it failed
}

// A Finish ends a grant.
type Finish struct {
	Token int64

	// Ran is set if the callback was entered. Otherwise the grant is given back: what
	// it took is pending again. The fields below are then zero.
	Ran     bool
	Outcome Outcome

	// Again makes a run pending, a retry.
	Again bool

	// Delay is how long from now no run starts, if that is longer than the spacing.
	Delay time.Duration

	// Failures is how many runs in a row have failed, for the next grant's reply.
	Failures int
}

// A Finished answers a finish.
type Finished struct {
	// Stale is set if the token's grant is not the key's any more: its lease was over
	// and another was granted, it has been finished, or the store lost it. Nothing was
	// changed.
	Stale bool

	// Pending is set if calls or a retry are pending, and Poll is in how long a run is
	// due for them.
	Pending bool
	Poll    time.Duration

	// Now is the store's time.
	Now Time
}

// A Due is a part of an engine's index: the keys that are due.
type Due struct {
	Keys []string

	// More is set if others are due beside Keys.
	More bool

	// Next is in how long the next key is due that is not yet; None if there is none, or
	// if More is set.
	Next time.Duration

	// Now is the store's time.
	Now Time
}

// A Wake tells that a run of Key has ended, and in how long the next is due; None if
// nothing is pending, 0 too if a call was made by other means than a claim.
type Wake struct {
	Key  string
	Poll time.Duration
}

// Wake returns what tells of the finish of key's run that f answers.
func (f Finished) Wake(key string) Wake {
	if !f.Pending {
		return Wake{Key: key, Poll: None}
	}
	return Wake{Key: key, Poll: f.Poll}
}
