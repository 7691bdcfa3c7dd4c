//go:build linux

package fleetredis_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/fleettest"
)

type grant = fleettest.Grant

// A write is the first field that a server has set in a hash.
type write struct{ key, field, value string }

// A record contains all writes of a server in order.
type record []write

// grants returns the grants in the record: a grant changes the token of a state.
func (r record) grants(tb testing.TB) []grant {
	tb.Helper()
	var grants []grant
	tokens := make(map[string]string)
	for _, w := range r {
		_, key, ok := strings.Cut(w.key, "}:key:")
		if !ok || w.field != "n" {
			continue
		}
		words := strings.SplitN(w.value, " ", 4) // version, token, time, and others
		require.Len(tb, words, 4)
		if token := words[1]; token != "0" && token != tokens[key] {
			tokens[key] = token
			grants = append(grants, grant{Key: key, Token: integer(tb, token), At: integer(tb, words[2])})
		}
	}
	return grants
}
