package enginetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// An Option changes how [Run] works.
type Option func(*suite)

// SetClock is for stores whose clock the test controls: set stops the clock at an instant, until the
// suite calls it again. The suite then never waits, and also tests steps of the clock.
func SetClock(set func(now machine.Time)) Option {
	return func(s *suite) { s.set = set }
}

// Within runs every subtest, including its calls of open, inside wrap, such as [synctest.Test]. It is
// for engines that keep their state in the process.
//
// [synctest.Test]: https://pkg.go.dev/testing/synctest#Test
func Within(wrap func(t *testing.T, test func(*testing.T))) Option {
	return func(s *suite) { s.within = wrap }
}

// Run runs the suite as subtests of t.
//
// All engines that open returns for the same t must use the same store and namespace; open may
// return the same engine again. For another t, the store may be another one. Nothing else may use
// the namespace while Run does. Keys from before do no harm, but the suite then compares the index
// less closely. Run uses random keys, so you can repeat it on one store.
//
// Let open close its engines with t.Cleanup: a subtest fails if it leaks a goroutine. So do not run
// the subtests in parallel with others.
//
// Without [SetClock] and [Within], Run takes 10 s longer (machine.KeepIDs), except under -short.
func Run(t *testing.T, open func(t *testing.T) fleet.Engine, opts ...Option) {
	t.Helper()
	s := &suite{open: open}
	for _, opt := range opts {
		opt(s)
	}
	// The order is by how many due keys the tests leave behind.
	s.run(t, "index contains due keys", testIndex)
	for seed := range uint64(sequences) {
		s.run(t, fmt.Sprintf("random operations %d", seed), func(b *bench) {
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
	s.run(t, "copies of a claim", testCopies)
	s.run(t, "many claims at once", testHotKey)
	for seed := range uint64(sequences) {
		s.run(t, fmt.Sprintf("concurrent operations %d", seed), func(b *bench) {
			b.random = rand.New(rand.NewPCG(seed, 1))
			testConcurrent(b)
		})
	}
	s.run(t, "listeners", testListen)
	s.run(t, "ended contexts", testEndedContext)
	s.run(t, "similar keys", testKeysApart)
	s.run(t, "stored states", testInspect)
	s.run(t, "many due keys", testManyDue)
}

// sequences is how often to repeat the random tests.
const sequences = 3

// A script is a test that makes no random choices.
type script struct {
	name string
	test func(*bench)
}

type suite struct {
	open   func(*testing.T) fleet.Engine
	set    func(machine.Time) // nil if the store has its own clock
	within func(*testing.T, func(*testing.T))
}

// run runs a subtest, and requires that it leaks no goroutine.
func (s *suite) run(t *testing.T, name string, test func(*bench)) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	passed := t.Run(name, func(t *testing.T) {
		if s.within == nil {
			test(s.bench(t))
			return
		}
		s.within(t, func(t *testing.T) { test(s.bench(t)) })
	})
	if !passed {
		return // a failed test may leak many goroutines, which would hide the failure
	}
	var leak error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if leak = goleak.Find(before); leak == nil {
			return
		}
	}
	require.NoError(t, leak, "%q leaks goroutines", name)
}

// patience is how long to wait for something that must come, however busy the machine is.
const patience = 20 * time.Second

// A bench belongs to one subtest: engines on one store, and models of the keys that the test uses.
type bench struct {
	t       *testing.T
	suite   *suite
	engines []fleet.Engine
	random  *rand.Rand
	name    string       // unique; part of keys and identifiers
	ids     int          // how many identifiers id has returned
	clock   machine.Time // the instant of the store's clock; 0 if the store has its own
	alone   bool         // the index has no other keys

	keys    map[string]*model
	history []*operation // the latest operations
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
	due := b.look(b.engine(), nil)
	b.alone = due.Count == 0 && due.Next == machine.None
	return b
}

// engine returns one of the engines at random.
func (b *bench) engine() fleet.Engine { return b.engines[b.random.IntN(len(b.engines))] }

// key returns a key that contains text and that no other test uses.
func (b *bench) key(text string) string { return b.name + text }

// id returns a new identifier.
func (b *bench) id() string {
	b.ids++
	return fmt.Sprintf("%s-%d", b.name, b.ids)
}

// claim returns a claim for a new call that the store may grant. Its lease and spacing are longer
// than any test.
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

// poll returns a claim for no call that the store must not grant.
func (b *bench) poll() machine.Claim {
	c := b.claim()
	c.New, c.By = false, 0
	return c
}

func (b *bench) setClock(now machine.Time) {
	b.clock = now
	b.suite.set(now)
}

// wait waits for d on the store's clock.
func (b *bench) wait(d time.Duration) {
	if b.clock != 0 {
		b.setClock(b.clock.Add(d))
		return
	}
	time.Sleep(d)
}

// model returns the model of key.
func (b *bench) model(key string) *model {
	m, ok := b.keys[key]
	if !ok {
		m = &model{}
		b.keys[key] = m
	}
	return m
}

// send makes the operation with e, and records the answer in it.
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

// do makes the operation, and requires that answer and index are what the machine says.
func (b *bench) do(o *operation) {
	b.t.Helper()
	err := b.send(b.t.Context(), b.engine(), o)
	b.history = append(b.history[max(0, len(b.history)-19):], o)
	require.NoError(b.t, err, "%v", o)
	if err := b.model(o.key).follow(o); err != nil {
		require.FailNow(b.t, "the machine gives another answer", "%v\n%s", err, list(b.history))
	}
	b.requireIndex()
}

// doClaim makes a claim like do.
func (b *bench) doClaim(key string, c machine.Claim) machine.Reply {
	b.t.Helper()
	o := &operation{kind: claim, key: key, claim: c}
	b.do(o)
	return o.reply
}

// doFinish makes a finish like do.
func (b *bench) doFinish(key string, f machine.Finish) machine.Finished {
	b.t.Helper()
	o := &operation{kind: finish, key: key, finish: f}
	b.do(o)
	return o.finished
}

// doRenew makes a renewal like do.
func (b *bench) doRenew(key string, token int64) (held bool) {
	b.t.Helper()
	o := &operation{kind: renew, key: key, token: token}
	b.do(o)
	return o.held
}

// grant makes a claim, requires a grant, and returns its token.
func (b *bench) grant(key string, c machine.Claim) int64 {
	b.t.Helper()
	reply := b.doClaim(key, c)
	require.Equal(b.t, machine.Granted, reply.Verdict)
	return reply.Token
}
