package fleet

import (
	"context"

	"github.com/throttle-go/throttle/fleet/machine"
)

// An Engine keeps what the replicas of a fleet share, in a store that all of them
// reach. One engine is one namespace there: throttlers of the same key on it are the
// same throttle.
//
// Claim, Finish and Renew each apply one operation of package [machine] to one key,
// atomically, at an instant read from the store's clock within that step, and leave
// what [machine.State.Due] then says in an index that Due reads. A key that the store
// does not know has the zero State. The throttler sends a message again, with the
// same content, if no answer came; the engine may do so too. An operation must
// be done with, one way or the other, when ctx has ended or soon after.
//
// Errors must not tell credentials. One that is, or wraps, a [*StateError] or
// [ErrNotDurable] says that the store was reached and must not or cannot be used;
// any other, that it could not be reached. Methods may be called concurrently.
//
// Package enginetest holds an engine to this.
type Engine interface {
	// Claim asks for a run of key and registers calls.
	Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error)

	// Finish ends a grant of key, and tells those who Listen.
	Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error)

	// Renew prolongs the lease of a grant of key, and reports whether it is still held.
	Renew(ctx context.Context, key string, token int64) (held bool, err error)

	// Due returns keys that are due, those that have been so for longest first, without
	// the first skip of them.
	Due(ctx context.Context, skip int) (machine.Due, error)

	// Listen calls wake when a run has ended, in whatever process, and returns when ctx
	// ends or it cannot go on. It may miss some, and tell of others twice: nothing but
	// the promptness of throttlers depends on it. An engine that cannot tell returns
	// errors.ErrUnsupported.
	Listen(ctx context.Context, wake func(machine.Wake)) error

	base() *Base // by embedding Base, which holds what throttlers of a process share
}
