package enginetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet/machine"
)

func clockScripts() []script {
	return []script{
		{"clock steps back", testStepBack},
		{"clock steps back during a lease", testStepBackLease},
		{"clock steps back after a claim", testStepBackRemembered},
		{"clock steps back before a postponed run", testStepBackPostponed},
		{"clock steps forth", testStepForth},
	}
}

// step moves the clock by d.
func (b *bench) step(d time.Duration) {
	b.t.Helper()
	b.setClock(b.clock.Add(d))
	b.requireIndex()
}

func testStepBack(b *bench) {
	key := b.key("")
	c := b.claim()
	c.Spacing = time.Second
	token := b.grant(key, c)
	b.doFinish(key, machine.Finish{Token: token, Ran: true})
	b.step(-time.Hour)
	b.doClaim(key, b.claim()) // due in a second from now
	b.wait(time.Second - time.Microsecond)
	require.Equal(b.t, machine.Deferred, b.doClaim(key, b.claim()).Verdict)
	b.wait(time.Microsecond)
	require.Greater(b.t, b.grant(key, b.claim()), token)

	// A grant in the future says nothing about the age of calls.
	key = b.key("age")
	b.doFinish(key, machine.Finish{Token: b.grant(key, c), Ran: true})
	b.step(-time.Hour)
	p := b.poll()
	p.Age = time.Minute
	require.Equal(b.t, machine.Deferred, b.doClaim(key, p).Verdict)

	// A retry's delay also counts from the step.
	key = b.key("retry")
	c = b.claim()
	c.Spacing = time.Second
	token = b.grant(key, c)
	b.doFinish(key, machine.Finish{Token: token, Ran: true, Again: true, Delay: time.Minute})
	b.step(-time.Hour)
	b.doClaim(key, b.poll())
	b.wait(time.Minute)
	b.grant(key, b.claim())
}

func testStepBackLease(b *bench) {
	for _, by := range []kind{claim, finish, renew} {
		key := b.key(string(rune('0' + by)))
		c := b.claim()
		c.Spacing, c.Lease = 0, time.Second
		token := b.grant(key, c)
		b.doClaim(key, b.claim())
		b.step(-time.Hour)
		switch by {
		case claim:
			b.doClaim(key, b.poll())
		case finish:
			b.doFinish(key, machine.Finish{Token: token + 1})
		case renew:
			b.doRenew(key, token+1)
		}
		b.wait(time.Second - time.Microsecond)
		require.Equal(b.t, machine.Deferred, b.doClaim(key, b.claim()).Verdict)
		b.wait(time.Microsecond)
		b.grant(key, b.claim())
	}
}

func testStepBackRemembered(b *bench) {
	key := b.key("")
	c := b.claim()
	c.Spacing = 0
	b.doFinish(key, machine.Finish{Token: b.grant(key, c), Ran: true})
	b.step(-time.Hour)
	b.doClaim(key, b.poll())
	b.wait(machine.KeepIDs)
	require.Equal(b.t, machine.Served, b.doClaim(key, c).Verdict)
	b.wait(time.Microsecond)
	b.grant(key, c)
}

func testStepBackPostponed(b *bench) {
	// The quiet time counts from the step.
	key := b.key("")
	b.doCall(key, b.call(time.Second, 0))
	b.step(-time.Hour)
	require.Equal(b.t, time.Second, b.doCall(key, b.poll()).Hold)
	b.wait(time.Second)
	b.grant(key, b.call(0, 0))

	// The limit counts from the next call.
	key = b.key("limit")
	b.doCall(key, b.call(time.Second, time.Minute))
	b.step(-time.Hour)
	require.Equal(b.t, time.Minute, b.doCall(key, b.call(time.Hour, time.Minute)).Hold)
	b.wait(time.Minute)
	b.grant(key, b.call(time.Hour, time.Minute))
}

func testStepForth(b *bench) {
	key := b.key("")
	b.step(time.Hour)
	token := b.grant(key, b.claim())
	b.doFinish(key, machine.Finish{Token: token, Ran: true})
	b.step(-2 * time.Hour)
	b.doClaim(key, b.poll())
	b.step(90 * time.Minute) // half an hour before the grant
	require.Equal(b.t, token+1, b.grant(key, b.claim()))
}
