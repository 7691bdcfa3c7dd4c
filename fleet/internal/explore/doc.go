// Package explore searches, exhaustively up to a bound, everything that can happen to a few
// replicas that share a throttle, and to their store.
//
// It explores the code itself: the machine of a key, a [machine.State], and a
// replica.Replica for each process. Around them is a model of package fleet and the world.
// Messages take time, are lost, delayed or duplicated. Callbacks take time and fail.
// Processes crash, pause, close or shut down. The store loses its state or goes back to an
// older one, and its clock steps. Time passes in ticks, without end.
//
// [Search] visits every reachable state, and checks these guarantees in each:
//
//   - I1: on the store's clock, a grant comes at least the spacing after the previous one.
//   - I2: runs start at least an interval apart, with one exception for each time that the
//     store lost state or its clock stepped forward.
//   - I3: a token is higher than all before it, unless the store has lost them, its clock
//     stepped back, and the replica that asks has not seen them either.
//   - I4: from every state, if nobody calls any more and nothing goes wrong, a run follows
//     that starts after the last call, provided that the call's process lives, or that the
//     store received the call and keeps it. The same holds for a run's retry.
//   - I5: no two processes rely on a lease at once, with one exception for each time that the
//     store lost state. A lease is renewed only while it holds the key.
//   - Do: a call is settled only after a run that covers it has ended, with that run's token
//     and outcome if it has any. In the end every call is settled.
//   - copy: a claim that the store has seen before neither registers a call nor is granted
//     again. If the claim still holds the grant, the reply says so.
//   - late: a claim that arrives too late for its run to start is not granted.
//   - local: runs of one replica, with or without a grant, start an interval apart.
//   - quiet: no grant, and no run without one, comes within Quiet of a call, unless MaxWait has passed
//     since the first of the calls that wait for it. A call counts if the store received it, and if no
//     grant was lost since the last run.
//   - wait: the store holds no run back for longer than Quiet and the slack after the newest call, nor
//     for longer than MaxWait after the first one. To both is added the time that the news took to
//     reach it. This and quiet are not checked once the store has lost state or its clock has stepped.
//   - room: a full process starts no run.
//   - work: a replica does not send claims for ever while no time passes. Once all is calm
//     and nothing is pending, it sends nothing.
//
// All is calm when nobody calls any more and nothing goes wrong. A local run is a run without
// a grant. A call that joins what is pending in the store counts as received by the store,
// although its replica does not send it.
//
// Two states count as the same if they differ only in what no longer has an effect. [Alike]
// checks that nothing else is left out. What a process does at once, on its own, is part of
// the step that made it do so. The model also leaves out the following:
//
//   - A pause stands for everything that makes a process late, such as a goroutine that
//     waits to be scheduled, or a callback that is entered long after the last look at the
//     clock.
//   - The store answers in no time. A look at the index and its answer are one step.
//   - Once all is calm, there is one order of steps. [Search] follows only that, from every
//     state.
//   - No two grants are in the same microsecond with a loss of state between them.
//   - There is one key, and no context of a Do ends. Neither matters to a replica.
//   - If all processes that called a key have crashed, only the index makes the key due. The
//     index does not follow a clock that steps back: the run then waits until the clock
//     reaches the old time again. Crashes and steps back are searched together only with
//     small steps.
//
// With Group, a process is one key's part of a fleet.Group: it drops its replica as soon as that
// is idle, and it may be full: other keys then have all the runs that may be active at once.
//
// The tests put faults into the explored code, one for each part that it needs, and check
// that the search finds the breach of a guarantee.
package explore
