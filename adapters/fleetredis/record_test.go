//go:build linux

package fleetredis_test

import (
	"strings"
	"testing"

	"github.com/throttle-go/throttle/internal/testkit/fleettest"
)

// This file holds how grants are read from what a server was told to store.

type grant = fleettest.Grant

// A set is a SET that a server has made.
type set struct{ key, value string }

// A record holds all of them, in order.
type record []set

// grants returns those that the record tells of: whenever a state's token has changed.
func (r record) grants(tb testing.TB) []grant {
	tb.Helper()
	var grants []grant
	tokens := make(map[string]int64)
	for _, s := range r {
		_, key, ok := strings.Cut(s.key, "}:key:")
		if !ok {
			continue
		}
		state := decode(tb, s.value)
		if state.Token != 0 && state.Token != tokens[key] {
			grants = append(grants, grant{Key: key, Token: state.Token, At: int64(state.Granted)})
		}
		tokens[key] = state.Token
	}
	return grants
}
