// Package measure is shared by the benchmarks: it takes turns, computes statistics, and
// formats figures and the description of the machine.
package measure
