// Package verify holds the checks of package throttle that go beyond a test of one
// behaviour: machines look for what nobody thought of. It is a module of its own,
// so that what it needs stays out of the library's.
//
//   - linearizability: histories of real goroutines in real time, each of which
//     must be what a Throttler does to which one thing is done after the other.
//   - interleaving: an exhaustive search, up to a bound, of the orders in which the
//     steps of all goroutines can come; and what ties the model that is searched
//     to the library.
//   - litmus: on real cores, the one outcome that the memory model must forbid.
//   - tracing: what the execution tracer of runtime/trace shows of runs.
//   - browser: the page of throttledebug in a real browser, which it needs.
//
// Each is a directory. `go test ./...` runs all of it in short; `make verify`, in the
// module above, runs as much more of the first three as its EFFORT says, but for the
// search: it has two sizes only, the larger from 10 on. In mutants is the program
// that tells how well the library's tests notice a fault.
package verify
