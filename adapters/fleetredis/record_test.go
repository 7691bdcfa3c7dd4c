//go:build linux

package fleetredis_test

import (
	"strings"
	"testing"

	"github.com/throttle-go/throttle/internal/testkit/fleettest"
)

type grant = fleettest.Grant

// A set is a SET command that a server has executed.
type set struct{ key, value string }

// A record contains all SET commands of a server in order.
type record []set

// grants returns the grants in the record: a grant changes the token of a state.
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
