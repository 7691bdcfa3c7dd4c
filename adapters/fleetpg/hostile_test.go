//go:build linux

package fleetpg_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the tests of what users, neighbours and operators may do to it.

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

// TestKeysAreData uses hostile keys in every way in which pgx sends queries, of which
// some quote values by themselves.
func TestKeysAreData(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			pool := newDatabase(t).pool(t, "default_query_exec_mode="+mode)
			engine := newEngine(t, pool)
			for i, key := range hostileKeys() {
				c := claimOf("a")
				c.Policy = valid(key, machine.MaxText)
				reply, err := engine.Claim(t.Context(), key, c)
				require.NoError(t, err, "%q", key)
				require.Equal(t, machine.Granted, reply.Verdict, "%q", key)
				require.EqualValues(t, 1, reply.Generation, "%q is like another", key)
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
				due, err := engine.Due(t.Context(), i)
				require.NoError(t, err)
				require.Equal(t, []string{key}, due.Keys)
				c = claimOf("b")
				c.New, c.By = false, 0
				reply, err = engine.Claim(t.Context(), key, c)
				require.NoError(t, err)
				require.Equal(t, machine.Deferred, reply.Verdict, "of the call in the transaction")
				require.Equal(t, outcome, reply.Last.Outcome)
				require.Equal(t, valid(key, machine.MaxText), reply.Policy)
			}
		})
	}
}

// valid returns the beginning of text, of at most length bytes.
func valid(text string, length int) string {
	return strings.ToValidUTF8(text[:min(len(text), length)], "")
}

func TestInvalidKeysAreErrors(t *testing.T) {
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

// TestStoredGarbageIsToldAndLeft changes rows by hand.
func TestStoredGarbageIsToldAndLeft(t *testing.T) {
	pool := newDatabase(t).pool(t)
	engine := newEngine(t, pool)
	changes := map[string]string{
		"format 2": "format = 2", "format -1": "format = -1", "format 0": "format = 0",
		"policy": "policy = repeat('p', 257)", "last_message": "last_message = repeat('m', 257)", "owner": "owner = repeat('o', 65)",
		"ids": "ids = array_fill(1, ARRAY[33]), ids_at = array_fill(1, ARRAY[33])", "ids ": "ids = '{1,NULL}', ids_at = '{1,2}'",
		"ids_at": "ids = '{1,2}'", "ids_at ": "ids = '{1,2}', ids_at = '{1,NULL}'", "ids_at  ": "ids_at = '{1,2}'",
		"ids  ": "ids = '{{1},{2}}', ids_at = '{{1},{2}}'", "ids   ": "ids = '[2:3]={1,2}', ids_at = '[2:3]={1,2}'",
		"acknowledged, taken, requested": "acknowledged = taken + 1", "acknowledged, taken, requested ": "taken = requested + 1",
		"acknowledged, taken, requested  ": "requested = 9007199254740992", "acknowledged, taken, requested   ": "acknowledged = -1",
		"no higher number is left": "requested = 9007199254740991", "no higher number is left ": "token = 9007199254740991",
	}
	for _, column := range []string{"token", "granted", "next", "until", "failures", "last_from", "last_through", "last_token", "span", "lease"} {
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
		require.NotErrorIs(t, &fleet.EngineError{Err: err}, fleet.ErrEngineUnavailable)
		if !strings.HasPrefix(reason, "no higher") {
			_, err = engine.Finish(t.Context(), key, machine.Finish{Token: reply.Token, Ran: true})
			require.ErrorAs(t, err, &problem, change)
			_, err = engine.Renew(t.Context(), key, reply.Token)
			require.ErrorAs(t, err, &problem, change)
		}
		require.NoError(t, pool.QueryRow(t.Context(), row, key).Scan(&after))
		require.Equal(t, before, after, change)
	}
	due, err := engine.Due(t.Context(), 0)
	require.NoError(t, err)
	require.NotEmpty(t, due.Keys, "of those that are due at a time that makes no sense")
	mustExec(t, pool, "DELETE FROM throttle.state WHERE due < 9223372036854775807 OR due IS NULL")
	due, err = engine.Due(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, due.Keys)
	require.Equal(t, machine.MaxSpan, due.Next)
	requireWorks(t, engine)
}

func TestSkipMayBeAnything(t *testing.T) {
	engine := newEngine(t, newDatabase(t).pool(t))
	c := claimOf("a")
	c.By = 0
	_, err := engine.Claim(t.Context(), "key", c)
	require.NoError(t, err)
	for skip, expected := range map[int]int{-1: 1, 0: 1, 1: 0, 1 << 30: 0, math.MinInt: 1, math.MaxInt: 0} {
		due, err := engine.Due(t.Context(), skip)
		require.NoError(t, err)
		require.Len(t, due.Keys, expected, "skip %d", skip)
	}
}

func TestErrorsTellNoCredentials(t *testing.T) {
	const secret = "s3cret-pa55word"
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, refused.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	d := newDatabase(t)
	for _, c := range []struct{ name, addr, database string }{
		{"refused", refused.Addr().String(), d.name},
		{"silent", silent.Addr().String(), d.name},
		{"no such database", d.Addr(), "none"},
		{"no such role", d.Addr(), d.name},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool, err := pgxpool.New(t.Context(), "postgres://program:"+secret+"@"+c.addr+"/"+c.database+"?sslmode=disable&application_name="+secret)
			require.NoError(t, err)
			defer pool.Close()
			engine := newEngine(t, pool)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for _, err := range []error{
				engine.Check(ctx),
				engine.Listen(ctx, func(machine.Wake) {}),
				func() error { _, err := engine.Claim(ctx, "key", claimOf("a")); return err }(),
			} {
				require.Error(t, err)
				require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err.Error()), secret)
				require.ErrorIs(t, &fleet.EngineError{Err: err}, fleet.ErrEngineUnavailable)
			}
		})
	}
}

// TestClaimEndsWithItsContext has a claim wait for the lock of its row.
func TestClaimEndsWithItsContext(t *testing.T) {
	d := newDatabase(t)
	pool := d.pool(t, "pool_max_conns=1")
	other := d.pool(t)
	engine := newEngine(t, pool)
	requireWorks(t, engine)
	key := "works " + t.Name()
	before := stored(t, other, key, nil)

	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM throttle.state FOR UPDATE")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = engine.Claim(ctx, key, claimOf("b"))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	// The server has given it up too, and with the only connection another can be made.
	require.Eventually(t, func() bool {
		var waiting int
		const query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
		return other.QueryRow(t.Context(), query).Scan(&waiting) == nil && waiting == 0
	}, 10*time.Second, 10*time.Millisecond)
	_, err = engine.Due(t.Context(), 0)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, before, stored(t, other, key, nil))
}

func TestListenEndsWithItsConnection(t *testing.T) {
	d := newDatabase(t)
	engine, pool := newEngine(t, d.pool(t)), d.pool(t)
	ended := make(chan error, 1)
	wakes := make(chan machine.Wake, 100)
	go func() { ended <- engine.Listen(t.Context(), func(w machine.Wake) { wakes <- w }) }()
	const listeners = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"
	require.Eventually(t, func() bool {
		var n int
		return pool.QueryRow(t.Context(), listeners).Scan(&n) == nil && n == 1
	}, 10*time.Second, 10*time.Millisecond)

	// Others may notify on the channel with anything.
	var channel string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT substring(query FROM '"(.*)"') FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'LISTEN %'`).Scan(&channel))
	for _, text := range []string{"", " ", "a", "1", "1,a", "99999999999999999999 a", "- a", "-5 low", "9223372036854775807 high", "7 "} {
		mustExec(t, pool, "SELECT pg_notify($1::text, $2::text)", channel, text)
	}
	for _, expected := range []machine.Wake{
		{Key: "low", Poll: machine.None}, {Key: "high", Poll: machine.MaxSpan}, {Key: "", Poll: 7 * time.Microsecond},
	} {
		require.Equal(t, expected, <-wakes)
	}

	mustExec(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'LISTEN %'`)
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "fleetpg: listen: ")
	case <-time.After(10 * time.Second):
		require.Fail(t, "Listen goes on")
	}
}

// TestListenLeavesThePoolAlone has it listen with the pool's only connection.
func TestListenLeavesThePoolAlone(t *testing.T) {
	engine := newEngine(t, newDatabase(t).pool(t, "pool_max_conns=1"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	wakes := make(chan machine.Wake, 1000)
	go func() { ended <- engine.Listen(ctx, func(w machine.Wake) { wakes <- w }) }()
	for i := 0; len(wakes) == 0; i++ {
		reply, err := engine.Claim(t.Context(), "key "+strconv.Itoa(i), claimOf("a"))
		require.NoError(t, err)
		_, err = engine.Finish(t.Context(), "key "+strconv.Itoa(i), machine.Finish{Token: reply.Token, Ran: true})
		require.NoError(t, err)
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}
