package fleetredis

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the look at the index for keys that are due.

const (
	// page is how many keys Due returns at most.
	page = 100

	// askAgain is when a shard is asked again that gave no answer.
	askAgain = time.Second
)

// A part is what of one shard is due.
type part struct {
	now   machine.Time
	keys  []scored      // in order
	later time.Duration // in how long the next is due that is not yet, or machine.None
	err   error
}

// scored is a key in the index.
type scored struct {
	key string
	due float64 // in microseconds; any number, if others write to the store
}

// Due returns keys that are due, as [fleet.Engine] says, a hundred at most. A shard that
// cannot be reached, or whose index is not one, does not keep it from telling of others;
// it returns an error if none answers, and a [*fleet.StateError] if the number of shards
// has become another one.
func (e *Engine) Due(ctx context.Context, skip int) (machine.Due, error) {
	if err := e.ready(ctx); err != nil {
		return machine.Due{}, err
	}
	skip = max(skip, 0)
	var due []scored
	var failed error
	answers := 0
	result := machine.Due{Next: machine.None}
	for _, p := range e.parts(ctx, skip+page+1) {
		if p.err != nil {
			if _, wrong := errors.AsType[*fleet.StateError](p.err); wrong {
				e.checked.Store(false)
				return machine.Due{}, p.err
			}
			failed = p.err
			p.later = askAgain
		} else if answers++; answers == 1 || p.now < result.Now {
			result.Now = p.now // of clocks that differ: what is sent by it is not granted late
		}
		due = append(due, p.keys...)
		if p.later != machine.None && (result.Next == machine.None || p.later < result.Next) {
			result.Next = p.later
		}
	}
	if answers == 0 {
		return machine.Due{}, failed
	}
	slices.SortStableFunc(due, func(a, b scored) int { return cmp.Compare(a.due, b.due) })
	due = due[min(skip, len(due)):]
	result.More = len(due) > page
	if result.More {
		due, result.Next = due[:page], machine.None
	}
	for _, s := range due {
		result.Keys = append(result.Keys, s.key)
	}
	return result, nil
}

// parts asks every shard for at most limit keys.
func (e *Engine) parts(ctx context.Context, limit int) []part {
	cmds := make([]*redis.Cmd, len(e.shards))
	ask := func(i int, to redis.Scripter, by func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) {
		s := e.shards[i]
		cmds[i] = by(ctx, to, []string{s.index, s.count}, len(e.shards), limit)
	}
	// The error is that of one of the commands.
	_, _ = e.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := range e.shards {
			ask(i, pipe, e.scripts.due.EvalSha)
		}
		return nil
	})
	parts := make([]part, len(e.shards))
	for i, s := range e.shards {
		if redis.HasErrorPrefix(cmds[i].Err(), "NOSCRIPT") {
			ask(i, e.client, e.scripts.due.Eval)
		}
		parts[i] = e.part(cmds[i], s)
	}
	return parts
}

// part reads the reply of a shard.
func (e *Engine) part(cmd *redis.Cmd, s shard) part {
	f, err := e.read(cmd, s.count)
	if err != nil {
		return part{err: err}
	}
	p := part{now: machine.Time(f.number()), later: askAgain}
	if len(f.rest) == 0 {
		return p // the index is not one; claims of its keys tell
	}
	entries, later := next[[]any](f), f.text()
	for pair := range slices.Chunk(entries, 2) {
		g := fields{rest: pair}
		key, due := next[string](&g), g.text()
		if g.err != nil {
			return part{err: g.err}
		}
		p.keys = append(p.keys, scored{key, score(due)})
	}
	p.later = machine.None
	if later != "" {
		in := math.Ceil(score(later) - float64(p.now))
		p.later = time.Duration(min(in, float64(machine.MaxSpan.Microseconds()))) * time.Microsecond
	}
	if f.err != nil {
		return part{err: f.err}
	}
	return p
}

// score reads a score, which Redis may write as inf.
func score(text string) float64 {
	score, _ := strconv.ParseFloat(text, 64)
	return score
}
