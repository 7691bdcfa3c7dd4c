// Package verify checks package throttle in ways that go beyond a test of one behaviour:
// machines look for what nobody thought of. It is a module of its own, so that the library
// does not depend on what the checks need.
//
//   - linearizability: histories of real goroutines in real time. A Throttler that gets one
//     operation after the other must be able to behave like each of them.
//   - interleaving: an exhaustive search, up to a bound, of the orders in which the steps of
//     all goroutines can come, and a replay that ties the model searched to the library.
//   - litmus: on real cores, the one outcome that the memory model must forbid.
//   - tracing: what the execution tracer of runtime/trace shows of runs.
//   - migrating: the code of docs/MIGRATING.md, theirs and ours side by side in fake time.
//   - browser: the page of throttledebug and the playground in a real browser, which must be
//     installed.
//   - casecover: no check, but a program that `make mutate` needs.
//
// Each is a directory. `go test ./...` runs the short form of all checks. `make verify`, in the
// root of the repository, runs the first three EFFORT times as long, except for the search,
// which has only two sizes: the larger one runs from an EFFORT of 10 on.
package verify
