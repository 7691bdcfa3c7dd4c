// Package verify holds the checks of package throttle that go beyond a test of one
// behaviour: machines look for what nobody thought of. It is a module of its own,
// so that what it needs stays out of the library's.
//
// `go test` runs all of it in short; `make verify`, in the module above, runs more,
// and as much more as its EFFORT says.
package verify
