package fleetredis

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the engine and its names in the store.

// An Engine is a [fleet.Engine] that keeps what a fleet shares in Redis or Valkey.
// Make one with [New], one for each namespace in a process. Its methods may be called
// concurrently. It needs no closing; the client is its user's to close.
type Engine struct {
	fleet.Base

	client   redis.UniversalClient
	password string // the client's, as far as it is known
	volatile bool
	shards   []shard
	channel  string // of wakes
	scripts  scripts

	checked  atomic.Bool   // the store has been found fit
	checking chan struct{} // has room for one who checks
}

// A shard is a part of the namespace whose keys are in one slot of a cluster.
type shard struct {
	state string // prefix of the keys of states
	index string // key of the index
	count string // key of the number of shards
}

var _ fleet.Engine = (*Engine)(nil)

// New returns an engine on client: one of [redis.NewClient], [redis.NewFailoverClient],
// [redis.NewClusterClient] or [redis.NewUniversalClient], whose ContextTimeoutEnabled is
// set. It does not ask the store anything, see [Engine.Check]. It returns a
// [*throttle.PolicyError] for everything that is wrong with client or opts.
func New(client redis.UniversalClient, opts ...Option) (*Engine, error) {
	o, err := newOptions(opts)
	password, wrong := checkClient(client)
	if err := errors.Join(wrong, err); err != nil {
		return nil, err
	}
	e := &Engine{
		client:   client,
		password: password,
		volatile: o.volatile,
		shards:   make([]shard, o.shards),
		channel:  "throttle:{" + o.namespace + "}:wake",
		scripts:  newScripts(),
		checking: make(chan struct{}, 1),
	}
	for i := range e.shards {
		tag := "throttle:{" + o.namespace + ":" + strconv.Itoa(i) + "}:"
		e.shards[i] = shard{state: tag + "key:", index: tag + "due", count: tag + "shards"}
	}
	return e, nil
}

// checkClient returns the client's password, or what is wrong with it.
func checkClient(client redis.UniversalClient) (password string, err error) {
	var ends bool
	switch c := client.(type) {
	case nil:
		return "", &throttle.PolicyError{Field: "client", Value: nil, Reason: mustNotBeNil}
	case interface{ Options() *redis.Options }:
		password, ends = c.Options().Password, c.Options().ContextTimeoutEnabled
	case interface{ Options() *redis.ClusterOptions }:
		password, ends = c.Options().Password, c.Options().ContextTimeoutEnabled
	default: // as a Ring, which moves keys without their state when a server is down
		return "", &throttle.PolicyError{
			Field: "client", Value: fmt.Sprintf("%T", client), Reason: "must be a *redis.Client or *redis.ClusterClient",
		}
	}
	if !ends {
		return "", &throttle.PolicyError{
			Field: "client", Value: fmt.Sprintf("%T", client), Reason: "must have ContextTimeoutEnabled set",
		}
	}
	return password, nil
}

// shardOf returns the shard of key. Which one that is must never change.
func (e *Engine) shardOf(key string) shard {
	h := fnv.New64a()
	h.Write([]byte(key))
	return e.shards[h.Sum64()%uint64(len(e.shards))]
}

// Claim applies the operation of [machine.State] to key, as [fleet.Engine] says.
func (e *Engine) Claim(ctx context.Context, key string, c machine.Claim) (machine.Reply, error) {
	if _, err := new(machine.State).Claim(0, c); err != nil {
		return machine.Reply{}, err
	}
	age := int64(-1)
	if c.Age >= 0 {
		age = c.Age.Microseconds()
	}
	f, err := e.run(ctx, e.scripts.claim, key,
		c.ID, c.New, age, int64(c.By), c.Seen, c.Spacing.Microseconds(), c.Lease.Microseconds(), c.Policy)
	if err != nil {
		return machine.Reply{}, err
	}
	r := machine.Reply{
		Verdict:      machine.Verdict(f.kind), //nolint:gosec // the script returns one of three
		Token:        f.number(),
		Failures:     int(min(f.number(), math.MaxInt)),
		Hold:         f.span(),
		Poll:         f.span(),
		Generation:   f.number(),
		Acknowledged: f.number(),
	}
	r.Last.From, r.Last.Through, r.Last.Token = f.number(), f.number(), f.number()
	r.Last.Outcome.Failed, r.Last.Outcome.Message = f.flag(), f.text()
	r.Policy = f.text()
	r.Now = machine.Time(f.number())
	return r, f.err
}

// Finish applies the operation of [machine.State] to key, and tells those who Listen,
// as [fleet.Engine] says.
func (e *Engine) Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error) {
	if _, err := new(machine.State).Finish(0, f); err != nil {
		return machine.Finished{}, err
	}
	r, err := e.run(ctx, e.scripts.finish, key,
		e.channel, f.Token, f.Ran, f.Outcome.Failed, f.Outcome.Message, f.Again, f.Delay.Microseconds(), f.Failures)
	if err != nil {
		return machine.Finished{}, err
	}
	return machine.Finished{
		Stale:   r.flag(),
		Pending: r.flag(),
		Poll:    r.span(),
		Now:     machine.Time(r.number()),
	}, r.err
}

// Renew applies the operation of [machine.State] to key, as [fleet.Engine] says.
func (e *Engine) Renew(ctx context.Context, key string, token int64) (held bool, err error) {
	f, err := e.run(ctx, e.scripts.renew, key, token)
	if err != nil {
		return false, err
	}
	return f.flag(), f.err
}
