package fleetpg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// An Engine is a [fleet.Engine] that keeps the state of a fleet in PostgreSQL. Create one with [New].
// You may call its methods concurrently. You do not close an Engine; close the pool.
type Engine struct {
	fleet.Base

	pool      *pgxpool.Pool
	schema    string
	namespace string
	volatile  bool
	channel   string // of notifications
	calls     calls

	checked atomic.Bool // Check has succeeded

	mu sync.Mutex // guards the field below

	// Where the last look has ended.
	// +checklocks:mu
	place place
}

// calls are the statements that call the functions of the schema.
type calls struct {
	claim, finish, renew, due, inspect, called, forget, call string
}

// New returns an engine that uses pool's database, where [Migrate] has set up the schema. New does
// not contact the server: see [Engine.Check].
//
// The error joins a [*throttle.PolicyError] for each problem.
func New(pool *pgxpool.Pool, opts ...Option) (*Engine, error) {
	o, err := newOptions(opts)
	if pool == nil {
		err = errors.Join(&throttle.PolicyError{Field: "New", Value: nil, Reason: "pool must not be nil"}, err)
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(o.schema + "\x00" + o.namespace))
	prefix := pgx.Identifier{o.schema}.Sanitize()
	e := &Engine{
		pool:      pool,
		schema:    o.schema,
		namespace: o.namespace,
		volatile:  o.volatile,
		channel:   "throttle_" + hex.EncodeToString(sum[:16]), // PostgreSQL allows 63 bytes
		calls: calls{
			claim: "SELECT * FROM " + prefix + ".claim($1::text, $2::text, $3::boolean, $4::text, $5::boolean, " +
				"$6::bigint, $7::bigint, $8::bigint, $9::bigint, $10::bigint, $11::bigint, $12::bigint, $13::bigint, $14::text)",
			finish: "SELECT * FROM " + prefix + ".finish($1::text, $2::text, $3::boolean, $4::bigint, $5::boolean, " +
				"$6::boolean, $7::text, $8::boolean, $9::bigint, $10::bigint)",
			renew: "SELECT * FROM " + prefix + ".renew($1::text, $2::text, $3::boolean, $4::bigint)",
			due:   "SELECT * FROM " + prefix + ".due($1::text, $2::text[], $3::bigint, $4::text, $5::text)",
			inspect: "SELECT requested, acknowledged, taken, token, granted, next, span, next_limit, owner, until, lease, policy, " +
				"failures, last_from, last_through, last_token, last_failed, last_message, ids, ids_at " +
				"FROM " + prefix + ".inspect($1::text, $2::text)",
			called: "SELECT EXISTS (SELECT FROM " + prefix + ".calls WHERE namespace = $1::text AND key = $2::text)",
			forget: "SELECT " + prefix + ".forget($1::text, $2::text, $3::boolean)",
			call:   "SELECT " + prefix + ".call($1::text, $2::text, $3::text, $4::text)",
		},
		place: beginning(),
	}
	e.LimitInFlight(o.limit(int(pool.Stat().MaxConns())))
	return e, nil
}

// Claim implements [fleet.Engine].
func (e *Engine) Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error) {
	if _, err := new(machine.State).Claim(1, c); err != nil {
		return machine.Reply{}, err
	}
	if err := e.ready(ctx, key); err != nil {
		return machine.Reply{}, err
	}
	age := int64(-1)
	if c.Age >= 0 {
		age = c.Age.Microseconds()
	}
	var r machine.Reply
	var failures, hold, poll int64
	err := e.with(ctx, func(conn *pgxpool.Conn) error {
		if err := e.plan(ctx, conn); err != nil {
			return err
		}
		return conn.QueryRow(ctx, e.calls.claim, e.namespace, key, !e.volatile, c.ID, c.New,
			age, c.First.Microseconds(), int64(c.By), c.Seen, c.Spacing.Microseconds(),
			c.Quiet.Microseconds(), c.MaxWait.Microseconds(), c.Lease.Microseconds(), c.Policy,
		).Scan(&r.Verdict, &r.Token, &failures, &hold, &poll, &r.Generation, &r.Acknowledged,
			&r.Last.From, &r.Last.Through, &r.Last.Token, &r.Last.Outcome.Failed, &r.Last.Outcome.Message,
			&r.Policy, &r.Now)
	})
	if err != nil {
		return machine.Reply{}, failure(key, err)
	}
	r.Failures = int(min(failures, math.MaxInt))
	r.Hold, r.Poll = span(hold), span(poll)
	return r, nil
}

// plan makes a new session plan the statements of a claim. That takes a hundred times as long as a
// claim. Left to the session's first claim, it would take place while that claim has the row locked
// and others wait for it.
func (e *Engine) plan(ctx context.Context, conn *pgxpool.Conn) error {
	planned := conn.Conn().PgConn().CustomData() // the statements that the session has planned
	if planned[e.calls.claim] != nil {
		return nil
	}
	_, err := conn.Exec(ctx, e.calls.claim, nil, nil, false, "", false, 0, 0, 0, 0, 0, 0, 0, 0, "")
	if err == nil {
		planned[e.calls.claim] = true
	}
	return err
}

// Finish implements [fleet.Engine]. It needs two round trips: the second one notifies the engines
// that listen.
func (e *Engine) Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error) {
	if _, err := new(machine.State).Finish(1, f); err != nil {
		return machine.Finished{}, err
	}
	if err := e.ready(ctx, key); err != nil {
		return machine.Finished{}, err
	}
	var r machine.Finished
	var poll int64
	err := e.with(ctx, func(conn *pgxpool.Conn) error {
		err := conn.QueryRow(ctx, e.calls.finish, e.namespace, key, !e.volatile, f.Token, f.Ran,
			f.Outcome.Failed, f.Outcome.Message, f.Again, f.Delay.Microseconds(), int64(f.Failures),
		).Scan(&r.Stale, &r.Pending, &poll, &r.Now)
		r.Poll = span(poll)
		if err == nil && !r.Stale {
			e.notify(ctx, conn, r.Wake(key))
		}
		return err
	})
	if err != nil {
		return machine.Finished{}, failure(key, err)
	}
	return r, nil
}

// Renew implements [fleet.Engine].
func (e *Engine) Renew(ctx context.Context, key string, token int64) (held bool, err error) {
	if err := e.ready(ctx, key); err != nil {
		return false, err
	}
	err = e.with(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, e.calls.renew, e.namespace, key, !e.volatile, token).Scan(&held)
	})
	if err != nil {
		return false, failure(key, err)
	}
	return held, nil
}

// Part implements [fleet.Engine]. All keys are in one part.
func (e *Engine) Part(string) int { return 0 }

// checkKey returns what is wrong with key. Package fleet has the same rule.
func checkKey(key string) error {
	const longest = 512
	if key == "" || len(key) > longest || !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return fmt.Errorf("throttle: key %.40q must be 1 to %d bytes of UTF-8 without NUL", key, longest)
	}
	return nil
}

// span returns the duration of so many microseconds. It limits the number, because somebody may
// have changed the row by hand.
func span(microseconds int64) time.Duration {
	return time.Duration(min(max(microseconds, 0), machine.MaxSpan.Microseconds())) * time.Microsecond
}
