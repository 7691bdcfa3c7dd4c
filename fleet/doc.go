// Package fleet shares one throttle among many processes.
package fleet
