package fleetredis

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// askAgain is how soon to ask a shard again that gave no answer.
const askAgain = time.Second

// A part is the answer of one shard.
type part struct {
	now    machine.Time
	err    error
	broken bool // the index is; claims of its keys report that

	count  int      // how many entries are due
	some   []entry  // all of those, or machine.MaxDue from a random one on
	held   []string // those of the keys asked for that are due, if some are not all
	oldest []entry  // the first one, if some are not all
	next   []entry  // the first entry that is not due, if there is one
}

// An entry is a key in an index.
type entry struct {
	key string
	due float64 // in microseconds; any number if others write to the store
}

// Due implements [fleet.Engine]. If it cannot reach a shard, or a shard's index is broken, it
// describes the others. It returns an error if no shard answers, and a [*fleet.StateError] if the
// number of shards has changed.
func (e *Engine) Due(ctx context.Context, held []string) (machine.Due, error) {
	if err := e.ready(ctx); err != nil {
		return machine.Due{}, err
	}
	parts := e.parts(ctx, held)
	var now machine.Time
	var failed error
	for _, p := range parts {
		var wrong *fleet.StateError
		switch {
		case errors.As(p.err, &wrong):
			e.checked.Store(false)
			return machine.Due{}, p.err
		case p.err != nil:
			failed = p.err
		case now == 0 || p.now < now:
			now = p.now // the shards do not answer at the same instant
		}
	}
	if now == 0 {
		return machine.Due{}, failed
	}
	return merge(parts, now, held), nil
}

// merge returns what the parts say at now, given the keys that were asked for.
func merge(parts []part, now machine.Time, held []string) machine.Due {
	d := machine.Due{Now: now, Next: machine.None}
	var asked []string
	var earlier, later []float64 // some of the times before and after now, among them those next to it
	for _, p := range parts {
		if p.err != nil || p.broken {
			later = append(later, float64(now.Add(askAgain)))
		}
		d.Count += p.count
		for _, e := range p.some {
			if e.due > float64(now) { // it is due by its shard's clock only
				later = append(later, e.due)
				d.Count--
				continue
			}
			earlier = append(earlier, e.due)
			d.Keys = append(d.Keys, e.key)
		}
		asked = append(asked, p.held...)
		for _, e := range p.oldest {
			earlier = append(earlier, e.due)
		}
		for _, e := range p.next {
			later = append(later, e.due)
		}
	}
	if d.Count > machine.MaxDue {
		d.Keys = choose(d.Keys, asked, held)
	}
	if len(earlier) > 0 {
		d.Oldest = span(float64(now) - slices.Min(earlier))
	}
	if len(later) > 0 {
		d.Next = span(slices.Min(later) - float64(now))
	}
	return d
}

// choose returns machine.MaxDue keys of due, chosen at random, and all keys of held that are in due or
// in asked.
func choose(due, asked, held []string) []string {
	rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	some := min(machine.MaxDue, len(due))
	chosen := due[:some:some]
	missing := make(map[string]bool, len(held))
	for _, key := range held {
		missing[key] = true
	}
	for _, key := range chosen {
		delete(missing, key)
	}
	for _, key := range slices.Concat(due[some:], asked) {
		if missing[key] {
			chosen = append(chosen, key)
			delete(missing, key)
		}
	}
	return chosen
}

// span returns n microseconds, rounded up, but at least 0 and at most machine.MaxSpan.
func span(n float64) time.Duration {
	return micro(int64(max(0, min(math.Ceil(n), float64(machine.MaxSpan.Microseconds())))))
}

// parts asks every shard, each only for its own keys of held. It asks all servers at once, as one that
// does not answer must not hide the others.
func (e *Engine) parts(ctx context.Context, held []string) []part {
	own := make([][]string, len(e.shards))
	for _, key := range held {
		i := e.Part(key)
		own[i] = append(own[i], key)
	}
	parts := make([]part, len(e.shards))
	servers, err := e.servers(ctx)
	if err != nil {
		for i := range parts {
			parts[i].err = err
		}
		return parts
	}
	var asked sync.WaitGroup
	for server, shards := range servers {
		asked.Go(func() { e.ask(ctx, server, shards, own, parts) })
	}
	asked.Wait()
	return parts
}

// servers returns which shards each server has, according to the client.
func (e *Engine) servers(ctx context.Context) (map[redis.UniversalClient][]int, error) {
	servers := make(map[redis.UniversalClient][]int)
	for i, s := range e.shards {
		server := e.client
		if c, ok := e.client.(cluster); ok {
			master, err := c.MasterForKey(ctx, s.index)
			if err != nil {
				return nil, e.failure(err, func() bool { return false })
			}
			server = master
		}
		servers[server] = append(servers[server], i)
	}
	return servers, nil
}

// ask asks the shards of one server, and puts their answers into parts.
func (e *Engine) ask(ctx context.Context, server redis.UniversalClient, shards []int, own [][]string, parts []part) {
	cmds, marks := make([]*redis.Cmd, len(shards)), make([]mark, len(shards))
	ask := func(n int, to redis.Scripter, by func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) {
		s := e.shards[shards[n]]
		marks[n].text = strconv.Itoa(len(e.shards))
		cmds[n] = by(ctx, to, []string{s.index, s.count}, &marks[n], rand.Int64N(machine.MaxNumber))
	}
	// Each command has its own error, so this one adds nothing.
	_, _ = server.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for n := range shards {
			ask(n, pipe, e.scripts.due.EvalSha)
		}
		return nil
	})
	for n, i := range shards {
		if isMisdirected(cmds[n].Err()) {
			ask(n, e.client, e.scripts.due.Run)
		}
		s, p := e.shards[i], &parts[i]
		f, err := read(cmds[n], s.count)
		if err == nil {
			*p, err = f.part()
		}
		p.err = e.failure(err, func() bool { return e.waited(ctx, s, &marks[n]) })
		if p.count > machine.MaxDue && len(own[i]) > 0 {
			p.err = e.askFor(ctx, s, own[i], p)
		}
		if c, ok := e.client.(cluster); ok && p.err != nil {
			c.ReloadState(ctx) // soon, as another server may have the shard by now
		}
	}
}

// askFor asks a shard of which many keys are due for some of its keys, and adds those that are due
// to p.
func (e *Engine) askFor(ctx context.Context, s shard, keys []string, p *part) error {
	m := &mark{text: keys[0]}
	args := []any{"ZMSCORE", s.index, m}
	for _, key := range keys[1:] {
		args = append(args, key)
	}
	scores, err := e.client.Do(ctx, args...).Slice()
	for i, score := range scores {
		due := math.Inf(1) // not in the index
		switch score := score.(type) {
		case float64:
			due = score
		case string: // with version 2 of the protocol
			due, err = strconv.ParseFloat(score, 64)
		}
		if err == nil && due <= float64(p.now) && i < len(keys) {
			p.held = append(p.held, keys[i])
		}
	}
	return e.failure(err, func() bool { return e.waited(ctx, s, m) })
}

// isMisdirected reports whether err says that the server has forgotten the script, or does not have
// the shard.
func isMisdirected(err error) bool {
	_, moved := redis.IsMovedError(err)
	_, asked := redis.IsAskError(err)
	return moved || asked || redis.HasErrorPrefix(err, "NOSCRIPT")
}

// part returns the answer of a shard.
func (f *fields) part() (p part, err error) {
	p.now = f.time()
	if !f.more() {
		p.broken = true
		return p, f.err
	}
	p.count = number(f.number())
	p.next, p.some = f.entries(), f.entries()
	if f.more() {
		p.some = append(p.some, f.entries()...)
		p.oldest = f.entries()
	}
	return p, f.err
}

// entries returns the entries in the next field.
func (f *fields) entries() (entries []entry) {
	pairs := fields{rest: next[[]any](f)}
	for pairs.more() {
		key := pairs.bytes()
		due, err := strconv.ParseFloat(pairs.bytes(), 64) // it may be infinite
		entries = append(entries, entry{key, due})
		f.err = errors.Join(f.err, pairs.err, err)
	}
	return entries
}
