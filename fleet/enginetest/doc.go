// Package enginetest tests whether a [fleet.Engine] does what its documentation says. If you write
// an engine, call [Run] from a test:
//
//	func TestEngine_Conformance(t *testing.T) {
//		enginetest.Run(t, func(t *testing.T) fleet.Engine {
//			engine := open(t) // on the same store each time
//			t.Cleanup(engine.Close)
//			return engine
//		})
//	}
//
// The suite repeats each operation on a [machine.State], at the instant in the engine's answer, and
// compares the answers. So it does not matter how fast the store is.
//
// [machine.State]: https://pkg.go.dev/github.com/throttle-go/throttle/fleet/machine#State
package enginetest
