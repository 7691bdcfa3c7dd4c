package enginetest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// requireIndex requires that, of the bench's keys, the index contains the due ones and no others.
func (b *bench) requireIndex() {
	b.t.Helper()
	due := b.look(b.engine(), slices.Collect(maps.Keys(b.keys)))
	if err := b.compare(due); err != nil {
		require.FailNow(b.t, "the index differs from the machine", "at %d: %v\n%s",
			due.Now, err, list(b.history))
	}
}

// look asks e for due keys.
func (b *bench) look(e fleet.Engine, held []string) machine.Due {
	b.t.Helper()
	due, err := e.Due(b.t.Context(), held)
	require.NoError(b.t, err)
	if b.clock != 0 {
		require.Equal(b.t, b.clock, due.Now, "the store's clock")
	}
	require.GreaterOrEqual(b.t, due.Count, len(due.Keys), "keys that are due")
	return due
}

// compare returns how due, the answer to a look that has asked for all of the bench's keys, differs
// from what the machine says.
func (b *bench) compare(due machine.Due) error {
	found := make(map[string]bool, len(due.Keys))
	oldest, surely := time.Duration(0), time.Duration(0) // how long the first key may and must have been due
	for _, key := range due.Keys {
		m, ok := b.keys[key]
		first, until, pending := m.due(due.Now)
		switch {
		case found[key]:
			return fmt.Errorf("%q is listed twice", key)
		case !ok && b.alone:
			return fmt.Errorf("%q is listed, but was never used", key)
		case !ok:
		case !pending:
			return fmt.Errorf("%q is listed, but is not pending", key)
		case first > due.Now:
			return fmt.Errorf("%q is listed, but is due at %d", key, first)
		default:
			oldest, surely = max(oldest, due.Now.Sub(first)), max(surely, due.Now.Sub(until))
		}
		found[key] = true
	}
	if due.Oldest < surely || b.alone && due.Oldest > oldest {
		return fmt.Errorf("the first key has been due for %v, but must have been from %v to %v", due.Oldest, surely, oldest)
	}
	if b.alone && due.Count != len(found) {
		return fmt.Errorf("%d keys are due, but %d are listed, though all were asked for", due.Count, len(found))
	}
	// The next key is due between these two instants.
	soonest, latest := machine.Time(machine.MaxNumber), machine.Time(machine.MaxNumber)
	for key, m := range b.keys {
		first, until, pending := m.due(due.Now)
		switch {
		case !pending || found[key]:
		case until <= due.Now:
			return fmt.Errorf("%q is not listed, but was due at %d", key, until)
		default:
			soonest, latest = min(soonest, max(first, due.Now+1)), min(latest, until)
		}
	}
	next := due.Now.Add(due.Next)
	switch none := latest == machine.MaxNumber; {
	case !none && (due.Next <= 0 || next > latest), !none && b.alone && next < soonest:
		return fmt.Errorf("the next key is due in %v, but must be due from %d to %d", due.Next, soonest, latest)
	case none && b.alone && due.Next != machine.None:
		return fmt.Errorf("the next key is due in %v, but there is none", due.Next)
	}
	return nil
}

func testIndex(b *bench) {
	// A claim that comes too late for a grant makes its key due from then on.
	late := b.claim()
	late.By = 0
	called := b.doClaim(b.key("called"), late).Now
	b.wait(shortly)
	if due := b.look(b.engine(), nil); b.alone {
		require.Equal(b.t, due.Now.Sub(called), due.Oldest, "how long a key has been due")
	}
	require.NoError(b.t, b.engine().Forget(b.t.Context(), b.key("called")))
	delete(b.keys, b.key("called"))

	first, second := b.key("first"), b.key("second")
	b.do(&operation{kind: claim, key: first, claim: b.poll()}) // not pending
	b.do(&operation{kind: finish, key: second, finish: machine.Finish{Token: 1, Ran: true}})
	b.do(&operation{kind: renew, key: second, token: 1})

	// Due at the end of the lease, then, after the finish, at the end of the spacing.
	c := b.claim()
	c.Spacing = 2 * shortly
	token := b.grant(first, c)
	b.doRenew(first, token)
	b.doClaim(first, b.claim())
	b.doFinish(first, machine.Finish{Token: token, Ran: true})
	b.wait(3 * shortly)
	b.requireIndex()

	// Due at the end of the spacing, which is later than the end of the lease.
	c = b.claim()
	c.Spacing, c.Lease = 4*shortly, shortly
	token = b.grant(second, c)
	b.wait(2 * shortly)
	b.requireIndex()
	b.doRenew(second, token)
	b.wait(3 * shortly)
	b.requireIndex()

	// Both are due, the first one for longer. Then give one back, and serve the other.
	c = b.claim()
	c.Spacing, c.Lease = 0, shortly
	token = b.grant(first, c)
	b.wait(2 * shortly)
	b.requireIndex()
	b.doFinish(first, machine.Finish{Token: token})
	c = b.claim()
	c.Spacing = 0
	token = b.grant(second, c)
	b.doFinish(second, machine.Finish{Token: token, Ran: true})

	// A retry is due after the end of the spacing, or before.
	c = b.claim()
	c.Spacing = shortly
	token = b.grant(second, c)
	b.doFinish(second, machine.Finish{Token: token, Ran: true, Again: true, Delay: 3 * shortly})
	b.wait(2 * shortly)
	b.requireIndex()
	b.wait(2 * shortly)
	b.requireIndex()
	c = b.claim()
	c.Spacing = 3 * shortly
	token = b.grant(second, c)
	b.doFinish(second, machine.Finish{Token: token, Ran: true, Again: true, Delay: shortly})
	b.wait(2 * shortly)
	b.requireIndex()
	b.doFinish(second, machine.Finish{Token: token, Ran: true}) // stale
}

// testManyDue has so many due keys that a look does not see them all.
func testManyDue(b *bench) {
	const keys = 1500
	c := b.claim()
	c.By = 0
	operations := make([]*operation, keys)
	all := make([]string, keys)
	for i := range operations {
		c.ID = b.id()
		all[i] = b.key(strconv.Itoa(i * 7919 % keys))
		operations[i] = &operation{kind: claim, key: all[i], claim: c}
	}
	b.atOnce(16, operations)
	for _, o := range operations {
		require.NoError(b.t, b.model(o.key).follow(o))
	}
	b.requireIndex()

	// A look sees some of them. Those that it does not ask for all come up in time.
	seen := make(map[string]bool)
	for looks := 0; len(seen) < keys; looks++ {
		require.Less(b.t, looks, 100*keys/machine.MaxDue, "%d of %d keys were seen", len(seen), keys)
		due := b.look(b.engine(), nil)
		require.GreaterOrEqual(b.t, due.Count, keys)
		require.Len(b.t, due.Keys, machine.MaxDue)
		for _, key := range due.Keys {
			if _, ok := b.keys[key]; ok {
				seen[key] = true
			}
		}
	}
	// Those that it asks for are seen at once, each once, and no keys that are not due.
	held := append([]string{b.key("another")}, all[:50]...)
	due := b.look(b.engine(), held)
	require.Subset(b.t, due.Keys, all[:50])
	require.NotContains(b.t, due.Keys, b.key("another"))
	slices.Sort(due.Keys)
	require.Len(b.t, slices.Compact(due.Keys), len(due.Keys), "a key is listed twice")

	// Finished keys are gone, and the others are not.
	for _, o := range operations[:3] {
		c := b.claim()
		b.doFinish(o.key, machine.Finish{Token: b.grant(o.key, c), Ran: true})
	}
}

// testInspect looks at stored states, and deletes one.
func testInspect(b *bench) {
	key, other := b.key("key"), b.key("other")
	state, err := b.engine().Inspect(b.t.Context(), key)
	require.NoError(b.t, err)
	require.Zero(b.t, state, "the state of a key that was never used")
	require.NoError(b.t, b.engine().Forget(b.t.Context(), key))

	for range 3 {
		b.doClaim(key, b.claim())
		b.requireState(key)
	}
	b.doFinish(key, machine.Finish{Token: b.grant(other, b.claim()), Ran: true}) // stale
	b.requireState(key)
	b.requireState(other)
	b.doFinish(other, machine.Finish{
		Token: b.keys[other].state.Token, Ran: true, Outcome: machine.Outcome{Failed: true, Message: "it’s broken"},
		Again: true, Delay: time.Minute, Failures: 3,
	})
	b.requireState(other)

	require.NoError(b.t, b.engine().Forget(b.t.Context(), other))
	state, err = b.engine().Inspect(b.t.Context(), other)
	require.NoError(b.t, err)
	require.Zero(b.t, state, "the state of a forgotten key")
	delete(b.keys, other)
	b.requireIndex()
	b.requireState(key)
}

// requireState requires that the stored state of key is that of the machine.
func (b *bench) requireState(key string) {
	b.t.Helper()
	state, err := b.engine().Inspect(b.t.Context(), key)
	require.NoError(b.t, err)
	require.NoError(b.t, state.Validate())
	require.NoError(b.t, b.model(key).compare(state), "\n%s", list(b.history))
}
