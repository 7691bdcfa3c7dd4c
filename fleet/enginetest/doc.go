// Package enginetest holds a [fleet.Engine] to what its documentation says, for
// those who write one:
//
//	func TestEngineConforms(t *testing.T) {
//		enginetest.Run(t, func(t *testing.T) fleet.Engine {
//			engine := open(t) // on the same store each time
//			t.Cleanup(engine.Close)
//			return engine
//		})
//	}
//
// The answers of the engine are compared with those of [machine.State], which each
// operation is repeated on, at the instant that the answer says it was made at. So
// nothing here depends on how fast the store is.
//
// [machine.State]: https://pkg.go.dev/github.com/throttle-go/throttle/fleet/machine#State
package enginetest
