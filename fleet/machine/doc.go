// Package machine holds what the store keeps of one key of a fleet's throttle, how
// each operation changes it, and the messages of those operations. It is a pure
// state machine: no clock, no lock, no input or output.
//
// It is for those who write an engine: the store's side of a [fleet.Engine]. An
// engine applies Claim, Finish or Renew to the key's [State] in one atomic step, at
// an instant that it has read from the store's own clock within that step, and keeps
// an index of [State.Due]. In Go it can hold a State and call its methods; in a script or
// in SQL it does the same, and package enginetest compares the two.
//
// # The machine
//
// Calls are counted in generations. A call that no pending generation is known to
// cover makes a new one pending. A grant takes all that is pending; its finish marks
// that as served. A grant is a lease: it ends, if its holder does not renew it, and
// what it took is then pending again. Every grant has a token higher than all before
// it, for the callback to hand to what it writes to.
//
// Each part is there because something is lost without it:
//
//   - Hold is zero once a run has taken the newest generation. Otherwise a call made
//     while another replica runs joins a run that began before it.
//   - Hold ends with the spacing, never with the lease. A run that finishes early
//     takes the next calls at the end of the spacing.
//   - A granted key is due at its lease's end. Otherwise a dead holder's key is
//     forgotten.
//   - Spacing includes the guard: what a grant's reply may take to be used. Otherwise
//     runs start closer by that.
//   - Finish and renew match the token, not the claim's identifier, which a late copy
//     of a claim has too.
//   - Identifiers of recent claims are kept: a copy of a claim that comes late would
//     otherwise make a needless run pending, or be granted to nobody and block the key
//     for a lease.
//   - A claim says until when it may be granted, for a copy that comes later than
//     the identifiers are kept.
//   - A poll says how old the newest call is. A store that lost its state would
//     otherwise answer that there is nothing to do.
//   - The first claim for a call says that it is new, whatever its age: by age alone a
//     clock that steps back loses it.
//   - A retry is one step with the finish, or a holder that dies between the two loses
//     it; and the spacing that it asks for is remembered, or the next claim cuts it to
//     the policy's.
//
// [fleet.Engine]: https://pkg.go.dev/github.com/throttle-go/throttle/fleet#Engine
package machine
