//go:build linux

package fleettest

import (
	"context"
	"errors"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// The test and a replica's process exchange messages, each a line of JSON.

// A command tells a process what to do. The process answers with an event that carries the
// same number.
type command struct {
	Number    int
	Do        action
	Throttler string // its name in the process
	Options   *options
	Behavior  *behavior
	Times     int           // how many calls
	Pace      time.Duration // between two calls
	Within    time.Duration // how long Do and Shutdown may take
}

// An action is something that a process can do.
type action string

const (
	actOpen     action = "open"     // create a throttler with Options
	actGather   action = "gather"   // create a crowd with Options
	actBehave   action = "behave"   // from now on, callbacks do what Behavior says
	actCall     action = "call"     // call Times times
	actRegister action = "register" // call, and wait until the store knows about it
	actCallAll  action = "call all" // call every throttler once, all at the same time
	actDo       action = "do"
	actCancel   action = "cancel"
	actStats    action = "stats"
	actShutdown action = "shutdown"
	actClose    action = "close"
	actQuit     action = "quit" // close all throttlers, and exit
)

// options describe a throttler.
type options struct {
	Address  string // of the store, or of a proxy in front of it
	Key      string
	Interval time.Duration
	Quiet    time.Duration
	MaxWait  time.Duration
	Guard    time.Duration
	Lease    time.Duration
	Retry    time.Duration // after a failed run; 0 for no retry
	Local    bool
	Behavior behavior
	Keys     int  // of a crowd
	First    int  // the number of a crowd's first key
	Group    bool // the crowd is a fleet.Group
}

// asOptions returns o as options of package fleet, with the error handler.
func (o options) asOptions(report func(error)) []fleet.Option {
	opts := []fleet.Option{fleet.WithGuard(o.Guard), fleet.WithLease(o.Lease), fleet.WithErrorHandler(report)}
	if o.Local {
		opts = append(opts, fleet.RunLocal())
	}
	return opts
}

// A behavior describes what a callback does.
type behavior struct {
	Take    time.Duration // how long it takes
	Hold    bool          // instead of Take: go on until the throttler gets another behavior
	Heed    bool          // return when the context ends
	Written string        // address of the resource to write to, with the run's token
	Early   bool          // write at the start, not at the end
	Fail    string        // return an error with this text
	Panic   string        // panic with this value
}

// An event reports something that happened in a process. All instants are on the machine's
// monotonic clock, in microseconds: see now.
type event struct {
	Process   string `json:"-"`
	Kind      kind
	Number    int    // of the command that this event answers
	Throttler string // its name in the process
	Key       string
	At        int64
	Token     int64 // of a run or a lease; 0 if there is none
	Error     errorKind
	Text      string
	Refused   bool // the resource refused the run's write
	Stats     stats
	Crowd     *crowdReport
	Left      []string // the stacks of leaked goroutines

	// Set in events of kind claimed and renewed.
	Sent  int64 // when the process sent the message, for the first time if it sent it again
	Call  int64 // the latest instant at which, for the store, the claim's call may have been made
	Start int64 // the run of a granted claim must start no later than this
	Until int64 // the lease lasts at least this long
}

// A kind says what an event reports.
type kind string

const (
	started  kind = "start" // the callback was entered
	ended    kind = "end"   // the callback is about to return
	claimed  kind = "claim" // the store answered a claim that was granted, or was for a call
	renewed  kind = "renew" // the store prolonged a lease
	reported kind = "error" // the error handler was called
	answered kind = "done"  // a command is done; At is from before it, and from before its last call
)

// stats is the part of throttle.Stats that tests look at.
type stats struct {
	Pending, Running, Closed bool
	Asking                   bool // the throttler is going to ask the store
}

// An errorKind says what errors.Is and errors.As find.
type errorKind string

const (
	none           errorKind = ""
	remote         errorKind = "remote"
	unknownOutcome errorKind = "outcome unknown"
	leaseLost      errorKind = "lease lost"
	late           errorKind = "late"
	panicked       errorKind = "panic"
	closed         errorKind = "closed"
	canceled       errorKind = "canceled"
	unavailable    errorKind = "unavailable"
	mismatched     errorKind = "mismatch"
	expired        errorKind = "context"
	other          errorKind = "other"
)

// kindOf returns the kind of err, and the token of the run that err is about, if any.
func kindOf(err error) (kind errorKind, token int64) {
	var failed *fleet.RemoteError
	if errors.As(err, &failed) {
		return remote, failed.Token
	}
	var panics *throttle.PanicError
	if errors.As(err, &panics) {
		return panicked, 0
	}
	var mismatch *fleet.MismatchError
	if errors.As(err, &mismatch) {
		return mismatched, 0
	}
	for _, known := range []struct {
		err  error
		kind errorKind
	}{
		{nil, none},
		{fleet.ErrOutcomeUnknown, unknownOutcome},
		{fleet.ErrLeaseLost, leaseLost},
		{fleet.ErrLate, late},
		{fleet.ErrEngineUnavailable, unavailable},
		{throttle.ErrClosed, closed},
		{throttle.ErrCanceled, canceled},
		{context.Canceled, expired},
		{context.DeadlineExceeded, expired},
	} {
		if errors.Is(err, known.err) {
			return known.kind, 0
		}
	}
	return other, 0
}
