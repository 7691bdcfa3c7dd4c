package explore

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"time"

	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
)

// A key contains everything about a state that decides what may follow:
//
//   - Instants count from now, and those of the store's clock from its now. Everything that
//     is longer ago than anything lasts is equally long ago.
//   - What has no effect any more is left out, such as when a claim was sent that is not out.
//   - Tokens below the store's time are represented by their order alone, because no new
//     token will be near them.
//   - A claim's identifier is represented by what the store knows of it, and by which other
//     messages have it.
//   - Replicas have no names. Their descriptions are sorted.
//
// All states with the same key count as the same. A key is a hash: a collision of two
// different states is less likely than a memory error.
type key [2]uint64

// keys makes keys. It reuses its buffers.
type keys struct {
	m      *model
	seeds  [2]maphash.Seed
	s      *state
	tokens []int64
	parts  [maxReplicas][]byte
	copies [][]byte
	order  []int
	buffer []byte
}

func newKeys(m *model) *keys {
	return &keys{m: m, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

// of returns the key of s.
func (k *keys) of(s *state) key {
	k.s = s
	k.findTokens()
	k.order = k.order[:0]
	for i := range k.m.Replicas {
		k.buffer = k.parts[i][:0]
		k.process(s.processes[i])
		k.parts[i] = k.buffer
		k.order = append(k.order, i)
	}
	slices.SortStableFunc(k.order, func(a, b int) int { return bytes.Compare(k.parts[a], k.parts[b]) })
	k.buffer = k.buffer[len(k.buffer):]
	k.buffer = k.sortedCopies(nil)
	for _, i := range k.order {
		k.buffer = append(k.buffer, k.parts[i]...)
	}
	k.rest()
	return key{maphash.Bytes(k.seeds[0], k.buffer), maphash.Bytes(k.seeds[1], k.buffer)}
}

func (k *keys) num(n int) { k.long(int64(n)) }

func (k *keys) long(n int64) { k.buffer = binary.AppendVarint(k.buffer, n) }

func (k *keys) bits(bits ...bool) {
	n := 0
	for i, bit := range bits {
		if bit {
			n |= 1 << i
		}
	}
	k.num(n)
}

// ago appends how long ago a tick was.
func (k *keys) ago(tick int) { k.num(min(k.s.now-tick, k.m.far)) }

// since appends how long ago an instant of a replica's clock was.
func (k *keys) since(at time.Duration) {
	k.long(int64(min(k.m.at(k.s.now)-at, k.m.at(k.m.far))))
}

// until appends how far ahead an instant of a replica's clock is, or 0 if it has passed.
func (k *keys) until(at time.Duration) { k.long(int64(max(0, at-k.m.at(k.s.now)))) }

// stored appends an instant of the store's clock.
func (k *keys) stored(at machine.Time) {
	if at == 0 {
		k.long(1 << 40)
		return
	}
	now := k.m.clock(k.s)
	k.long(int64(max(at, (now-k.slack()).Add(-k.m.at(k.m.far))) - now))
}

// ahead appends how far ahead an instant of the store's clock is. An instant in the past
// counts only if a step back can put it ahead again.
func (k *keys) ahead(at machine.Time) {
	now := k.m.clock(k.s)
	k.long(int64(max(now-k.slack(), at) - now))
}

// slack returns how far the store's clock can still step back.
func (k *keys) slack() machine.Time {
	steps := min(k.m.Of[Backward]-k.s.faults[Backward], k.m.mayFail(k.s))
	if k.s.calm {
		steps = 0
	}
	return machine.Time(0).Add(k.m.at(steps * k.m.Step))
}

// findTokens finds the tokens that are represented by their order.
func (k *keys) findTokens() {
	s := k.s
	k.tokens = append(k.tokens[:0], 0, s.store.Token, s.store.Last.Token, s.ghost.highest)
	if s.snapshot != nil {
		k.tokens = append(k.tokens, s.snapshot.Token, s.snapshot.Last.Token)
	}
	for _, p := range s.processes {
		if p.life == gone {
			continue
		}
		v := p.look()
		k.tokens = append(k.tokens, v.Seen, p.seenToken)
		if v.Phase != replica.Idle {
			k.tokens = append(k.tokens, v.Token)
		}
		k.tokensOf(p.main)
		k.tokensOf(p.renew)
	}
	for _, m := range s.copies {
		k.tokensOf(m)
	}
	slices.Sort(k.tokens)
	k.tokens = slices.Compact(k.tokens)
}

func (k *keys) tokensOf(m *message) {
	if m == nil {
		return
	}
	k.tokens = append(k.tokens, m.token, m.finish.Token, m.claim.Seen, m.seenToken)
	if m.at == toReplica {
		k.tokens = append(k.tokens, m.reply.Token, m.reply.Last.Token)
	}
}

// token appends a token.
func (k *keys) token(token int64) {
	now := k.m.clock(k.s)
	if machine.Time(token) >= now-k.slack() {
		k.num(100 + int(machine.Time(token)-now+k.slack()))
		return
	}
	at, _ := slices.BinarySearch(k.tokens, token)
	k.num(at)
}

// process appends p.
func (k *keys) process(p *process) {
	k.long(int64(p.life))
	if p.life == gone {
		return
	}
	v := p.look()
	k.bits(p.paused, p.again, p.denied && v.Phase == replica.Running, p.woken, p.policy == k.m.Second, p.asked == k.m.Second)
	k.replica(v)
	k.token(p.seenToken)
	k.message(p.main)
	k.message(p.renew)
	if v.Phase == replica.Running {
		k.ago(p.began)
	}
	k.long(int64(p.local.at))
	if p.local.at != noRun {
		k.ago(p.local.since)
	}
	k.num(p.claimed)
	k.num(p.settled)
	k.num(len(p.calls))
	for _, call := range p.calls[p.settled:] {
		k.num(call)
	}
	k.num(k.owed(p.last))
	if k.m.Quiet > 0 {
		k.made(p)
	}
	if k.m.Local {
		k.num(p.interval)
	}
}

// made appends when the calls of p were made that no run covers or that are not settled.
func (k *keys) made(p *process) {
	for i, call := range p.calls {
		if i >= p.settled || call > k.s.ghost.started {
			k.bits(call <= p.known)
			k.ago(k.s.ghost.made[call-1])
		}
	}
	k.num(nothing)
}

// owed returns call if no run that covers it has started.
func (k *keys) owed(call int) int {
	if call <= k.s.ghost.started {
		return 0
	}
	return call
}

func (k *keys) replica(v *replica.View) {
	k.long(int64(v.Calls)) //nolint:gosec // a few calls are made in all
	k.bits(v.Pending, v.Dirty, v.Out, v.Polling, v.Local, v.Full)
	if v.Pending {
		k.since(v.Newest)
	}
	if k.m.Quiet > 0 {
		k.debounce(v)
	}
	if v.Out || v.Phase == replica.Granted {
		k.since(v.Sent)
		k.long(int64(v.Guard))
	}
	if v.Out {
		k.long(int64(v.Calls - v.SentCalls)) //nolint:gosec // as above
		k.bits(v.Claim.New)
	}
	k.until(v.HoldUntil)
	if v.Polling {
		k.until(v.PollAt)
	}
	k.num(min(v.Misses, k.m.far))
	k.long(int64(v.Phase))
	if v.Phase != replica.Idle {
		k.token(v.Token)
	}
	switch v.Phase {
	case replica.Granted:
		k.num(v.Failures)
	case replica.Running:
		k.num(v.Failures)
		k.bits(v.Lost)
		k.until(v.RenewAt)
		k.until(v.LeaseEnd)
	case replica.Finishing:
		k.finish(&v.Finish)
	case replica.Idle:
	}
	k.until(v.NotBefore)
	k.token(v.Seen)
	k.stored(v.StoreNow.Add(k.m.at(k.s.now) - v.StoreAt))
	k.num(len(v.Registered))
	for _, g := range v.Registered {
		k.long(int64(v.Calls - g.Through)) //nolint:gosec // as above
		k.long(g.Generation)
	}
}

// debounce appends what matters only with a Quiet.
func (k *keys) debounce(v *replica.View) {
	if v.Dirty {
		k.since(v.Fresh)
	}
	k.since(v.Told)
	if v.Out {
		k.since(v.Sent - v.Claim.First)
	}
	for _, g := range v.Registered {
		k.since(g.First)
	}
}

func (k *keys) finish(f *machine.Finish) {
	k.token(f.Token)
	k.bits(f.Ran, f.Outcome.Failed, f.Again)
	k.num(k.m.ticks(f.Delay))
	k.num(f.Failures)
}

// message appends m, but not which other messages have its identifier.
func (k *keys) message(m *message) {
	if m == nil {
		k.num(-1)
		return
	}
	k.long(int64(m.kind))
	k.long(int64(m.at))
	k.bits(m.failed && k.m.Local)
	if m.at != lost {
		k.num(max(0, k.m.deadline(m)-k.s.now))
		k.bits(m.slow)
	} else if m.kind == finishing {
		k.ago(m.came)
	}
	switch m.kind {
	case claiming:
		k.ago(m.sent)
		k.num(m.guard)
		k.bits(m.barred)
		k.claim(m)
	case finishing:
		k.bits(m.again)
		k.finish(&m.finish)
		if m.at == toReplica {
			k.bits(m.finished.Stale, m.finished.Pending)
			k.long(int64(m.finished.Poll))
			k.stored(m.finished.Now)
		}
	case renewing:
		k.ago(m.sent)
		k.token(m.token)
		k.bits(m.held)
	}
}

func (k *keys) claim(m *message) {
	c := &m.claim
	k.bits(c.New)
	k.long(int64(min(c.Age, k.m.at(k.m.far))))
	k.long(int64(min(c.First, k.m.at(k.m.far))))
	if k.m.Quiet > 0 {
		k.ago(m.oldest)
	}
	k.stored(c.By)
	k.token(c.Seen)
	k.token(m.seenToken)
	k.num(m.call)
	k.num(k.seenAgo(m))
	k.identifier(c.ID, k.s.store)
	if k.s.snapshot != nil {
		k.identifier(c.ID, k.s.snapshot)
	}
	if m.at == toReplica {
		r := &m.reply
		k.long(int64(r.Verdict))
		k.token(r.Token)
		k.num(r.Failures)
		k.long(int64(r.Hold))
		k.long(int64(r.Poll))
		k.long(r.Generation)
		k.long(r.Acknowledged)
		k.ending(&r.Last)
		k.stored(r.Now)
	}
}

// seenAgo returns how long ago the store saw m for the first time.
func (k *keys) seenAgo(m *message) int {
	switch {
	case m.applied == nothing:
		return nothing
	case k.forgets():
		return min(k.s.now-m.applied, k.m.ticks(machine.KeepIDs)+1)
	default:
		return 0
	}
}

// forgets reports whether a search can last so long that the store forgets claims.
func (k *keys) forgets() bool { return k.m.Tick >= machine.KeepIDs/100 }

// identifier appends what s knows of id.
func (k *keys) identifier(id string, s *machine.State) {
	k.bits(s.Owner == id)
	at := slices.IndexFunc(s.IDs, func(r machine.Recent) bool { return r.ID == id })
	switch {
	case at < 0:
		k.num(-1)
	case k.forgets():
		k.stored(s.IDs[at].At)
	default:
		k.num(0)
	}
}

func (k *keys) ending(e *machine.Ending) {
	k.long(e.From)
	k.long(e.Through)
	k.token(e.Token)
	k.bits(e.Outcome.Failed)
}

// sortedCopies appends the copies, sorted by their descriptions.
func (k *keys) sortedCopies(to []byte) []byte {
	if len(k.s.copies) == 0 {
		return to
	}
	k.copies = k.copies[:0]
	for i, m := range k.s.copies {
		k.buffer = nil
		c := *m
		c.came, c.left, c.slow = k.s.now, k.s.now, false // have no effect
		k.message(&c)
		k.num(k.original(m))
		for _, other := range k.s.copies[:i] {
			k.bits(m.kind == claiming && other.claim.ID == m.claim.ID)
		}
		k.copies = append(k.copies, k.buffer)
	}
	slices.SortFunc(k.copies, bytes.Compare)
	for _, c := range k.copies {
		to = append(to, c...)
	}
	return to
}

// original returns the process that has the original of m out.
func (k *keys) original(m *message) int {
	if m.kind != claiming {
		return nothing
	}
	return slices.IndexFunc(k.order, func(i int) bool {
		p := k.s.processes[i]
		return p.main != nil && p.main.kind == claiming && p.main.claim.ID == m.claim.ID
	})
}

// rest appends everything that belongs to no process.
func (k *keys) rest() {
	s, g := k.s, &k.s.ghost
	k.machine(s.store)
	if s.snapshot != nil {
		k.machine(s.snapshot)
		k.num(k.owed(g.keptOld))
	}
	k.bits(s.calm, s.snapshot != nil)
	k.num(len(s.copies))
	if !s.calm {
		k.num(s.made)
		k.num(s.hints)
		for _, n := range s.faults {
			k.num(n)
		}
	}
	k.num(g.calls)
	k.num(g.started)
	k.num(g.ended)
	k.num(k.owed(g.kept))
	k.bits(g.told != nothing, g.taken)
	k.num(max(0, g.until-s.now))
	if g.told != nothing {
		k.ago(g.told)
		k.num(max(0, g.limit-s.now))
	}
	k.num(g.spacing)
	k.num(g.interval)
	k.num(g.lost)
	k.num(g.spent)
	k.token(g.highest)
	for _, r := range g.runs {
		if _, known := slices.BinarySearch(k.tokens, r.token); known {
			k.token(r.token)
			k.num(r.covers)
			k.bits(r.ended, r.outcome.Failed)
		}
	}
}

func (k *keys) machine(s *machine.State) {
	k.long(s.Requested)
	k.long(s.Acknowledged)
	k.long(s.Taken)
	k.token(s.Token)
	k.stored(s.Granted)
	k.ahead(s.Next)
	k.long(int64(s.Span))
	if k.m.Quiet > 0 {
		k.limit(s)
	}
	k.bits(s.Owner != "")
	if s.Owner != "" {
		k.ahead(s.Until)
	}
	k.long(int64(s.Lease))
	k.num(s.Failures)
	k.ending(&s.Last)
}

// limit appends the limit of a state.
func (k *keys) limit(s *machine.State) {
	k.bits(s.Limit > 0)
	if s.Limit > 0 {
		k.ahead(s.Limit)
	}
}
