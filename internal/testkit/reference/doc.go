// Package reference holds a second, slow and literal reading of the rules that say
// when a run may start, and a rig that plays a scenario on it and on a
// [throttle.Throttler] at once and compares step by step.
//
// The model is a discrete-event simulator with one function per rule. It shares no
// code with the library and cares for nothing but being easy to check by eye:
// whatever can be recomputed is recomputed at every event, and nothing is
// remembered that a rule does not name.
//
// It is a package, and no test, because two modules test with it. [Play] plays a
// [Scenario]; a [Decoder] makes one of any bytes.
package reference
