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

const (
	// page is the highest number of keys that Due returns.
	page = 1000

	// askAgain is how soon to ask a shard again that gave no answer.
	askAgain = time.Second
)

// A part is the answer of one shard.
type part struct {
	now     machine.Time
	entries []entry // the due ones in order, then the next one that is not due
	isIndex bool
	err     error
}

// An entry is a key in an index.
type entry struct {
	key string
	due float64 // in microseconds; any number if others write to the store
}

// Due implements [fleet.Engine]. It returns at most a thousand keys. If it cannot reach a shard, or
// a shard's index is broken, it returns the keys of the other shards. It returns an error if no
// shard answers, and a [*fleet.StateError] if the number of shards has changed.
func (e *Engine) Due(ctx context.Context, skip int) (machine.Due, error) {
	if err := e.ready(ctx); err != nil {
		return machine.Due{}, err
	}
	skip = max(skip, 0)
	offset := 0
	if len(e.shards) == 1 {
		offset, skip = skip, 0 // the only shard can skip them itself
	}
	result := machine.Due{Next: machine.None}
	var entries []entry
	var failed error
	for _, p := range e.parts(ctx, offset, skip+page+1) {
		var wrong *fleet.StateError
		if errors.As(p.err, &wrong) {
			e.checked.Store(false)
			return machine.Due{}, p.err
		}
		if p.err != nil {
			failed = p.err
		} else if result.Now == 0 || p.now < result.Now {
			result.Now = p.now // the shards do not answer at the same instant
		}
		if p.err != nil || !p.isIndex {
			result.Next = askAgain
		}
		entries = append(entries, p.entries...)
	}
	if result.Now == 0 {
		return machine.Due{}, failed
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.due, b.due) })
	now := float64(result.Now)
	due := entries
	if i := slices.IndexFunc(entries, func(e entry) bool { return e.due > now }); i >= 0 {
		due = entries[:i]
		in := micro(math.Ceil(entries[i].due - now))
		if result.Next == machine.None || in < result.Next {
			result.Next = in
		}
	}
	due = due[min(skip, len(due)):]
	if len(due) > page {
		due, result.More, result.Next = due[:page], true, machine.None
	}
	for _, e := range due {
		result.Keys = append(result.Keys, e.key)
	}
	return result, nil
}

// micro returns n microseconds, but at most machine.MaxSpan.
func micro(n float64) time.Duration {
	return time.Duration(min(n, float64(machine.MaxSpan.Microseconds()))) * time.Microsecond
}

// parts asks every shard for at most limit keys after the first offset.
func (e *Engine) parts(ctx context.Context, offset, limit int) []part {
	cmds := make([]*redis.Cmd, len(e.shards))
	ask := func(i int, to redis.Scripter, by func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) {
		s := e.shards[i]
		cmds[i] = by(ctx, to, []string{s.index, s.count}, len(e.shards), offset, limit)
	}
	// Each command has its own error, so this one adds nothing.
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
	p := part{now: machine.Time(f.number())}
	p.isIndex = len(f.rest) > 0 // if it is not, claims of its keys report that
	for len(f.rest) > 0 && f.err == nil {
		pairs := fields{rest: next[[]any](f)}
		for len(pairs.rest) > 0 && pairs.err == nil {
			key := next[string](&pairs)
			due, err := strconv.ParseFloat(pairs.text(), 64) // it may be infinite
			p.entries = append(p.entries, entry{key, due})
			f.err = errors.Join(pairs.err, err)
		}
	}
	p.err = f.err
	return p
}
