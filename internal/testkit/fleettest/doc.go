// Package fleettest runs the scenarios that a fleet has to get through, on a real
// store, with replicas in processes of their own, which can be killed and stopped. The
// tests of engines use it:
//
//	func TestMain(m *testing.M) { os.Exit(fleettest.Main(m, open)) }
//
//	func TestScenarios(t *testing.T) { fleettest.Run(t, newServer(t)) }
//
// A replica is the test's own program. It is told what to do on its standard input, and
// tells what happens on its standard output. After each scenario the invariants are
// checked, from the grants that the store has recorded, and the starts of callbacks that
// the replicas have told, on the one monotonic clock of the machine.
//
// It needs Linux.
package fleettest
