//go:build linux

package fleettest

import (
	"context"
	"errors"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// This file holds the messages between the test and a replica's process, each a line of
// JSON.

// A command tells a process what to do. It is answered with an event that has its number.
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

// An action is what a process does.
type action string

const (
	actOpen     action = "open"     // make a throttler, with Options
	actBehave   action = "behave"   // have callbacks do as Behavior says from now on
	actCall     action = "call"     // Times
	actRegister action = "register" // call, until the store knows of it
	actCallAll  action = "call all" // once each throttler, at once
	actDo       action = "do"
	actCancel   action = "cancel"
	actStats    action = "stats"
	actShutdown action = "shutdown"
	actClose    action = "close"
	actQuit     action = "quit" // close all, and end
)

// options says how a throttler is made.
type options struct {
	Address  string // of the store, or of a proxy to it
	Key      string
	Interval time.Duration
	Guard    time.Duration
	Lease    time.Duration
	Retry    time.Duration // after a failed run; 0 for none
	Local    bool
	Behavior behavior
}

// A behavior is what a callback does.
type behavior struct {
	Take    time.Duration // how long
	Heed    bool          // it ends with its context
	Written string        // the address of the resource that it then writes to, with its token
	Early   bool          // it does so at first
	Fail    string        // it returns an error with that text
	Panic   string        // it panics with that
}

// An event tells what has happened in a process.
type event struct {
	Process   string `json:"-"`
	Kind      kind
	Number    int    // of the command that it answers
	Throttler string // in the process
	Key       string
	At        int64 // when, as now tells
	Token     int64 // of a run; 0 if it has none
	Error     errorKind
	Text      string
	Refused   bool // what the run wrote
	Stats     stats
	Left      []string // the stacks of goroutines that are left
}

// A kind is what an event tells of.
type kind string

const (
	started  kind = "start" // a callback was entered
	ended    kind = "end"   // it is about to return
	reported kind = "error" // the error handler was called
	answered kind = "done"  // a command was done; At is before that, and before the last of calls
)

// stats is what throttle.Stats tells.
type stats struct {
	Pending, Running, Closed bool
	Asking                   bool // it will ask the store
}

// An errorKind is what errors.Is and errors.As find.
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

// kindOf returns what err is, and the token that it tells of a run.
func kindOf(err error) (kind errorKind, token int64) {
	if failed, ok := errors.AsType[*fleet.RemoteError](err); ok {
		return remote, failed.Token
	}
	if _, ok := errors.AsType[*throttle.PanicError](err); ok {
		return panicked, 0
	}
	if _, ok := errors.AsType[*fleet.MismatchError](err); ok {
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
