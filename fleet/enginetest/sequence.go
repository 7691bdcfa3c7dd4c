package enginetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// A chooser makes random operations. A replica would seldom make them in this order, but it may have
// made any of them.
type chooser struct {
	random *rand.Rand
	name   string // unique; identifiers begin with it
	ids    int
	now    machine.Time // approximately
	token  int64        // of the key's last grant
}

func (*bench) chooser(seed uint64, name string) *chooser {
	return &chooser{random: rand.New(rand.NewPCG(seed, 2)), name: name}
}

// pick returns one of the values at random.
func pick[T any](random *rand.Rand, values ...T) T { return values[random.IntN(len(values))] }

// operation returns an operation on key: a new one, or a repeated one of made.
func (c *chooser) operation(key string, made []*operation) *operation {
	switch n := c.random.IntN(100); {
	case n < 15 && len(made) > 0:
		back := min(len(made), pick(c.random, 1, 3, machine.MaxIDs, 2*machine.MaxIDs))
		o := made[len(made)-1-c.random.IntN(back)]
		return &operation{kind: o.kind, key: key, claim: o.claim, finish: o.finish, token: o.token}
	case n < 60:
		return &operation{kind: claim, key: key, claim: c.claim()}
	case n < 85:
		return &operation{kind: finish, key: key, finish: c.finish()}
	default:
		return &operation{kind: renew, key: key, token: c.anyToken()}
	}
}

func (c *chooser) claim() machine.Claim {
	r, ms := c.random, time.Millisecond
	c.ids++
	return machine.Claim{
		ID:      fmt.Sprintf("%s-%d", c.name, c.ids),
		New:     r.IntN(2) == 0,
		Age:     pick(r, machine.None, machine.None, 0, time.Microsecond, ms, 10*ms, time.Hour, machine.MaxSpan, -time.Hour),
		First:   pick(r, machine.None, machine.None, 0, 999, time.Microsecond, ms, 10*ms, time.Hour, machine.MaxSpan, -time.Hour),
		By:      pick(r, 0, max(0, c.now-1), c.now.Add(2*ms), c.now.Add(time.Hour), machine.MaxNumber, machine.MaxNumber),
		Seen:    pick(r, 0, 0, 0, c.token, c.token+1000, int64(c.now.Add(time.Minute))),
		Spacing: pick(r, 0, 0, ms, 3*ms, 3*ms+time.Nanosecond, 15*ms),
		Quiet:   c.quiet(),
		MaxWait: pick(r, 0, 0, 1, 999, time.Microsecond, ms, 2*ms+500, 4*ms, 15*ms, time.Hour, machine.MaxSpan),
		Lease:   pick(r, time.Microsecond, ms, 4*ms, 4*ms+999, 15*ms, time.Hour, machine.MaxSpan),
		Policy:  pick(r, texts()...),
	}
}

// quiet returns a time that is seldom so long that the key is not due again in this test.
func (c *chooser) quiet() time.Duration {
	r, ms := c.random, time.Millisecond
	if r.IntN(100) == 0 {
		return pick(r, time.Hour, machine.MaxSpan)
	}
	return pick(r, 0, 0, 0, 0, 0, 0, 1, 999, time.Microsecond, 1500, ms, 2*ms+999, 3*ms, 15*ms)
}

func (c *chooser) finish() machine.Finish {
	r, ms := c.random, time.Millisecond
	f := machine.Finish{Token: c.anyToken(), Ran: r.IntN(4) > 0}
	if f.Ran && r.IntN(2) == 0 {
		f.Outcome = machine.Outcome{Failed: true, Message: pick(r, texts()...)}
		f.Failures = pick(r, 0, 1, 7, 1<<31-1)
		f.Again = r.IntN(2) == 0
	}
	if f.Again {
		f.Delay = pick(r, 0, 1, time.Microsecond, 2*ms, 20*ms)
	}
	return f
}

// anyToken returns a token, most often that of the last grant.
func (c *chooser) anyToken() int64 {
	return max(0, c.token+pick(c.random, 0, 0, 0, 0, 0, -1, 1, -1000, -c.token))
}

// texts returns texts that a store could change.
func texts() []string {
	return []string{
		"", "Interval=1s", " blank ", "nil", "0", "1e3", "-1", `'"\`, "one\ntwo\r\n\t", "{}[]", "%s$1?:", "\x01\x7f",
		"é", "e\u0301", "\ufeff\u2028\ufffd\U0010ffff", longText,
	}
}

// longText has the greatest length of a text, in characters of two bytes.
const longText = "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé" +
	"éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé"

func testSequence(b *bench) {
	keys := []string{b.key("a"), b.key("b"), b.key("c")}
	choose := b.chooser(b.random.Uint64(), b.name)
	made := map[string][]*operation{}
	for range 300 {
		key := pick(b.random, keys...)
		m := b.model(key)
		choose.now, choose.token = m.seen, m.state.Token
		o := choose.operation(key, made[key])
		b.do(o)
		made[key] = append(made[key], o)
		if b.random.IntN(4) == 0 {
			b.requireState(key)
		}
		if b.random.IntN(4) == 0 {
			b.wait(pick(b.random, time.Millisecond, 3*time.Millisecond))
		}
		if b.clock != 0 && b.random.IntN(8) == 0 {
			b.setClock(b.clock.Add(pick(b.random, -time.Hour, -10*time.Millisecond, -time.Microsecond, time.Microsecond,
				20*time.Millisecond, machine.KeepIDs, time.Hour)))
			b.requireIndex()
		}
	}
}
