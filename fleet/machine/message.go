package machine

import "time"

// A Time is an instant on the store's clock, in microseconds since the Unix epoch. Zero
// means no time.
type Time int64

// Add returns the time t+d, with d truncated to whole microseconds.
func (t Time) Add(d time.Duration) Time { return t + Time(d/time.Microsecond) }

// Sub returns the duration t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Microsecond }

// None is the Age of a claim that is not for a call.
const None time.Duration = -1

// A Claim asks for the right to run, and registers calls. Its durations are whole
// microseconds, like those of all messages.
type Claim struct {
	// ID differs from that of every other claim. A claim that is sent again keeps its ID.
	ID string

	// New is set if a call is not known to be covered by a pending generation.
	New bool

	// Age is how long before the claim was first sent the newest call was made that is
	// not known to be covered. It is None if there is no such call. If New is set, it has
	// no effect without Quiet.
	Age time.Duration

	// First is how long before the claim was first sent the oldest call was made that New
	// is set for. It has no effect without MaxWait.
	First time.Duration

	// By is the store's time after which the store registers the claim but does not grant
	// it. If By is 0, the store never grants the claim.
	By Time

	// Seen is the highest token that the replica has seen.
	Seen int64

	// Spacing is the least time from a grant of this claim to the next grant: the
	// policy's interval plus the guard. It is at least 0.
	Spacing time.Duration

	// Quiet is how long after the newest call no run may start, and MaxWait how long after
	// the first call that no grant has taken Quiet may postpone the run. Without Quiet,
	// calls do not postpone a run; without MaxWait, there is no limit.
	Quiet, MaxWait time.Duration

	// Lease is how long a grant of this claim, and each renewal, holds. It is more than 0.
	Lease time.Duration

	// Policy describes the replica's policy in a short text. The store keeps it with a
	// grant, so that other replicas can compare it with their own.
	Policy string
}

// A Verdict is the store's decision about a claim.
type Verdict uint8

// The verdicts on a claim.
const (
	// Served means that no call is pending: runs that have ended covered them all.
	Served Verdict = iota + 1

	// Granted means that the replica must run.
	Granted

	// Deferred means that calls are pending, but no run is due yet or another replica
	// holds the grant.
	Deferred
)

// A Reply answers a claim.
type Reply struct {
	Verdict Verdict

	// Token is the token of the grant, and 0 without a grant.
	Token int64

	// Failures is how many runs in a row have failed before this grant. It is 0 without a
	// grant.
	Failures int

	// Hold is how long after the claim was sent new calls still join what is pending: no
	// run starts before that. It is 0 unless the claim was deferred.
	Hold time.Duration

	// Poll is the time until the key is due. It is 0 unless the claim was deferred.
	Poll time.Duration

	// Generation is the newest generation. Acknowledged is the newest generation that a
	// finished run covered.
	Generation   int64
	Acknowledged int64

	// Last describes the end of the last run that the store knows of. It is zero if there
	// was none.
	Last Ending

	// Policy is the policy of the grant before this claim, and empty if there was none.
	Policy string

	// Now is the store's time.
	Now Time
}

// An Ending describes how a run ended. The run covered the generations above From, up to
// and including Through.
type Ending struct {
	From, Through int64
	Token         int64
	Outcome       Outcome
}

// An Outcome is the result of a run.
type Outcome struct {
	Failed  bool
	Message string // short text of the error if the run failed
}

// A Finish ends a grant.
type Finish struct {
	Token int64

	// Ran is set if the callback was entered. Otherwise the replica gives the grant back:
	// what the grant took is pending again, and the fields below are zero.
	Ran     bool
	Outcome Outcome

	// Again makes a run pending, as a retry.
	Again bool

	// Delay is how long no run may start from now on. It has no effect if it is shorter
	// than the spacing that is left.
	Delay time.Duration

	// Failures is how many runs in a row have failed. The reply to the next grant
	// contains it.
	Failures int
}

// A Finished answers a finish.
type Finished struct {
	// Stale is set if the token's grant is no longer the key's: its lease ended and the
	// store granted another run, the grant was finished before, or the store lost it. The
	// finish then changed nothing.
	Stale bool

	// Pending is set if calls or a retry are pending. Poll is then the time until a run
	// is due for them.
	Pending bool
	Poll    time.Duration

	// Now is the store's time.
	Now Time
}

// MaxDue is how many due keys an engine returns at most, beside those that it is asked for.
const MaxDue = 100

// A Due is what an engine's index says of keys that are due.
type Due struct {
	// Keys are some that are due, in any order; all if they are Count.
	Keys []string

	// Count is how many keys are due.
	Count int

	// Oldest is how long the key has been due that has been due for longest. It is 0 if
	// none is.
	Oldest time.Duration

	// Next is the time until the next key becomes due, or None if there is no such key.
	Next time.Duration

	// Now is the store's time.
	Now Time
}

// A Wake reports that a run of Key has ended. Poll is the time until the next run is due,
// or None if nothing is pending. A Poll of 0 may also mean that a call was made by other
// means than a claim.
type Wake struct {
	Key  string
	Poll time.Duration
}

// Wake returns the Wake to send when f answers the finish of a run of key.
func (f Finished) Wake(key string) Wake {
	if !f.Pending {
		return Wake{Key: key, Poll: None}
	}
	return Wake{Key: key, Poll: f.Poll}
}
