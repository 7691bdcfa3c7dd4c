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
// Errors must not contain credentials. An error made by [Unreachable] means that the store
// could not be reached, or did not answer in time. Any other error means that it has
// answered: throttlers with [RunLocal] do not run for it. If ctx ends while an operation
// waits in the process, for a connection that others use, it returns ctx's error as it is,
// which says nothing of the store. Methods may be called concurrently.
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

	// Due returns keys that are due: all of them if there are at most machine.MaxDue.
	// Otherwise it returns that many, each with a chance to be among them, and those of
	// held that are due. What it costs the store must not depend on how many are due.
	Due(ctx context.Context, held []string) (machine.Due, error)

	// Listen calls wake whenever a run has ended, in whatever process. It returns when
	// ctx ends or when it cannot continue. It may miss some ends and report others twice:
	// only the promptness of throttlers depends on it. An engine that cannot listen
	// returns errors.ErrUnsupported.
	Listen(ctx context.Context, wake func(machine.Wake)) error

	// Inspect returns the state of key as it is stored, for an operator to look at: instants
	// may lie ahead of the store's clock if that was set back. It is the zero State if the
	// store does not know key. An engine may keep hashes of the claims' identifiers, and
	// returns those.
	Inspect(ctx context.Context, key string) (machine.State, error)

	// Forget deletes the state of key, whatever it is, and the key's entry in the index.
	// Calls that wait for a run of key are not lost while a throttler knows of them: it
	// registers them again. A run that is active loses its lease, and another may start beside
	// it.
	Forget(ctx context.Context, key string) error

	// Part returns which part of the store keeps key, such as a shard of a cluster: keys
	// with the same Part can be reached or not together. It is 0 for a store in one piece.
	Part(key string) int

	base() *Base // implemented by embedding Base, which throttlers of a process share
}
