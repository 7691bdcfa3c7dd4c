// Package interleaving is a model of what goroutines can see of a Throttler, and
// an exhaustive search of all the orders in which they can see it.
//
// The model tells the transitions of lock.go again: the state record, its mutex,
// the fast path's word, the alarm, the goroutine of a run, and callers that each
// work through a script. One step of the model is one thing that another goroutine
// can tell apart: a load of the word, a reading of the clock, a compare-and-swap,
// the part of a transition up to its settle, the store that opens the word again.
// Time is a few ticks, which may pass between any two steps.
//
// [Search] visits every state that can be reached, and demands the guarantees of
// the library in each. A [Fault] breaks one thing that the library's design rests
// on; the search must find out.
//
// Left out are Groups, Coalescers, buckets of more than one, FromEnd, and backoffs
// that grow, give up or are eager: they are arithmetic, or transitions of others.
//
// What is merged into one step, or left out, loses nothing:
//
//   - Taking the mutex, swapping the word and reading the clock are one step. Until
//     the swap a holder of the mutex differs from one who has yet to take it only
//     for those who want the mutex, and they wait either way. After the swap no
//     call records anything, so a tick between swap and reading might as well have
//     come before both.
//   - enterLocked reads the clock once more than lock has. Only its own reading
//     decides anything: Interval counts from it. The first is for settle, which
//     starts nothing and sets no alarm while a run is active. So one reading will do.
//   - The rest of a transition up to the store of the word belongs to that step:
//     nobody looks at the record without the mutex. What it lets loose early, a
//     run's goroutine or a timer, need not move at once. The store of the word and
//     the end of the mutex are one step too: who looks at the word alone does not
//     know of the mutex.
//   - Call's first look at the word only sends it to coalesce, which looks again.
//     A call may begin at any time, so it may as well begin at the second look.
//   - A callback that returns is one step with decide: who is in a callback is
//     all that can be seen between the two, and the active run keeps others out.
//   - Hooks, contexts and errors decide nothing about when what starts. A waiter
//     is answered and goes on in one step, since going on later is what its next
//     step may do anyway.
//   - Callers with the same script are alike, and so are states that differ only
//     in who of them has come how far.
//
// What is lost without StaleWakes: a timer that fires after a transition has read
// the clock, but before that stops or resets it, leaves a wake that no step accounts
// for. Such a wake is explored only in the configurations that allow for some; there
// it comes out of nowhere, at any time.
package interleaving
