//go:build linux

package servers

import (
	"errors"
	"os"
	"testing"
)

// Require requires that err, from [Redis] or [Postgres], is nil. If the server is not installed,
// it skips the test instead, unless the environment variable CI is "true". Every test that needs
// a server skips with the same words: "needs a server: ", and which program is missing.
func Require(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrNotInstalled) && os.Getenv("CI") != "true":
		tb.Skipf("needs a server: %v", err)
	default:
		tb.Fatal(err)
	}
}

// RemoveAtEnd removes s at the end of the test. If the test has failed, the end of the server's
// log appears in the test's.
func RemoveAtEnd(tb testing.TB, s *Server) {
	tb.Helper()
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of the server's log:\n%s", s.logEnd())
		}
		if err := s.Remove(); err != nil {
			tb.Error(err)
		}
	})
}
