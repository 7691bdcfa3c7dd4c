package fleetpg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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
}

// calls are the statements that call the functions of the schema.
type calls struct {
	claim, finish, renew, due, call string
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
	return &Engine{
		pool:      pool,
		schema:    o.schema,
		namespace: o.namespace,
		volatile:  o.volatile,
		channel:   "throttle_" + hex.EncodeToString(sum[:16]), // PostgreSQL allows 63 bytes
		calls: calls{
			claim: "SELECT * FROM " + prefix + ".claim($1::text, $2::text, $3::boolean, $4::text, $5::boolean, " +
				"$6::bigint, $7::bigint, $8::bigint, $9::bigint, $10::bigint, $11::text)",
			finish: "SELECT * FROM " + prefix + ".finish($1::text, $2::text, $3::boolean, $4::bigint, $5::boolean, " +
				"$6::boolean, $7::text, $8::boolean, $9::bigint, $10::bigint)",
			renew: "SELECT * FROM " + prefix + ".renew($1::text, $2::text, $3::boolean, $4::bigint)",
			due:   "SELECT * FROM " + prefix + ".due($1::text, $2::int, $3::int)",
			call:  "SELECT " + prefix + ".call($1::text, $2::text, $3::text, $4::text)",
		},
	}, nil
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
	row := e.pool.QueryRow(ctx, e.calls.claim, e.namespace, key, !e.volatile, c.ID, c.New,
		age, int64(c.By), c.Seen, c.Spacing.Microseconds(), c.Lease.Microseconds(), c.Policy)
	var r machine.Reply
	var failures, hold, poll int64
	err := row.Scan(&r.Verdict, &r.Token, &failures, &hold, &poll, &r.Generation, &r.Acknowledged,
		&r.Last.From, &r.Last.Through, &r.Last.Token, &r.Last.Outcome.Failed, &r.Last.Outcome.Message,
		&r.Policy, &r.Now)
	if err != nil {
		return machine.Reply{}, failure(key, err)
	}
	r.Failures = int(min(failures, math.MaxInt))
	r.Hold, r.Poll = span(hold), span(poll)
	return r, nil
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
	row := e.pool.QueryRow(ctx, e.calls.finish, e.namespace, key, !e.volatile, f.Token, f.Ran,
		f.Outcome.Failed, f.Outcome.Message, f.Again, f.Delay.Microseconds(), int64(f.Failures))
	var r machine.Finished
	var poll int64
	if err := row.Scan(&r.Stale, &r.Pending, &poll, &r.Now); err != nil {
		return machine.Finished{}, failure(key, err)
	}
	r.Poll = span(poll)
	if !r.Stale {
		e.notify(ctx, r.Wake(key))
	}
	return r, nil
}

// Renew implements [fleet.Engine].
func (e *Engine) Renew(ctx context.Context, key string, token int64) (held bool, err error) {
	if err := e.ready(ctx, key); err != nil {
		return false, err
	}
	row := e.pool.QueryRow(ctx, e.calls.renew, e.namespace, key, !e.volatile, token)
	if err := row.Scan(&held); err != nil {
		return false, failure(key, err)
	}
	return held, nil
}

// page is the highest number of keys that Due returns.
const page = 1000

// Due implements [fleet.Engine].
func (e *Engine) Due(ctx context.Context, skip int) (machine.Due, error) {
	if err := e.check(ctx); err != nil {
		return machine.Due{}, err
	}
	row := e.pool.QueryRow(ctx, e.calls.due, e.namespace, int32(min(max(skip, 0), math.MaxInt32)), int32(page))
	var d machine.Due
	var next int64
	if err := row.Scan(&d.Keys, &d.More, &next, &d.Now); err != nil {
		return machine.Due{}, failure("", err)
	}
	d.Next = machine.None
	if next >= 0 {
		d.Next = span(next)
	}
	return d, nil
}

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

// failure returns the error of an operation on key, given pgx's.
func failure(key string, err error) error {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		switch {
		case answer.Code == "THR01":
			return notDurable(answer.Message)
		case answer.Code == "THR02",
			strings.HasPrefix(answer.Code, "22"): // such as a number out of range
			return &fleet.StateError{Key: key, Reason: answer.Message}
		}
	}
	return err
}
