// Package explore is an exhaustive search, up to a bound, of all that can befall a few
// replicas that share a throttle, and their store.
//
// It explores the code itself: the machine of a key, a [machine.State], and for each
// process a replica.Replica of the library's internals. Around them is a model of
// what package fleet of the library and the world do: messages, which take their time,
// are lost, late or doubled; callbacks, which take theirs and fail; processes that crash,
// stop for a while, close or shut down; a store that loses its state or goes back to an
// older one; and its clock, which steps. Time is in ticks and without end.
//
// [Search] visits every state that can be reached, and demands in each:
//
//   - I1: a grant is at least the spacing after the one before, on the store's clock.
//   - I2: runs start at least an interval apart, but for one each time that the store
//     has lost state or its clock was stepped forward.
//   - I3: a token is above all before it, unless the store has lost them, its clock was
//     stepped back, and who asks has not seen them either.
//   - I4: from every state a run follows that starts after the last call, if from then on
//     nobody calls and nothing goes wrong, and the call's process lives or has told the
//     store, which keeps it. So does a run's retry.
//   - I5: no two processes hold a lease for all that they know, but for one more each time
//     that the store has lost state. A lease is prolonged only while it is the key's.
//   - Do: a call is settled only after a run that covers it has ended, with that run's
//     token and outcome if it has any; and in the end every call is.
//   - copy: a claim that the store has seen neither registers a call again nor is granted
//     again; if it still holds the grant, it is told that.
//   - late: a claim that arrives too late for its run to start is not granted.
//   - local: runs of one replica, with and without a grant, start an interval apart.
//   - work: a replica does not send claims for ever while no time passes, and once all is
//     calm, and nothing pending, sends nothing.
//
// A call counts as told to the store, too, if its replica did not tell it as it joins
// what is pending there.
//
// What decides nothing any more is left out of what states are told apart by; [Alike] shows
// that no more is. What a process does at once, on its own, is part of the step
// that made it want that. What else is left out:
//
//   - A pause stands for all that makes a process late: a goroutine that waits for its
//     turn, a callback that is entered long after the clock was read for the last time.
//   - The store answers in no time, and the look at the index is one step with its answer.
//   - Once all is calm there is one order of steps: [Search] follows that alone, from
//     every state.
//   - No two grants are in one microsecond, with a loss of state between them.
//   - There is one key, and no Do's context ends: neither matters to a replica.
//   - A key whose calls all came from processes that have crashed is due by the index
//     alone, which does not follow a clock that is stepped back: that run waits for as long
//     as the clock takes to come there again. Both are searched together with small steps
//     only.
//
// The tests put faults in the code explored, one for each thing that it rests on, and
// the search must find out.
package explore
