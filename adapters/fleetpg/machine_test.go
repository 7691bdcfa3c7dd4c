//go:build linux

package fleetpg_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/fleetpg"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/enginetest"
	"github.com/throttle-go/throttle/fleet/machine"
)

// The tests in this file compare the answers of the schema's functions, and what they store, with
// machine.State. Nobody can move PostgreSQL's clock, but all functions read it through one function,
// which some tests replace. Everything else is what users run.

func TestEngine_Conformance(t *testing.T) {
	d := newDatabase(t)
	enginetest.Run(t, func(t *testing.T) fleet.Engine { return newEngine(t, d.pool(t)) })
}

func TestEngine_Conformance_ClockSteps(t *testing.T) {
	d := newDatabase(t)
	standClock(t, d.pool(t))
	// A connection that sets the clock must not outlive its subtest: if a write is slow, the client
	// leaves a goroutine with the connection, which would count as a leak.
	var clock *pgxpool.Pool
	enginetest.Run(t, func(t *testing.T) fleet.Engine {
		clock = d.pool(t)
		return newEngine(t, d.pool(t, hasty), fleetpg.WithVolatile())
	}, enginetest.SetClock(func(now machine.Time) { setClock(t, clock, now) }))
}

// hasty is a connection parameter: commits do not wait for the disk.
const hasty = "options=-csynchronous_commit%3Doff"

// standClock stops the schema's clock, and returns a function that sets it.
func standClock(t *testing.T, pool *pgxpool.Pool) (set func(machine.Time)) {
	t.Helper()
	mustExec(t, pool, `CREATE TABLE public.clock (at bigint NOT NULL)`)
	mustExec(t, pool, `INSERT INTO public.clock VALUES (0)`)
	mustExec(t, pool, `CREATE OR REPLACE FUNCTION throttle.clock() RETURNS bigint LANGUAGE sql
		SET enable_seqscan = on AS 'SELECT at FROM public.clock'`)
	return func(now machine.Time) { setClock(t, pool, now) }
}

// setClock sets a clock that standClock has stopped.
func setClock(t *testing.T, pool *pgxpool.Pool, now machine.Time) {
	t.Helper()
	mustExec(t, pool, "UPDATE public.clock SET at = $1", int64(now))
}

// TestEngine_StoredState makes random operations, including calls in transactions, and compares the
// row with the machine after each.
func TestEngine_StoredState(t *testing.T) {
	d := newDatabase(t)
	pool := d.pool(t, hasty)
	set := standClock(t, pool)
	for seed := range uint64(4) {
		r := &replay{
			T:      t,
			pool:   pool,
			engine: newEngine(t, pool, fleetpg.WithVolatile(), fleetpg.WithNamespace(fmt.Sprint("seed ", seed))),
			random: rand.New(rand.NewPCG(seed, seed)),
			keys:   map[string]*machine.State{},
			called: map[string]machine.Time{},
			hashes: map[int64]string{},
			now:    machine.Time(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()),
		}
		for _, name := range []string{"a", `it's; "DROP"` + "\n\\", strings.Repeat("é", 250)} {
			key := fmt.Sprintf("%s %d", name, seed)
			r.names, r.keys[key] = append(r.names, key), &machine.State{}
		}
		for range 400 {
			r.now = max(1, r.next())
			set(r.now)
			r.operate()
			r.requireDue()
		}
	}
}

// A replay makes operations on an engine and on the machine.
type replay struct {
	*testing.T

	pool   *pgxpool.Pool
	engine *fleetpg.Engine
	random *rand.Rand
	now    machine.Time
	names  []string
	keys   map[string]*machine.State
	called map[string]machine.Time // the first call of a key that no claim has found
	ids    []machine.Claim
	hashes map[int64]string // of identifiers
}

// next returns a random instant to set the clock to.
func (r *replay) next() machine.Time {
	switch s := r.keys[r.names[r.random.IntN(len(r.names))]]; r.random.IntN(12) {
	case 0:
		return r.now.Add(-r.span())
	case 1:
		return r.now.Add(-time.Hour)
	case 2:
		return r.now.Add(machine.KeepIDs)
	case 3, 4:
		return r.now
	case 5:
		return s.Next
	case 6:
		return s.Until
	case 7:
		if s.Limit == 0 {
			return r.now
		}
		return s.Limit
	default:
		return r.now.Add(r.span())
	}
}

func (r *replay) span() time.Duration {
	const microsecond = time.Microsecond
	spans := []time.Duration{
		0, microsecond, 10 * microsecond, time.Second, time.Minute,
		machine.KeepIDs - microsecond, machine.KeepIDs, machine.KeepIDs + microsecond,
	}
	return spans[r.random.IntN(len(spans))]
}

// rare is span, but often returns 0.
func (r *replay) rare() time.Duration {
	if r.chance(3) {
		return 0
	}
	return r.span()
}

func (r *replay) chance(n int) bool { return r.random.IntN(n) == 0 }

// operate makes a random operation, and compares its answer and the row.
func (r *replay) operate() {
	key := r.names[r.random.IntN(len(r.names))]
	s := r.keys[key]
	switch r.random.IntN(8) {
	case 0:
		r.call(key)
		return
	case 1:
		token := s.Token - int64(r.random.IntN(2))
		held, err := r.engine.Renew(r.Context(), key, token)
		require.NoError(r, err)
		require.Equal(r, s.Renew(r.now, token), held)
	case 2, 3:
		f := machine.Finish{
			Token: max(0, s.Token-int64(r.random.IntN(8)/7)), Ran: !r.chance(4), Again: r.chance(3),
			Delay: r.span(), Failures: r.random.IntN(9),
			Outcome: machine.Outcome{Failed: r.chance(2), Message: "it's \"—\n" + s.Policy},
		}
		expected, err := s.Finish(r.now, f)
		require.NoError(r, err)
		finished, err := r.engine.Finish(r.Context(), key, f)
		require.NoError(r, err)
		require.Equal(r, expected, finished)
	default:
		c := r.claim(s)
		if _, called := r.called[key]; called {
			r.register(s, c)
			delete(r.called, key)
		}
		expected, err := s.Claim(r.now, c)
		require.NoError(r, err)
		reply, err := r.engine.Claim(r.Context(), key, c)
		require.NoError(r, err)
		require.Equal(r, expected, reply)
	}
	r.requireStored(key)
}

// register registers the calls of c, and then a call that c finds in the table. A call in a transaction
// counts even if c was sent before.
func (r *replay) register(s *machine.State, c machine.Claim) {
	ids := slices.Clone(s.IDs)
	c.By = 0
	found := machine.Claim{ID: "found", New: true, Quiet: c.Quiet, MaxWait: c.MaxWait, Lease: c.Lease}
	for _, c := range []machine.Claim{c, found} {
		_, err := s.Claim(r.now, c)
		require.NoError(r, err)
	}
	s.IDs = ids // as if no claim had come
}

// claim returns a new claim, or one that was sent before, to this or another key.
func (r *replay) claim(s *machine.State) machine.Claim {
	owner := slices.IndexFunc(r.ids, func(c machine.Claim) bool { return c.ID == s.Owner })
	if owner >= 0 && r.chance(4) {
		return r.ids[owner]
	}
	if len(r.ids) > 0 && r.chance(4) {
		return r.ids[len(r.ids)-1-r.random.IntN(min(len(r.ids), 40))]
	}
	c := machine.Claim{
		ID: fmt.Sprintf("%x-%d", r.random.Uint64(), len(r.ids)), New: r.chance(3), Age: r.span() - 10*time.Microsecond,
		By: r.now.Add(r.span() - 10*time.Microsecond), Seen: s.Token + int64(r.random.IntN(3)) - 1,
		First: r.span() - 10*time.Microsecond, Quiet: r.rare(), MaxWait: r.rare(),
		Spacing: r.span(), Lease: r.span() + time.Microsecond, Policy: fmt.Sprintf("Interval=%dms", r.random.IntN(9)),
	}
	c.By, c.Seen = max(0, c.By), max(0, c.Seen)
	if r.chance(4) {
		c.Age = machine.None
	}
	if r.chance(5) {
		c.By = 0
	}
	var hash int64
	require.NoError(r, r.pool.QueryRow(r.Context(), "SELECT hashtextextended($1::text, 0)", c.ID).Scan(&hash))
	r.hashes[hash] = c.ID
	r.ids = append(r.ids, c)
	return c
}

// call makes calls of key in a transaction, and commits it or rolls it back.
func (r *replay) call(key string) {
	tx, err := r.pool.Begin(r.Context())
	require.NoError(r, err)
	for range 1 + r.random.IntN(2) {
		require.NoError(r, r.engine.CallTx(r.Context(), tx, key))
	}
	if r.chance(3) {
		require.NoError(r, tx.Rollback(r.Context()))
		return
	}
	require.NoError(r, tx.Commit(r.Context()))
	if _, called := r.called[key]; !called {
		r.called[key] = r.now
	}
}

// requireStored requires that the row of key is the machine's state, and that Inspect returns it.
func (r *replay) requireStored(key string) {
	r.Helper()
	expected := *r.keys[key]
	row := stored(r, r.pool, key, r.hashes)
	inspected, err := r.engine.Inspect(r.Context(), key)
	require.NoError(r, err)
	require.NoError(r, inspected.Validate())
	for i, recent := range inspected.IDs {
		hash, err := strconv.ParseInt(recent.ID, 10, 64)
		require.NoError(r, err)
		inspected.IDs[i].ID = r.hashes[hash]
	}
	requested := expected.Requested
	if _, called := r.called[key]; called {
		requested = max(requested, expected.Taken+1)
	}
	require.Equal(r, requested, inspected.Requested)
	inspected.Requested = row.Requested
	require.Equal(r, row, inspected)

	if len(expected.IDs) == 0 {
		expected.IDs = nil
	}
	require.Equal(r, expected, row)
}

// stored returns the state in the row of key, the zero State if there is none.
func stored(tb testing.TB, pool *pgxpool.Pool, key string, hashes map[int64]string) machine.State {
	tb.Helper()
	var s machine.State
	var span, lease int64
	var ids, at []int64
	err := pool.QueryRow(tb.Context(), `SELECT requested, acknowledged, taken, token, granted, next, span, next_limit, owner, until, lease,
		policy, failures, last_from, last_through, last_token, last_failed, last_message, ids, ids_at
		FROM throttle.state WHERE key = $1`, key).Scan(
		&s.Requested, &s.Acknowledged, &s.Taken, &s.Token, &s.Granted, &s.Next, &span, &s.Limit, &s.Owner, &s.Until, &lease,
		&s.Policy, &s.Failures, &s.Last.From, &s.Last.Through, &s.Last.Token, &s.Last.Outcome.Failed,
		&s.Last.Outcome.Message, &ids, &at)
	if err == pgx.ErrNoRows { //nolint:errorlint // pgx does not wrap it
		return s
	}
	require.NoError(tb, err)
	s.Span, s.Lease = time.Duration(span)*time.Microsecond, time.Duration(lease)*time.Microsecond
	require.Len(tb, at, len(ids))
	for i, id := range ids {
		s.IDs = append(s.IDs, machine.Recent{ID: hashes[id], At: machine.Time(at[i])})
	}
	return s
}

// requireDue requires that Due returns what the machine says.
func (r *replay) requireDue() {
	r.Helper()
	expected := machine.Due{Next: machine.None, Now: r.now}
	for key, s := range r.keys {
		since, pending := s.Due()
		if pending && since > r.now && (expected.Next == machine.None || since.Sub(r.now) < expected.Next) {
			expected.Next = since.Sub(r.now)
		}
		if called, ok := r.called[key]; ok && (!pending || since > called) {
			since, pending = called, true
		}
		if _, called := r.called[key]; called || pending && since <= r.now {
			expected.Count++
			expected.Keys = append(expected.Keys, key)
			expected.Oldest = max(expected.Oldest, r.now.Sub(since))
		}
	}
	due, err := r.engine.Due(r.Context(), slices.Collect(maps.Keys(r.keys)))
	require.NoError(r, err)
	require.ElementsMatch(r, expected.Keys, due.Keys)
	expected.Keys, due.Keys = nil, nil
	require.Equal(r, expected, due)
}
