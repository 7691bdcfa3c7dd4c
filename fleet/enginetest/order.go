package enginetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds the tests of concurrent operations: they must have an order in which
// the machine gives the same answers.

// atOnce makes the operations, workers of them at a time.
func (b *bench) atOnce(workers int, operations []*operation) {
	b.t.Helper()
	var (
		sequence atomic.Int64
		next     atomic.Int64
		group    sync.WaitGroup
	)
	for worker := range workers {
		engine := b.engines[worker%len(b.engines)]
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(operations) {
					return
				}
				o := operations[i]
				o.began = sequence.Add(1)
				err := b.send(b.t.Context(), engine, o)
				o.ended = sequence.Add(1)
				if err != nil {
					b.t.Errorf("%v: %v", o, err)
				}
			}
		})
	}
	group.Wait()
	if b.t.Failed() {
		b.t.FailNow()
	}
}

// requireOrder requires that the operations, all of key, have an order: by the instants
// that they tell, and none before one that had ended when it began. It becomes what
// is expected of the key.
func (b *bench) requireOrder(key string, operations []*operation) {
	b.t.Helper()
	s := search{operations: operations, failed: map[string]bool{}, done: make([]bool, len(operations))}
	m := b.model(key)
	found := s.from(m.clone(), 0)
	if !found {
		require.FailNow(b.t, "no order of the operations explains the answers",
			"%d of %d can be explained, but none of those that may come next:\n%s\nwhat came before:\n%s",
			len(s.longest), len(operations), told(s.stuck), told(s.longest[max(0, len(s.longest)-40):]))
	}
	b.keys[key] = s.end
	b.requireIndex()
}

// maxSteps is when a search gives up. One that succeeds takes not many more than there
// are operations.
const maxSteps = 20_000

// A search looks for an order, depth first.
type search struct {
	operations []*operation
	done       []bool
	order      []*operation    // those that are done
	failed     map[string]bool // what was done, and the state then, of what led nowhere
	steps      int

	end     *model       // after all, once found
	longest []*operation // the order that led farthest, and what could not follow it
	stuck   []*operation
}

// from looks for an order of those that are not done, with m after those that are.
func (s *search) from(m *model, done int) bool {
	if done == len(s.operations) {
		s.end = m
		return true
	}
	at := s.describe(m)
	s.steps++
	if s.failed[at] || s.steps > maxSteps {
		return false
	}
	next := s.next()
	if len(s.stuck) == 0 || done > len(s.longest) {
		s.longest = slices.Clone(s.order)
		s.stuck = nil
		for _, i := range next {
			s.stuck = append(s.stuck, s.operations[i])
		}
	}
	for _, i := range next {
		after := m.clone()
		if after.follow(s.operations[i]) != nil {
			continue
		}
		s.done[i] = true
		s.order = append(s.order, s.operations[i])
		if s.from(after, done+1) {
			return true
		}
		s.order = s.order[:done]
		s.done[i] = false
	}
	s.failed[at] = true
	return false
}

// next returns which may come next: no other had ended before they began.
func (s *search) next() (next []int) {
	ended := int64(1<<63 - 1)
	soonest := machine.Time(machine.MaxNumber)
	for i, o := range s.operations {
		if !s.done[i] {
			ended = min(ended, o.ended)
			if now, known := o.now(); known {
				soonest = min(soonest, now)
			}
		}
	}
	for i, o := range s.operations {
		now, known := o.now()
		if !s.done[i] && o.began < ended && (!known || now == soonest) {
			next = append(next, i)
		}
	}
	return next
}

func (s *search) describe(m *model) string {
	var text strings.Builder
	for _, done := range s.done {
		if done {
			text.WriteByte('1')
		} else {
			text.WriteByte('0')
		}
	}
	fmt.Fprintf(&text, "%+v", *m)
	return text.String()
}

func testCopies(b *bench) {
	key := b.key("")
	for range 8 {
		c := b.claim()
		c.Spacing = 0
		operations := make([]*operation, 8)
		for i := range operations {
			operations[i] = &operation{kind: claim, key: key, claim: c}
		}
		b.atOnce(len(operations), operations)
		first := operations[0].reply
		for _, o := range operations {
			require.Equal(b.t, machine.Granted, o.reply.Verdict)
			require.Equal(b.t, first.Token, o.reply.Token)
			require.Equal(b.t, first.Generation, o.reply.Generation)
		}
		b.requireOrder(key, operations)

		for i := range operations {
			operations[i] = &operation{kind: finish, key: key, finish: machine.Finish{Token: first.Token, Ran: true}}
		}
		b.atOnce(len(operations), operations)
		stale := 0
		for _, o := range operations {
			if o.finished.Stale {
				stale++
			}
		}
		require.Equal(b.t, len(operations)-1, stale)
		b.requireOrder(key, operations)
	}
}

func testHotKey(b *bench) {
	key := b.key("")
	for range 4 {
		operations := make([]*operation, 64)
		for i := range operations {
			c := b.claim()
			c.Spacing = 0
			operations[i] = &operation{kind: claim, key: key, claim: c}
		}
		b.atOnce(len(operations), operations)
		b.requireOrder(key, operations)
		var token int64
		for _, o := range operations {
			if o.reply.Verdict == machine.Granted {
				require.Zero(b.t, token, "it was granted twice")
				token = o.reply.Token
			}
		}
		require.Positive(b.t, token)
		b.doFinish(key, machine.Finish{Token: token, Ran: true})
	}
}

// testConcurrent has clients that each do what a replica does, and more.
func testConcurrent(b *bench) {
	const clients, rounds = 8, 12
	keys := []string{b.key("a"), b.key("b")}
	var (
		sequence   atomic.Int64
		group      sync.WaitGroup
		operations = make([]map[string][]*operation, clients)
		now, _     = b.engine().Due(b.t.Context(), 0)
	)
	tokens := map[string]*atomic.Int64{}
	for _, key := range keys {
		tokens[key] = &atomic.Int64{}
	}
	for client := range clients {
		engine, choose := b.engines[client%len(b.engines)], b.chooser(b.random.Uint64(), fmt.Sprintf("%s-%d", b.name, client))
		made := map[string][]*operation{}
		operations[client] = made
		group.Go(func() {
			choose.now = now.Now
			for range rounds {
				key := keys[choose.random.IntN(len(keys))]
				choose.token = tokens[key].Load()
				o := choose.operation(key, made[key])
				o.began = sequence.Add(1)
				err := b.send(b.t.Context(), engine, o)
				o.ended = sequence.Add(1)
				if err != nil {
					b.t.Errorf("%v: %v", o, err)
					return
				}
				made[key] = append(made[key], o)
				if o.kind == claim && o.reply.Verdict == machine.Granted {
					tokens[key].Store(o.reply.Token)
				}
				if b.clock == 0 && choose.random.IntN(4) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	group.Wait()
	if b.t.Failed() {
		b.t.FailNow()
	}
	for _, key := range keys {
		var all []*operation
		for _, made := range operations {
			all = append(all, made[key]...)
		}
		b.requireOrder(key, all)
	}
}
