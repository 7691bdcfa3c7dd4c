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

// The tests in this file make concurrent operations. There must be an order of them in which the
// machine gives the same answers.

// atOnce makes the operations with a number of concurrent workers.
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

// requireOrder requires that the operations, all of key, have an order: by their instants, and none
// before an operation that ended before it began. The end of that order becomes the model of the
// key.
func (b *bench) requireOrder(key string, operations []*operation) {
	b.t.Helper()
	s := search{operations: operations, failed: map[string]bool{}, done: make([]bool, len(operations))}
	m := b.model(key)
	found := s.from(m.clone(), 0)
	if !found {
		require.FailNow(b.t, "no order of the operations explains the answers",
			"%d of %d fit, but none of those that may come next:\n%s\nafter these:\n%s",
			len(s.longest), len(operations), list(s.stuck), list(s.longest[max(0, len(s.longest)-40):]))
	}
	b.keys[key] = s.end
}

// maxSteps is the number of steps after which a search gives up. A successful search takes few more
// steps than there are operations.
const maxSteps = 20_000

// A search looks for an order, depth first.
type search struct {
	operations []*operation
	done       []bool
	order      []*operation    // the done ones in order
	failed     map[string]bool // done operations and states from which there is no order
	steps      int

	end     *model       // after all operations, if there is an order
	longest []*operation // the longest order of some operations
	stuck   []*operation // what could come next in it, but does not fit
}

// from looks for an order of the operations that are not done; m is the model after the others.
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

// next returns the operations that may come next: no other one ended before they began.
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
		b.requireIndex()

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
		b.requireIndex()
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
		b.requireIndex()
		var token int64
		for _, o := range operations {
			if o.reply.Verdict == machine.Granted {
				require.Zero(b.t, token, "two grants")
				token = o.reply.Token
			}
		}
		require.Positive(b.t, token)
		b.doFinish(key, machine.Finish{Token: token, Ran: true})
	}
}

// testConcurrent runs concurrent clients that make random operations.
func testConcurrent(b *bench) {
	const clients, rounds = 8, 12
	keys := []string{b.key("a"), b.key("b")}
	var (
		sequence   atomic.Int64
		group      sync.WaitGroup
		operations = make([]map[string][]*operation, clients)
		now        = b.look(b.engine(), nil)
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
	b.requireIndex()
}
