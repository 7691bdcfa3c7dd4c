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

// An Engine is a [fleet.Engine] that keeps the state of a fleet in Redis or Valkey. Create one with
// [New] for each namespace in a process. You may call its methods concurrently. You do not close
// an Engine; close the client.
type Engine struct {
	fleet.Base

	client   redis.UniversalClient
	password string // the client's password, if it is known
	volatile bool
	shards   []shard
	channel  string // of wakes
	scripts  scripts

	checked  atomic.Bool   // Check has succeeded
	checking chan struct{} // a semaphore: only one operation calls Check at a time
}

// A shard is a part of the namespace whose keys are in one slot of a cluster.
type shard struct {
	state string // prefix of the keys of states
	index string // key of the index
	count string // key of the number of shards
}

var _ fleet.Engine = (*Engine)(nil)

// New returns an engine that uses client: a client from [redis.NewClient],
// [redis.NewFailoverClient], [redis.NewClusterClient] or [redis.NewUniversalClient], with
// ContextTimeoutEnabled set. New does not contact the store: see [Engine.Check].
//
// The error joins a [*throttle.PolicyError] for each problem with client and opts.
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

// checkClient returns the client's password, or what is wrong with the client.
func checkClient(client redis.UniversalClient) (password string, err error) {
	var ends bool
	switch c := client.(type) {
	case nil:
		return "", &throttle.PolicyError{Field: "client", Value: nil, Reason: mustNotBeNil}
	case interface{ Options() *redis.Options }:
		password, ends = c.Options().Password, c.Options().ContextTimeoutEnabled
	case interface{ Options() *redis.ClusterOptions }:
		password, ends = c.Options().Password, c.Options().ContextTimeoutEnabled
	default: // such as a Ring: when a server is down, it moves keys without their state
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

// shardOf returns the shard of key. The shard of a key must never change.
func (e *Engine) shardOf(key string) shard {
	h := fnv.New64a()
	h.Write([]byte(key))
	return e.shards[h.Sum64()%uint64(len(e.shards))]
}

// Claim implements [fleet.Engine].
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

// Finish implements [fleet.Engine]. It also notifies the engines that listen.
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

// Renew implements [fleet.Engine].
func (e *Engine) Renew(ctx context.Context, key string, token int64) (held bool, err error) {
	f, err := e.run(ctx, e.scripts.renew, key, token)
	if err != nil {
		return false, err
	}
	return f.flag(), f.err
}
