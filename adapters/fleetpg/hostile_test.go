//go:build linux

package fleetpg_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

func invalidKeys() []string {
	return []string{"", "\x00", "a\x00b", "\xff", "half \xc3", strings.Repeat("k", 513)}
}

func hostileKeys() []string {
	return []string{
		"'", "''", `"`, `\`, `\'`, `'; DROP TABLE throttle.state; --`, "$1", "$throttle$", "$$", "{schema}", "%s", "new\nline",
		"\r\n", "\t", "\x01", "\x7f", "\u00a0", "é", "e\u0301", "\u202e", "\U0010ffff", "NULL", "{a,b}", "(a)", " ", "  ", `\x41`, "E'\\n'",
		strings.Repeat("k", 512), strings.Repeat("é", 256), strings.Repeat("'", 512), strings.Repeat(`\`, 512),
	}
}

// TestEngine_HostileKeys uses hostile keys in every mode in which pgx sends queries. In some modes
// pgx quotes the values itself.
func TestEngine_HostileKeys(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			pool := newDatabase(t).pool(t, "default_query_exec_mode="+mode)
			engine := newEngine(t, pool)
			for _, key := range hostileKeys() {
				c := claimOf("a")
				c.Policy = valid(key, machine.MaxText)
				reply, err := engine.Claim(t.Context(), key, c)
				require.NoError(t, err, "%q", key)
				require.Equal(t, machine.Granted, reply.Verdict, "%q", key)
				require.EqualValues(t, 1, reply.Generation, "%q is the same as another key", key)
				held, err := engine.Renew(t.Context(), key, reply.Token)
				require.NoError(t, err)
				require.True(t, held)
				outcome := machine.Outcome{Failed: true, Message: valid(key, machine.MaxText)}
				finished, err := engine.Finish(t.Context(), key, machine.Finish{Token: reply.Token, Ran: true, Outcome: outcome})
				require.NoError(t, err)
				require.False(t, finished.Stale)
				require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
					return engine.CallTx(t.Context(), tx, key)
				}))
				due, err := engine.Due(t.Context(), []string{key})
				require.NoError(t, err)
				require.Contains(t, due.Keys, key)
				c = claimOf("b")
				c.New, c.By = false, 0
				reply, err = engine.Claim(t.Context(), key, c)
				require.NoError(t, err)
				require.Equal(t, machine.Deferred, reply.Verdict, "because of the call in the transaction")
				require.Equal(t, outcome, reply.Last.Outcome)
				require.Equal(t, valid(key, machine.MaxText), reply.Policy)
			}
		})
	}
}

// valid returns the beginning of text as valid UTF-8 of at most length bytes.
func valid(text string, length int) string {
	return strings.ToValidUTF8(text[:min(len(text), length)], "")
}

func TestEngine_InvalidKeys(t *testing.T) {
	engine := newEngine(t, newDatabase(t).pool(t))
	for _, key := range invalidKeys() {
		_, err := engine.Claim(t.Context(), key, claimOf("a"))
		require.ErrorContains(t, err, "key", "%q", key)
		_, err = engine.Finish(t.Context(), key, machine.Finish{Token: 1})
		require.ErrorContains(t, err, "key", "%q", key)
		_, err = engine.Renew(t.Context(), key, 1)
		require.ErrorContains(t, err, "key", "%q", key)
	}
}

// TestEngine_BrokenState changes rows by hand, and checks that the engine reports that and leaves the
// rows alone.
func TestEngine_BrokenState(t *testing.T) {
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	changes := map[string]string{
		"format -1": "format = -1", "format 0": "format = 0", "format 3, which needs functions of version 2 to 3, in version 1": "format = 3, oldest = 2",
		"policy": "policy = repeat('p', 257)", "last_message": "last_message = repeat('m', 257)", "owner": "owner = repeat('o', 65)",
		"ids": "ids = array_fill(1, ARRAY[33]), ids_at = array_fill(1, ARRAY[33])", "ids ": "ids = '{1,NULL}', ids_at = '{1,2}'",
		"ids_at": "ids = '{1,2}'", "ids_at ": "ids = '{1,2}', ids_at = '{1,NULL}'", "ids_at  ": "ids_at = '{1,2}'",
		"ids  ": "ids = '{{1},{2}}', ids_at = '{{1},{2}}'", "ids   ": "ids = '[2:3]={1,2}', ids_at = '[2:3]={1,2}'",
		"acknowledged, taken, requested": "acknowledged = taken + 1", "acknowledged, taken, requested ": "taken = requested + 1",
		"acknowledged, taken, requested  ": "requested = 9007199254740992", "acknowledged, taken, requested   ": "acknowledged = -1",
		"no higher number is left": "requested = 9007199254740991", "no higher number is left ": "token = 9007199254740991",
	}
	for _, column := range []string{"token", "granted", "next", "next_limit", "until", "failures", "last_from", "last_through", "last_token", "span", "lease"} {
		for i, value := range []string{"-1", "-9223372036854775808", "9007199254740992", "9223372036854775807"} {
			changes[column+strings.Repeat(" ", i)] = column + " = " + value
		}
	}
	for reason, change := range changes {
		key := "key " + change
		reply, err := engine.Claim(t.Context(), key, claimOf("a"))
		require.NoError(t, err)
		mustExec(t, pool, "UPDATE throttle.state SET "+change+" WHERE key = $1", key)
		var before, after string
		const row = "SELECT state::text FROM throttle.state WHERE key = $1"
		require.NoError(t, pool.QueryRow(t.Context(), row, key).Scan(&before))

		_, err = engine.Claim(t.Context(), key, claimOf("b"))
		problem := &fleet.StateError{}
		require.ErrorAs(t, err, &problem, change)
		require.Equal(t, key, problem.Key)
		require.Contains(t, problem.Reason, strings.TrimSpace(reason), change)
		require.NotErrorIs(t, err, fleet.ErrEngineUnavailable)
		if !strings.HasPrefix(reason, "no higher") {
			_, err = engine.Finish(t.Context(), key, machine.Finish{Token: reply.Token, Ran: true})
			require.ErrorAs(t, err, &problem, change)
			_, err = engine.Renew(t.Context(), key, reply.Token)
			require.ErrorAs(t, err, &problem, change)
			_, err = engine.Inspect(t.Context(), key)
			require.ErrorAs(t, err, &problem, change)
		}
		require.NoError(t, pool.QueryRow(t.Context(), row, key).Scan(&after))
		require.Equal(t, before, after, change)
	}
	mustExec(t, pool, "UPDATE throttle.state SET due = next")
	due, err := engine.Due(t.Context(), nil)
	require.NoError(t, err)
	require.NotEmpty(t, due.Keys, "keys with an impossible due time")
	for _, key := range due.Keys {
		require.NoError(t, engine.Forget(t.Context(), key))
	}
	mustExec(t, pool, "DELETE FROM throttle.state WHERE due < 9223372036854775807 OR due IS NULL")
	due, err = engine.Due(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, due.Keys)
	require.Equal(t, machine.MaxSpan, due.Next)
	requireWorks(t, engine)
}

func TestEngine_Secrets(t *testing.T) {
	const secret = "s3cret-pa55word"
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, refused.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	d := newDatabase(t)
	for _, c := range []struct {
		name, addr, database string
		within               time.Duration
		unreachable          bool
	}{
		{"refused", refused.Addr().String(), d.name, patience, true},
		{"silent", silent.Addr().String(), d.name, 100 * time.Millisecond, true},
		{"no such database", d.Addr(), "none", patience, false},
		{"no such role", d.Addr(), d.name, patience, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool, err := pgxpool.New(t.Context(), "postgres://program:"+secret+"@"+c.addr+"/"+c.database+"?sslmode=disable&application_name="+secret)
			require.NoError(t, err)
			defer pool.Close()
			engine := newEngine(t, pool)
			listen := func(ctx context.Context) error { return engine.Listen(ctx, func(machine.Wake) {}) }
			for _, operate := range []func(context.Context) error{engine.Check, listen, operations(engine)["claim"]} {
				ctx, cancel := context.WithTimeout(t.Context(), c.within)
				defer cancel()
				err := operate(ctx)
				require.Error(t, err)
				require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err.Error()), secret)
				require.Equal(t, c.unreachable, errors.Is(err, fleet.ErrEngineUnavailable), "%v", err)
				configured := &pgconn.ConnectError{}
				require.NotErrorAs(t, err, &configured, "it contains the password")
			}
		})
	}
}
