//go:build !unix

package main

// syncFolder does nothing: a folder cannot be opened and synced here.
func syncFolder(string) error { return nil }
