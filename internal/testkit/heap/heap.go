// Package heap measures the memory of a test program.
package heap

import "runtime"

// InUse returns the bytes of all objects on the heap that are alive.
func InUse() int {
	var stats runtime.MemStats
	// The second collection frees what the first one only found to be dead, and
	// what a pool held over one.
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc) //nolint:gosec // it fits
}
