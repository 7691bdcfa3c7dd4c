// Package machine defines what the store keeps of one key of a fleet's throttle, how
// each operation changes it, and the messages that carry the operations. It is a pure
// state machine: it has no clock and no lock, and does no I/O.
//
// You need it to write an engine, the store's side of a [fleet.Engine]. An engine
// applies Claim, Finish or Renew to the key's [State] in one atomic step, at an instant
// that it reads from the store's own clock within that step, and keeps an index of
// [State.Due]. An engine in Go can hold a State and call its methods. An engine in a
// script or in SQL does the same in its own language, and package enginetest compares
// the two.
//
// # The machine
//
// The machine counts calls in generations. A call makes a new generation pending unless
// it is known that a pending generation covers it. A grant takes all that is pending, and
// its finish marks that as served. A grant is a lease: if its holder does not renew it, it
// ends, and what it took is pending again. Every grant has a token higher than all tokens
// before it. The callback hands that token to whatever it writes to.
//
// Each part is there because something is lost without it:
//
//   - Hold is zero once a run has taken the newest generation. Otherwise a call made
//     while another replica runs would join a run that began before the call.
//   - Hold ends with the spacing, never with the lease, because a run that finishes early
//     lets the next run start at the end of the spacing, and that run takes the next calls.
//   - A granted key is due at its lease's end. Otherwise the key of a dead holder would be
//     forgotten.
//   - A key is not due before something is pending. Otherwise nobody could tell how late a
//     run is: the key's last run may have been long ago.
//   - Spacing includes the guard: the longest time that the reply to a claim may take for
//     its grant to be used. Otherwise runs could start closer together by that time.
//   - Finish and renew match the token, not the claim's identifier, because a late copy
//     of a claim has the same identifier.
//   - The store keeps the identifiers of recent claims. Otherwise a late copy of a claim
//     would make a needless run pending, or would get a grant that nobody uses and that
//     blocks the key for a lease.
//   - A claim says until when the store may grant it. This stops a copy that arrives after
//     the store has forgotten the identifier.
//   - A poll says how old the newest call is. Otherwise a store that lost its state would
//     answer that there is nothing to do.
//   - The first claim for a call says that the call is new, whatever its age. By age alone,
//     the call would be lost if the store's clock steps back.
//   - Calls postpone the next run by moving its earliest start, never back. So all that rests on
//     that start rests on Quiet, too: new calls join until then, and the index has the key then.
//   - The limit to that is set by the first call that no grant has taken, and a grant keeps it.
//     Otherwise the calls of a grant that was lost would wait for MaxWait again.
//   - A retry is one step with the finish. Otherwise it would be lost if the holder dies
//     between the two. The store remembers the spacing that the retry asks for. Otherwise
//     the next claim would cut it to the policy's spacing.
//
// [fleet.Engine]: https://pkg.go.dev/github.com/throttle-go/throttle/fleet#Engine
package machine
