package fleet

import (
	"context"

	"github.com/throttle-go/throttle/fleet/machine"
)

// An Engine keeps the shared state of a fleet in a store that all replicas reach. One
// engine stands for one namespace in the store: throttlers of the same key on it are the
// same throttle.
//
// Claim, Finish and Renew each apply one operation of package [machine] to one key. They
// do so atomically, at an instant read from the store's clock within that step, and leave
// the resulting [machine.State.Due] in an index that Due reads. A key that the store does
// not know has the zero State. If no answer comes, the throttler sends the same message
// again, with the same content. The engine may do so, too. An operation must return when
// ctx ends or soon after.
//
// Errors must not contain credentials. An error that is or wraps a [*StateError] or
// [ErrNotDurable] means that the store was reached, but must not or cannot be used. Any
// other error means that the store could not be reached. Methods may be called
// concurrently.
//
// Package enginetest tests an engine against these rules.
type Engine interface {
	// Claim asks for a run of key and registers calls.
	Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error)

	// Finish ends a grant of key, and wakes the callers of Listen.
	Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error)

	// Renew prolongs the lease of a grant of key, and reports whether the grant still
	// holds the key.
	Renew(ctx context.Context, key string, token int64) (held bool, err error)

	// Due returns keys that are due, those first that have been due for longest. It omits
	// the first skip of them.
	Due(ctx context.Context, skip int) (machine.Due, error)

	// Listen calls wake whenever a run has ended, in whatever process. It returns when
	// ctx ends or when it cannot continue. It may miss some ends and report others twice:
	// only the promptness of throttlers depends on it. An engine that cannot listen
	// returns errors.ErrUnsupported.
	Listen(ctx context.Context, wake func(machine.Wake)) error

	base() *Base // implemented by embedding Base, which throttlers of a process share
}
