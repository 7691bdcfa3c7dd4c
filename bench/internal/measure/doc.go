// Package measure is what the programs that measure have in common: turns, statistics,
// and the way figures and the machine that they are from are written.
package measure
