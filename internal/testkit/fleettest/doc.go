// Package fleettest runs the scenarios that a fleet must survive, on a real store, with
// replicas in separate processes that a scenario can kill and stop. The tests of engines use
// it:
//
//	func TestMain(m *testing.M) { os.Exit(fleettest.Main(m, open)) }
//
//	func TestScenarios(t *testing.T) { fleettest.Run(t, newServer(t)) }
//
// A replica is the test's own program. It reads commands from its standard input, and writes
// events to its standard output. After each scenario, Run checks the invariants: from the
// grants in the store's record, and from the events, whose instants are on the machine's
// monotonic clock.
//
// A busy machine must not fail a scenario. So nothing here expects a replica to be in time: a
// scenario waits for events, and the checks derive what a replica may do from the messages that
// it sent. What must never happen (an early run, a lost call, two leases) is checked exactly.
//
// It needs Linux.
package fleettest
