// Package interleaving is a model of what goroutines can see of a Throttler, and
// an exhaustive search of all the orders in which they can see it.
//
// The model repeats the transitions of lock.go, run.go and close.go: the state record, its
// mutex, the fast path's word, the alarm, the goroutine of a run, and callers that each work
// through a script. One step of the model is the smallest change that another goroutine can
// notice: a load of the word, a reading of the clock, a compare-and-swap, the part of a
// transition up to its settle, the store that opens the word again. Time is a few ticks,
// which may pass between any two steps.
//
// [Search] visits every state that can be reached, and checks the guarantees of the library
// in each. A [Fault] breaks one thing that the library's design rests on, and the search must
// notice.
//
// The model has no Groups, no Coalescers, no Wait, no buckets of more than one token, no
// FromEnd, and no backoff that grows, gives up or is eager: these are arithmetic, or repeat
// transitions that the model has.
//
// What the model merges into one step, or omits, loses nothing:
//
//   - Locking the mutex, swapping the word and reading the clock are one step. Before the
//     swap, only goroutines that want the mutex can tell whether it is held, and they wait
//     either way. After the swap no call records anything, so a tick between the swap and the
//     reading might as well come before both.
//   - A run that finds the Throttler closed locks twice, in enter and in abandon. The first
//     transition changes nothing, so they are one step.
//   - The rest of a transition, up to the store of the word, belongs to the same step: nobody
//     looks at the record without the mutex. A run's goroutine or a timer that it starts need
//     not move at once. The store of the word and the unlock are one step too: a goroutine
//     that looks only at the word does not know about the mutex.
//   - Call's first look at the word only sends it to coalesce, which looks again. A call may
//     begin at any time, so it may as well begin at the second look.
//   - The return of a callback and decide are one step: between the two, others can only see
//     that a callback is active, and the active run keeps them out. Without hooks, decide ends
//     the run in the same transition. In the model, other steps may always come between.
//   - Hooks, contexts and errors do not decide what starts or when. A waiter gets its answer
//     and goes on in one step, because its next step may come later anyway.
//   - Callers with the same script are interchangeable, so states that differ only in which
//     of them has come how far are one state.
//
// One thing is lost without StaleWakes. If a timer fires after a transition has read the
// clock, but before the transition stops or resets it, a wake is left that no step accounts
// for. The search explores such wakes only in configurations that allow some. There a wake
// may come at any time.
package interleaving
