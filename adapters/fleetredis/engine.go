package fleetredis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync/atomic"
	"time"

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

// A cluster is what the engine needs of a [redis.ClusterClient] besides commands.
type cluster interface {
	ForEachMaster(ctx context.Context, do func(context.Context, *redis.Client) error) error
	MasterForKey(ctx context.Context, key string) (*redis.Client, error)
	ReloadState(ctx context.Context)
}

var (
	_ fleet.Engine = (*Engine)(nil)
	_ cluster      = (*redis.ClusterClient)(nil)
)

// New returns an engine that uses client: a client from [redis.NewClient],
// [redis.NewFailoverClient], [redis.NewClusterClient] or [redis.NewUniversalClient], with
// ContextTimeoutEnabled set. New does not contact the store: see [Engine.Check].
//
// The error joins a [*throttle.PolicyError] for each problem with client and opts.
func New(client redis.UniversalClient, opts ...Option) (*Engine, error) {
	o, err := newOptions(opts)
	of, wrong := checkClient(client)
	if err := errors.Join(wrong, err); err != nil {
		return nil, err
	}
	e := &Engine{
		client:   client,
		password: of.password,
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
	e.LimitInFlight(o.limit(of.connections))
	return e, nil
}

// A clientOptions is what the engine needs to know of its client.
type clientOptions struct {
	password    string
	connections int // the size of its pool
}

// checkClient returns the client's options, or what is wrong with the client.
func checkClient(client redis.UniversalClient) (o clientOptions, err error) {
	var ends bool
	switch c := client.(type) {
	case nil:
		return o, &throttle.PolicyError{Field: "client", Value: nil, Reason: mustNotBeNil}
	case interface{ Options() *redis.Options }:
		options := c.Options()
		o, ends = clientOptions{options.Password, options.PoolSize}, options.ContextTimeoutEnabled
	case interface{ Options() *redis.ClusterOptions }:
		options := c.Options()
		o, ends = clientOptions{options.Password, options.PoolSize}, options.ContextTimeoutEnabled
	default: // such as a Ring: when a server is down, it moves keys without their state
		return o, &throttle.PolicyError{
			Field: "client", Value: fmt.Sprintf("%T", client), Reason: "must be a *redis.Client or *redis.ClusterClient",
		}
	}
	if !ends {
		return o, &throttle.PolicyError{
			Field: "client", Value: fmt.Sprintf("%T", client), Reason: "must have ContextTimeoutEnabled set",
		}
	}
	return o, nil
}

// Part implements [fleet.Engine]. It returns the index of key's shard, which must never change.
func (e *Engine) Part(key string) int {
	return int(hash(key) % uint64(len(e.shards))) //nolint:gosec // there are at most MaxShards
}

// shardOf returns the shard of key.
func (e *Engine) shardOf(key string) shard { return e.shards[e.Part(key)] }

// hash returns the same number for a text in all processes and versions.
func hash(text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	return h.Sum64()
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
	args := []any{
		c.ID, binary.BigEndian.AppendUint64(nil, hash(c.ID)), c.New, age,
		int64(c.By), c.Seen, c.Spacing.Microseconds(), c.Lease.Microseconds(), c.Policy,
	}
	if c.Quiet >= time.Microsecond {
		args = append(args, c.Quiet.Microseconds(), c.MaxWait.Microseconds(), max(c.First, 0).Microseconds())
	}
	f, err := e.run(ctx, e.scripts.claim, key, args...)
	if err != nil {
		return machine.Reply{}, err
	}
	r := machine.Reply{Verdict: machine.Verdict(f.kind), Now: f.time(), Policy: c.Policy} //nolint:gosec // it is one of three
	s := f.numbers()
	r.Generation, r.Acknowledged = s.Requested, s.Acknowledged
	switch r.Verdict {
	case machine.Granted:
		r.Token, r.Failures = s.Token, s.Failures
	case machine.Deferred:
		due, _ := s.Due()
		r.Poll = max(0, due.Sub(r.Now))
		if s.Requested > s.Taken {
			r.Hold = max(0, s.Next.Sub(r.Now))
		}
	case machine.Served:
	}
	if f.more() {
		r.Last = f.ending(s.Acknowledged)
	}
	if f.more() {
		r.Policy = f.text()
	}
	return r, f.err
}

// Finish implements [fleet.Engine]. It also notifies the engines that listen.
func (e *Engine) Finish(ctx context.Context, key string, f machine.Finish) (machine.Finished, error) {
	if _, err := new(machine.State).Finish(0, f); err != nil {
		return machine.Finished{}, err
	}
	outcome := "0 "
	if f.Outcome.Failed {
		outcome = "1 "
	}
	r, err := e.run(ctx, e.scripts.finish, key,
		e.channel, f.Token, f.Ran, outcome+f.Outcome.Message, f.Again, f.Delay.Microseconds(), f.Failures)
	if err != nil {
		return machine.Finished{}, err
	}
	finished := machine.Finished{Now: r.time(), Stale: !r.more()}
	if !finished.Stale {
		poll := r.number()
		finished.Pending, finished.Poll = poll >= 0, micro(max(0, poll))
	}
	return finished, r.err
}

// Renew implements [fleet.Engine].
func (e *Engine) Renew(ctx context.Context, key string, token int64) (held bool, err error) {
	f, err := e.run(ctx, e.scripts.renew, key, token)
	if err != nil {
		return false, err
	}
	return f.number() == 1, f.err
}
