// Package reference checks the library against something slower and simpler.
//
//   - [Play] plays a [Scenario] on a [throttle.Throttler] and on a model of the rules,
//     and compares the two after each step.
//   - [PlayCoalescer] plays a Scenario on a Coalescer and on a Throttler, and follows
//     each value.
//   - [PlayBatches] plays a script on a Coalescer and on a model of its batches.
//   - [PlayGroup] plays a script on a Group and on one Throttler for each key.
//
// A [Decoder] turns any bytes into a scenario, for fuzz targets.
//
// The model is a discrete-event simulator with one function per rule. It shares no code
// with the library, and is written to be easy to check by eye: it recomputes at every
// event whatever it can, and remembers only what a rule names.
package reference
