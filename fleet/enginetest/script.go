package enginetest

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

// Each test in this file leads to a part of the machine that is easy to get wrong. As the suite
// compares every answer with the machine's, a test only needs to get there.

// shortly is a short wait.
const shortly = 10 * time.Millisecond

func scripts() []script {
	return []script{
		{"unknown keys", testUnknown},
		{"lost reply", testLostReply},
		{"repeated claims", testRemembered},
		{"forgotten claims", testForgotten},
		{"calls before and during a run", testGenerations},
		{"end of a grant", testLease},
		{"late claim", testBy},
		{"delay of a retry", testRetry},
		{"age of a call", testAge},
		{"postponed runs", testPostponed},
		{"limit of postponed runs", testPostponedLimit},
		{"texts", testTexts},
		{"highest numbers", testNumbers},
		{"invalid messages", testInvalid},
	}
}

func testUnknown(b *bench) {
	key := b.key("")
	b.doFinish(key, machine.Finish{Token: 1, Ran: true})
	b.doFinish(key, machine.Finish{})
	for _, token := range []int64{0, 1, -1, machine.MaxNumber, math.MaxInt64, math.MinInt64} {
		b.doRenew(key, token)
	}
	b.doClaim(key, b.poll())
	b.grant(key, b.claim())
}

func testLostReply(b *bench) {
	key := b.key("")
	c := b.claim()
	c.Policy = "Interval=1s"
	token := b.grant(key, c)
	for range 3 {
		require.Equal(b.t, token, b.grant(key, c))
	}
	b.doClaim(key, b.claim()) // a pending call during the lease
	require.Equal(b.t, token, b.grant(key, c))
	b.doRenew(key, token)
	require.Equal(b.t, token, b.grant(key, c))
	b.doFinish(key, machine.Finish{Token: token, Ran: true})
	b.doFinish(key, machine.Finish{Token: token, Ran: true}) // stale
	require.NotEqual(b.t, machine.Granted, b.doClaim(key, c).Verdict)

	// There is no second grant after the lease, with or without another grant.
	key = b.key("lease")
	c = b.claim()
	c.Spacing, c.Lease = 0, shortly
	b.grant(key, c)
	b.wait(2 * shortly)
	require.Equal(b.t, machine.Deferred, b.doClaim(key, c).Verdict)
	b.grant(key, b.claim())
	require.Equal(b.t, machine.Deferred, b.doClaim(key, c).Verdict)
}

// testRemembered repeats claims: the store must register a claim that it remembers only once.
func testRemembered(b *bench) {
	key := b.key("")
	var claims []machine.Claim
	for range machine.MaxIDs + 1 { // one more than the store remembers
		c := b.claim()
		c.Spacing = 0
		claims = append(claims, c)
		b.doFinish(key, machine.Finish{Token: b.grant(key, c), Ran: true})
	}
	b.doClaim(key, claims[1])
	b.doClaim(key, claims[machine.MaxIDs])
	b.grant(key, claims[0])

	// The store also remembers polls, and claims without a grant.
	key = b.key("polls")
	p := b.poll()
	p.Age, p.By = 0, machine.MaxNumber
	b.doFinish(key, machine.Finish{Token: b.grant(key, p), Ran: true})
	require.Equal(b.t, machine.Served, b.doClaim(key, p).Verdict)
	c := b.claim()
	require.Equal(b.t, machine.Deferred, b.doClaim(key, c).Verdict)
	require.Equal(b.t, machine.Deferred, b.doClaim(key, c).Verdict)
}

// testForgotten repeats a claim after the store has forgotten it.
func testForgotten(b *bench) {
	if testing.Short() && b.clock == 0 && b.suite.within == nil {
		b.t.Skip("it takes 10 s, and -short is set")
	}
	key := b.key("")
	c := b.claim()
	c.Spacing = 0
	b.doFinish(key, machine.Finish{Token: b.grant(key, c), Ran: true})
	b.wait(machine.KeepIDs / 2)
	last := b.claim()
	last.Spacing = 0
	b.doFinish(key, machine.Finish{Token: b.grant(key, last), Ran: true})
	if b.clock != 0 {
		b.wait(machine.KeepIDs / 2)
		require.Equal(b.t, machine.Served, b.doClaim(key, c).Verdict)
		b.wait(time.Microsecond)
	} else {
		b.wait(machine.KeepIDs/2 + shortly)
	}
	b.doFinish(key, machine.Finish{Token: b.grant(key, c), Ran: true})
	b.doClaim(key, last)
}

func testGenerations(b *bench) {
	key := b.key("")
	c := b.claim()
	c.Spacing = 3 * shortly
	token := b.grant(key, c)
	b.doClaim(key, b.poll()) // no call except those of the run: no hold
	b.doClaim(key, b.claim())
	b.doClaim(key, b.claim()) // joins
	b.doFinish(key, machine.Finish{Token: token, Ran: true})
	c = b.claim()
	c.By = 0 // a slow store could grant it already
	b.doClaim(key, c)
	b.wait(4 * shortly)
	token = b.grant(key, b.claim())
	b.doFinish(key, machine.Finish{Token: token}) // it did not run: its calls are pending again
	b.doClaim(key, b.poll())
	b.doClaim(key, b.claim())
	b.doFinish(key, machine.Finish{Token: token, Ran: true})
}

func testLease(b *bench) {
	key := b.key("")
	c := b.claim()
	c.Spacing, c.Lease = shortly, 4*shortly
	first := b.grant(key, c)
	b.wait(2 * shortly)
	c = b.claim()
	c.By = 0 // on a slow store the lease may be over
	b.doClaim(key, c)
	b.doRenew(key, first)
	b.doRenew(key, first+1)
	b.doClaim(key, b.poll())
	b.wait(3 * shortly)
	b.doClaim(key, b.poll()) // the renewal counts

	// The lease is over, but nobody else has one.
	b.wait(4 * shortly)
	b.doClaim(key, b.poll())
	require.True(b.t, b.doRenew(key, first))
	b.doClaim(key, b.poll())
	b.wait(5 * shortly)
	second := b.grant(key, b.claim())
	require.Greater(b.t, second, first)
	require.False(b.t, b.doRenew(key, first))
	require.True(b.t, b.doFinish(key, machine.Finish{Token: first, Ran: true, Again: true, Delay: time.Hour}).Stale)
	require.True(b.t, b.doRenew(key, second))
	b.doFinish(key, machine.Finish{Token: second, Ran: true})
	require.False(b.t, b.doRenew(key, second))

	// Finish after the lease, before another grant.
	key = b.key("late")
	c = b.claim()
	c.Lease = time.Microsecond
	token := b.grant(key, c)
	b.wait(shortly)
	require.False(b.t, b.doFinish(key, machine.Finish{Token: token, Ran: true}).Stale)
	b.doClaim(key, b.poll())
}

func testBy(b *bench) {
	key := b.key("")
	now := b.doClaim(key, b.poll()).Now
	for _, by := range []machine.Time{0, 1, now - 1} {
		c := b.claim()
		c.By = by
		require.Equal(b.t, machine.Deferred, b.doClaim(key, c).Verdict)
	}
	if b.clock != 0 {
		c := b.claim()
		c.By = b.clock
		b.grant(key, c)
		return
	}
	c := b.claim()
	c.By = now.Add(time.Hour)
	b.grant(key, c)
}

func testRetry(b *bench) {
	key := b.key("")
	c := b.claim()
	c.Spacing = shortly
	token := b.grant(key, c)
	failed := machine.Finish{
		Token: token, Ran: true, Outcome: machine.Outcome{Failed: true, Message: "failed"},
		Again: true, Delay: time.Hour, Failures: 3,
	}
	b.doFinish(key, failed)
	b.wait(2 * shortly)
	b.doClaim(key, b.claim()) // it joins the retry, and waits for the delay
	b.doClaim(key, b.poll())

	// A delay that ends before the spacing changes nothing.
	key = b.key("short")
	c = b.claim()
	c.Spacing = 2 * shortly
	failed.Token, failed.Delay = b.grant(key, c), shortly
	b.doFinish(key, failed)
	b.doClaim(key, b.poll())
	b.wait(3 * shortly)
	require.Equal(b.t, 3, b.doClaim(key, b.claim()).Failures)

	// A call during the run joins the retry.
	key = b.key("both")
	failed.Token, failed.Delay = b.grant(key, b.claim()), 0
	b.doClaim(key, b.claim())
	b.doFinish(key, failed)
	b.doClaim(key, b.poll())

	// A delay below a microsecond counts as none: the key is due since its grant, before the
	// other one.
	key = b.key("tiny")
	c = b.claim()
	c.Spacing = 0
	token = b.grant(key, c)
	c = b.claim()
	c.Spacing = shortly
	b.doFinish(b.key("other"), machine.Finish{Token: b.grant(b.key("other"), c), Ran: true})
	c = b.claim()
	c.By = 0
	b.doClaim(b.key("other"), c)
	b.wait(2 * shortly)
	failed.Token, failed.Delay = token, 1
	b.doFinish(key, failed)
}

func testAge(b *bench) {
	key := b.key("")
	age := func(d time.Duration) machine.Claim {
		c := b.poll()
		c.Age = d
		return c
	}
	for _, none := range []time.Duration{machine.None, -2, -time.Microsecond, -time.Hour, math.MinInt64} {
		require.Equal(b.t, machine.Served, b.doClaim(key, age(none)).Verdict, "age %d", none)
	}
	require.Equal(b.t, machine.Deferred, b.doClaim(key, age(machine.MaxSpan)).Verdict, "the store knows no grant")
	b.doFinish(key, machine.Finish{Token: b.grant(key, b.claim()), Ran: true})
	b.wait(shortly)
	require.Equal(b.t, machine.Served, b.doClaim(key, age(time.Hour)).Verdict)
	require.Equal(b.t, machine.Served, b.doClaim(key, age(machine.MaxSpan)).Verdict)
	require.Equal(b.t, machine.Deferred, b.doClaim(key, age(0)).Verdict)
	if b.clock != 0 {
		key = b.key("exactly")
		b.doFinish(key, machine.Finish{Token: b.grant(key, b.claim()), Ran: true})
		b.wait(shortly)
		require.Equal(b.t, machine.Served, b.doClaim(key, age(shortly+time.Microsecond)).Verdict)
		require.Equal(b.t, machine.Deferred, b.doClaim(key, age(shortly)).Verdict)
	}
}

// call returns a claim for a new call that postpones runs.
func (b *bench) call(quiet, maxWait time.Duration) machine.Claim {
	c := b.claim()
	c.Spacing, c.Quiet, c.MaxWait = 0, quiet, maxWait
	return c
}

// doCall makes a claim like doClaim, and compares the stored state, of which no answer shows the limit.
func (b *bench) doCall(key string, c machine.Claim) machine.Reply {
	b.t.Helper()
	reply := b.doClaim(key, c)
	b.requireState(key)
	return reply
}

func testPostponed(b *bench) {
	// Each call of a burst postpones the run.
	key := b.key("")
	for range 3 {
		require.Equal(b.t, 3*shortly, b.doCall(key, b.call(3*shortly, 0)).Hold)
		b.wait(shortly)
	}
	b.wait(3 * shortly)
	last := b.poll()
	last.By, last.Spacing = machine.MaxNumber, time.Hour
	token := b.grant(key, last)

	// A call never moves the run to an earlier time.
	b.doCall(key, b.call(shortly, 0))
	b.doCall(key, b.call(2*time.Hour, 0))
	for _, quiet := range []time.Duration{0, 1, time.Microsecond, shortly, time.Hour} {
		require.Greater(b.t, b.doCall(key, b.call(quiet, 0)).Hold, time.Hour)
		require.Greater(b.t, b.doCall(key, b.call(quiet, time.Hour)).Hold, time.Hour)
	}
	b.doFinish(key, machine.Finish{Token: token, Ran: true})
	b.requireState(key)

	// The quiet time counts from the newest call.
	key = b.key("age")
	aged := func(quiet, age time.Duration) machine.Claim {
		c := b.call(quiet, 0)
		c.Age = age
		return c
	}
	for _, age := range []time.Duration{machine.None, -time.Hour, math.MinInt64, 999} {
		require.Equal(b.t, time.Hour, b.doCall(b.key("age"+b.id()), aged(time.Hour, age)).Hold, "age %d", age)
	}
	require.Equal(b.t, time.Minute, b.doCall(key, aged(time.Hour, 59*time.Minute)).Hold)
	require.Equal(b.t, 2*time.Minute, b.doCall(key, aged(2*time.Minute+500, 600)).Hold, "each duration is truncated")
	require.Equal(b.t, machine.MaxSpan, b.doCall(key, aged(machine.MaxSpan, 0)).Hold)
	for _, quiet := range []time.Duration{0, 1, 999, time.Microsecond, time.Hour} {
		b.grant(b.key("old"+b.id()), aged(quiet, time.Hour))
	}

	// Claims for no new call, and repeated claims, postpone nothing.
	key = b.key("again")
	c := b.call(shortly, 0)
	b.doCall(key, c)
	b.wait(2 * shortly)
	require.Zero(b.t, b.doCall(key, c).Hold)
	p := b.poll()
	p.Quiet = time.Hour
	require.Zero(b.t, b.doCall(key, p).Hold)
	p = b.poll()
	p.Quiet, p.Age = time.Hour, 0
	require.Equal(b.t, time.Hour, b.doCall(key, p).Hold)
}

// testPostponedLimit leads to each change of the limit. A call that no longer postpones the run gets a
// grant.
func testPostponedLimit(b *bench) {
	begin := func(name string) (key string) {
		key = b.key(name)
		require.Equal(b.t, 3*shortly, b.doCall(key, b.call(time.Hour, 3*shortly)).Hold)
		b.wait(4 * shortly)
		return key
	}
	long := func() machine.Claim { return b.call(time.Hour, 2*time.Hour) }

	// The limit ends a burst. During the run calls have a limit of their own.
	key := begin("")
	token := b.grant(key, b.call(time.Hour, 3*shortly))
	b.requireState(key)
	require.Equal(b.t, time.Hour, b.doCall(key, long()).Hold)
	b.doFinish(key, machine.Finish{Token: token, Ran: true})
	b.requireState(key)

	// A call that comes without a limit keeps that of the others, and may be the first one.
	key = begin("unlimited")
	b.grant(key, b.call(time.Hour, 0))
	key = b.key("unlimited first")
	b.doCall(key, b.call(time.Minute, 0))
	b.doCall(key, b.call(time.Hour, 999)) // no limit either
	require.Equal(b.t, 2*time.Hour, b.doCall(key, b.call(3*time.Hour, 2*time.Hour)).Hold)
	b.doCall(key, b.call(4*time.Hour, 3*time.Hour)) // a later limit
	b.doCall(key, b.call(4*time.Hour, time.Hour))   // an earlier one, of a replica with another policy

	// A grant that is lost, or given back, keeps the limit. One that ran does not.
	key = begin("lost")
	c := long()
	c.Lease = shortly
	b.grant(key, c)
	b.requireState(key)
	b.wait(2 * shortly)
	b.grant(key, long())
	b.requireState(key)
	key = begin("returned")
	b.doFinish(key, machine.Finish{Token: b.grant(key, long())})
	b.requireState(key)
	b.grant(key, long())
	key = begin("ran")
	b.doFinish(key, machine.Finish{Token: b.grant(key, long()), Ran: true})
	b.requireState(key)
	require.Equal(b.t, time.Hour, b.doCall(key, long()).Hold)

	// A retry starts a new limit, unless a call waits.
	key = begin("retry")
	failed := machine.Finish{
		Token: b.grant(key, long()), Ran: true, Outcome: machine.Outcome{Failed: true}, Again: true, Failures: 1,
	}
	b.doFinish(key, failed)
	b.requireState(key)
	require.Equal(b.t, time.Hour, b.doCall(key, long()).Hold)
	key = begin("both")
	failed.Token = b.grant(key, long())
	b.doCall(key, b.call(time.Hour, shortly))
	b.doFinish(key, failed)
	b.requireState(key)
	b.wait(2 * shortly)
	b.grant(key, long())

	// The limit counts from the first call of the first claim.
	first := func(maxWait, first time.Duration) machine.Claim {
		c := b.call(machine.MaxSpan, maxWait)
		c.First = first
		return c
	}
	for _, none := range []time.Duration{machine.None, -time.Hour, math.MinInt64, 999} {
		require.Equal(b.t, time.Hour, b.doCall(b.key("first"+b.id()), first(time.Hour, none)).Hold, "first %d", none)
	}
	key = b.key("first")
	require.Equal(b.t, time.Minute, b.doCall(key, first(time.Hour+500, 59*time.Minute+600)).Hold, "each duration is truncated")
	b.doCall(key, first(2*time.Minute, 90*time.Second)) // a later claim
	b.grant(b.key("first exactly"), first(time.Hour, time.Hour))
	b.requireState(b.key("first exactly"))
	b.grant(b.key("first before 1970"), first(time.Microsecond, machine.MaxSpan))
	b.requireState(b.key("first before 1970"))
	b.doCall(b.key("longest"), first(machine.MaxSpan, 0))
}

func testTexts(b *bench) {
	for i, text := range texts() {
		key := b.key(strings.Repeat("k", i))
		c := b.claim()
		c.Policy, c.Spacing = text, 0
		token := b.grant(key, c)
		b.doClaim(key, c)
		b.doFinish(key, machine.Finish{
			Token: token, Ran: true, Outcome: machine.Outcome{Failed: true, Message: text}, Failures: 1<<31 - 1,
		})
		require.Equal(b.t, text, b.doClaim(key, b.poll()).Last.Outcome.Message)
		require.Equal(b.t, text, b.doClaim(key, b.claim()).Policy)
	}
	key := b.key("longest identifier")
	c := b.claim()
	c.ID = (c.ID + strings.Repeat("-aZ09", machine.MaxID))[:machine.MaxID]
	token := b.grant(key, c)
	require.Equal(b.t, token, b.grant(key, c))
	c.ID = c.ID[:machine.MaxID-1]
	require.Equal(b.t, machine.Deferred, b.doClaim(key, c).Verdict)
}

func testNumbers(b *bench) {
	key := b.key("")
	c := b.claim()
	c.Seen, c.Spacing, c.Lease = machine.MaxNumber-2, 0, machine.MaxSpan
	token := b.grant(key, c)
	require.Equal(b.t, int64(machine.MaxNumber-1), token)
	b.doFinish(key, machine.Finish{Token: token - 1, Ran: true})
	b.doRenew(key, token+1)
	b.doRenew(key, token+2) // equal to the first one as a float64
	b.doFinish(key, machine.Finish{Token: token, Ran: true})
	c = b.claim()
	c.Spacing = machine.MaxSpan
	token = b.grant(key, c)
	require.Equal(b.t, int64(machine.MaxNumber), token)

	// There is no higher token: claims fail, and everything else works.
	b.requireRefused(key, &operation{kind: claim, key: key, claim: b.claim()})
	b.requireRefused(key, &operation{kind: claim, key: key, claim: b.poll()})
	require.True(b.t, b.doRenew(key, token))
	b.doFinish(key, machine.Finish{Token: token, Ran: true, Again: true, Delay: machine.MaxSpan})
	require.False(b.t, b.doRenew(key, token))
	b.requireRefused(key, &operation{kind: claim, key: key, claim: b.claim()})
}

// requireRefused requires that both the engine and the machine return an error.
func (b *bench) requireRefused(key string, o *operation) {
	b.t.Helper()
	before := b.model(key)
	var err error
	if o.kind == claim {
		_, err = before.clone().state.Claim(before.seen, o.claim)
	} else {
		_, err = before.clone().state.Finish(before.seen, o.finish)
	}
	require.Error(b.t, err)
	require.Error(b.t, b.send(b.t.Context(), b.engine(), o), "%v", o)
	b.requireIndex()
}

func testInvalid(b *bench) {
	held, free, unknown := b.key("held"), b.key("free"), b.key("unknown")
	c := b.claim()
	c.Spacing = 0
	token := b.grant(held, c)
	b.doClaim(held, b.claim())
	c = b.claim()
	c.Spacing = 0
	b.doFinish(free, machine.Finish{Token: b.grant(free, c), Ran: true})

	for _, key := range []string{held, free, unknown} {
		for _, c := range b.invalidClaims() {
			b.requireRefused(key, &operation{kind: claim, key: key, claim: c})
		}
		for _, f := range invalidFinishes(token) {
			b.requireRefused(key, &operation{kind: finish, key: key, finish: f})
		}
		b.doClaim(key, b.poll())
	}
	b.doFinish(held, machine.Finish{Token: token, Ran: true})
	b.doClaim(held, b.poll())
	b.grant(free, b.claim())
	b.grant(unknown, b.claim())
}

func (b *bench) invalidClaims() []machine.Claim {
	changes := []func(*machine.Claim){
		func(c *machine.Claim) { c.ID = "" },
		func(c *machine.Claim) { c.ID = strings.Repeat("a", machine.MaxID+1) },
		func(c *machine.Claim) { c.ID += " " },
		func(c *machine.Claim) { c.ID += "\n" },
		func(c *machine.Claim) { c.ID += "_" },
		func(c *machine.Claim) { c.ID += "é" },
		func(c *machine.Claim) { c.ID += "\x00" },
		func(c *machine.Claim) { c.ID += "'" },
		func(c *machine.Claim) { c.Age = machine.MaxSpan + time.Microsecond },
		func(c *machine.Claim) { c.Age = math.MaxInt64 },
		func(c *machine.Claim) { c.First = machine.MaxSpan + time.Microsecond },
		func(c *machine.Claim) { c.First = math.MaxInt64 },
		func(c *machine.Claim) { c.By = -1 },
		func(c *machine.Claim) { c.By = machine.MaxNumber + 1 },
		func(c *machine.Claim) { c.By = math.MaxInt64 },
		func(c *machine.Claim) { c.By = math.MinInt64 },
		func(c *machine.Claim) { c.Seen = -1 },
		func(c *machine.Claim) { c.Seen = machine.MaxNumber },
		func(c *machine.Claim) { c.Seen = math.MaxInt64 },
		func(c *machine.Claim) { c.Seen = math.MinInt64 },
		func(c *machine.Claim) { c.Spacing = -1 },
		func(c *machine.Claim) { c.Spacing = machine.MaxSpan + time.Microsecond },
		func(c *machine.Claim) { c.Spacing = math.MaxInt64 },
		func(c *machine.Claim) { c.Quiet = -1 },
		func(c *machine.Claim) { c.Quiet = math.MinInt64 },
		func(c *machine.Claim) { c.Quiet = machine.MaxSpan + time.Microsecond },
		func(c *machine.Claim) { c.Quiet = math.MaxInt64 },
		func(c *machine.Claim) { c.MaxWait = -1 },
		func(c *machine.Claim) { c.MaxWait = math.MinInt64 },
		func(c *machine.Claim) { c.MaxWait = machine.MaxSpan + time.Microsecond },
		func(c *machine.Claim) { c.MaxWait = math.MaxInt64 },
		func(c *machine.Claim) { c.Lease = 0 },
		func(c *machine.Claim) { c.Lease = time.Microsecond - 1 },
		func(c *machine.Claim) { c.Lease = -time.Second },
		func(c *machine.Claim) { c.Lease = machine.MaxSpan + 2*time.Microsecond },
		func(c *machine.Claim) { c.Lease = math.MaxInt64 },
	}
	for _, text := range invalidTexts() {
		changes = append(changes, func(c *machine.Claim) { c.Policy = text })
	}
	claims := make([]machine.Claim, 0, len(changes))
	for _, change := range changes {
		c := b.claim()
		change(&c)
		claims = append(claims, c)
	}
	return claims
}

func invalidFinishes(token int64) []machine.Finish {
	finishes := []machine.Finish{
		{Token: -1},
		{Token: machine.MaxNumber + 1},
		{Token: math.MaxInt64},
		{Token: math.MinInt64},
		{Token: token, Ran: true, Again: true, Delay: -1},
		{Token: token, Ran: true, Again: true, Delay: math.MinInt64},
		{Token: token, Ran: true, Again: true, Delay: machine.MaxSpan + time.Microsecond},
		{Token: token, Ran: true, Again: true, Delay: math.MaxInt64},
		{Token: token, Ran: true, Failures: -1},
		{Token: token, Ran: true, Failures: math.MinInt},
	}
	for _, text := range invalidTexts() {
		finishes = append(finishes,
			machine.Finish{Token: token, Ran: true, Outcome: machine.Outcome{Failed: true, Message: text}})
	}
	return finishes
}

func invalidTexts() []string {
	return []string{"nul\x00", "\x00", "\xff", "half \xc3", "\xed\xa0\x80", longText + "a", strings.Repeat("long", 10_000)}
}
