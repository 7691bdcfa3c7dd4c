package enginetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// This file holds what a user calls, and what every test of the suite works with.

// An Option changes how [Run] works.
type Option func(*suite)

// SetClock says that set makes the store's clock stand at an instant, until it is called
// again: for stores that a test keeps the clock of. The suite then waits for nothing,
// and has the clock step back and forth too.
func SetClock(set func(now machine.Time)) Option {
	return func(s *suite) { s.set = set }
}

// Within makes every subtest, open included, run within wrap, such as [synctest.Test]:
// for engines that keep their state in the process.
//
// [synctest.Test]: https://pkg.go.dev/testing/synctest#Test
func Within(wrap func(t *testing.T, test func(*testing.T))) Option {
	return func(s *suite) { s.within = wrap }
}

// Run runs the suite, as subtests of t.
//
// All engines that open returns for one t are on one and the same store and
// namespace, for which it may return one engine again. Those for another t may have
// another store. What else uses the namespace while Run does, disturbs it; keys from
// before do not, but that the index is then compared less closely. Keys are random,
// so that Run can be repeated on one store. open may end engines with t.Cleanup; of the
// goroutines that a subtest started, none may be left after it, so that subtests of
// others must not run beside these.
//
// Without [SetClock] or [Within] it takes 10 s more, machine.KeepIDs, but with -short.
func Run(t *testing.T, open func(t *testing.T) fleet.Engine, opts ...Option) {
	t.Helper()
	s := &suite{open: open}
	for _, opt := range opts {
		opt(s)
	}
	// In the order of how many due keys they leave behind.
	s.run(t, "index holds what is due", testIndex)
	for seed := range uint64(sequences) {
		s.run(t, fmt.Sprintf("operations answer as the machine %d", seed), func(b *bench) {
			b.random = rand.New(rand.NewPCG(seed, 0))
			testSequence(b)
		})
	}
	for _, test := range scripts() {
		s.run(t, test.name, test.test)
	}
	if s.set != nil {
		for _, test := range clockScripts() {
			s.run(t, test.name, test.test)
		}
	}
	s.run(t, "copies of a claim have one effect", testCopies)
	s.run(t, "one of many claims is granted", testHotKey)
	for seed := range uint64(sequences) {
		s.run(t, fmt.Sprintf("concurrent operations have an order %d", seed), func(b *bench) {
			b.random = rand.New(rand.NewPCG(seed, 1))
			testConcurrent(b)
		})
	}
	s.run(t, "listeners are told of finishes", testListen)
	s.run(t, "ended contexts end operations", testEndedContext)
	s.run(t, "keys are kept apart", testKeysApart)
	s.run(t, "pages hold all that is due", testPages)
}

// sequences is how often the tests are repeated that choose at random.
const sequences = 3

// A script is a test without chance.
type script struct {
	name string
	test func(*bench)
}

type suite struct {
	open   func(*testing.T) fleet.Engine
	set    func(machine.Time) // nil if the store keeps its own clock
	within func(*testing.T, func(*testing.T))
}

// run runs a subtest, and sees that no goroutine is left of it.
func (s *suite) run(t *testing.T, name string, test func(*bench)) {
	t.Helper()
	before := goroutines()
	passed := t.Run(name, func(t *testing.T) {
		if s.within == nil {
			test(s.bench(t))
			return
		}
		s.within(t, func(t *testing.T) { test(s.bench(t)) })
	})
	if passed { // else there may be many, and that is not the news
		requireNoGoroutineSince(t, name, before)
	}
}

// A bench is what one subtest works with: engines on one store, and what is expected
// of the keys that it uses.
type bench struct {
	t       *testing.T
	suite   *suite
	engines []fleet.Engine
	random  *rand.Rand
	name    string       // unlike that of any other bench; part of keys and identifiers
	ids     int          // claims made
	clock   machine.Time // what the store's clock was set to; 0 if it keeps its own
	alone   bool         // no other key is in the index

	keys    map[string]*model
	history []*operation // the last of them
}

func (s *suite) bench(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		t:       t,
		suite:   s,
		engines: []fleet.Engine{s.open(t), s.open(t)},
		random:  rand.New(rand.NewPCG(0, 0)),
		name:    fmt.Sprintf("%016x", rand.Uint64()),
		keys:    make(map[string]*model),
	}
	if s.set != nil {
		b.setClock(machine.Time(time.Now().UnixMicro()))
	}
	page, err := b.engine().Due(t.Context(), 0)
	require.NoError(t, err)
	b.alone = len(page.Keys) == 0 && page.Next == machine.None
	return b
}

// engine returns any of the engines.
func (b *bench) engine() fleet.Engine { return b.engines[b.random.IntN(len(b.engines))] }

// key returns a key that nobody else uses. It contains text.
func (b *bench) key(text string) string { return b.name + text }

// id returns an identifier that no other claim has.
func (b *bench) id() string {
	b.ids++
	return fmt.Sprintf("%s-%d", b.name, b.ids)
}

// claim returns a claim of a call that has not been registered, which may be granted.
// Its lease and spacing last longer than any test.
func (b *bench) claim() machine.Claim {
	return machine.Claim{
		ID:      b.id(),
		New:     true,
		Age:     machine.None,
		By:      machine.MaxNumber,
		Spacing: time.Hour,
		Lease:   time.Hour,
	}
}

// poll returns a claim of no call, which is not granted.
func (b *bench) poll() machine.Claim {
	c := b.claim()
	c.New, c.By = false, 0
	return c
}

func (b *bench) setClock(now machine.Time) {
	b.clock = now
	b.suite.set(now)
}

// wait waits until d has passed on the store's clock.
func (b *bench) wait(d time.Duration) {
	if b.clock != 0 {
		b.setClock(b.clock.Add(d))
		return
	}
	time.Sleep(d)
}

// model returns what is expected of key.
func (b *bench) model(key string) *model {
	m, ok := b.keys[key]
	if !ok {
		m = &model{}
		b.keys[key] = m
	}
	return m
}

// send makes the operation with any engine, and sets its answer.
func (b *bench) send(ctx context.Context, e fleet.Engine, o *operation) error {
	o.at = b.clock
	var err error
	switch o.kind {
	case claim:
		o.reply, err = e.Claim(ctx, o.key, o.claim)
	case finish:
		o.finished, err = e.Finish(ctx, o.key, o.finish)
	case renew:
		o.held, err = e.Renew(ctx, o.key, o.token)
	}
	return err
}

// do makes the operation, and expects the answer of the machine, and of the index
// what the machine says is due.
func (b *bench) do(o *operation) {
	b.t.Helper()
	err := b.send(b.t.Context(), b.engine(), o)
	b.history = append(b.history[max(0, len(b.history)-19):], o)
	require.NoError(b.t, err, "%v", o)
	if err := b.model(o.key).follow(o); err != nil {
		require.FailNow(b.t, "the machine answers otherwise", "%v\n%s", err, told(b.history))
	}
	b.requireIndex()
}

// doClaim makes a claim, as do does.
func (b *bench) doClaim(key string, c machine.Claim) machine.Reply {
	b.t.Helper()
	o := &operation{kind: claim, key: key, claim: c}
	b.do(o)
	return o.reply
}

// doFinish makes a finish, as do does.
func (b *bench) doFinish(key string, f machine.Finish) machine.Finished {
	b.t.Helper()
	o := &operation{kind: finish, key: key, finish: f}
	b.do(o)
	return o.finished
}

// doRenew makes a renewal, as do does.
func (b *bench) doRenew(key string, token int64) (held bool) {
	b.t.Helper()
	o := &operation{kind: renew, key: key, token: token}
	b.do(o)
	return o.held
}

// grant makes a claim that is granted, and returns the token.
func (b *bench) grant(key string, c machine.Claim) int64 {
	b.t.Helper()
	reply := b.doClaim(key, c)
	require.Equal(b.t, machine.Granted, reply.Verdict)
	return reply.Token
}
