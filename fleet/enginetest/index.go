package enginetest

import (
	"fmt"
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/fleet/machine"
)

// requireIndex requires that, of the bench's keys, the index contains the due ones and no others.
func (b *bench) requireIndex() {
	b.t.Helper()
	listed, last := b.pages(b.engine())
	if err := b.compare(listed, last); err != nil {
		require.FailNow(b.t, "the index differs from the machine", "at %d: %v\n%s",
			last.Now, err, list(b.history))
	}
}

// compare returns how the listed keys, the last of which came with the page last, differ from what
// the machine says.
func (b *bench) compare(listed []string, last machine.Due) error {
	found := make(map[string]bool, len(listed))
	var latest machine.Time // the earliest instant at which all keys before may be due
	for _, key := range listed {
		m, ok := b.keys[key]
		first, until, pending := m.due(last.Now)
		switch {
		case found[key]:
			return fmt.Errorf("%q is on two pages, or twice on one", key)
		case !ok && b.alone:
			return fmt.Errorf("%q is listed, but was never used", key)
		case !ok:
		case !pending:
			return fmt.Errorf("%q is listed, but is not pending", key)
		case first > last.Now:
			return fmt.Errorf("%q is listed, but is due at %d", key, first)
		case until < latest:
			return fmt.Errorf("%q is listed after a key that is due later", key)
		default:
			latest = max(latest, first)
		}
		found[key] = true
	}
	// The next key is due between these two instants.
	soonest, surely := machine.Time(machine.MaxNumber), machine.Time(machine.MaxNumber)
	for key, m := range b.keys {
		first, until, pending := m.due(last.Now)
		switch {
		case !pending || found[key]:
		case until <= last.Now:
			return fmt.Errorf("%q is not listed, but was due at %d", key, until)
		default:
			soonest, surely = min(soonest, max(first, last.Now+1)), min(surely, until)
		}
	}
	next := last.Now.Add(last.Next)
	switch none := surely == machine.MaxNumber; {
	case !none && (last.Next <= 0 || next > surely), !none && b.alone && next < soonest:
		return fmt.Errorf("the next key is due in %v, but must be due from %d to %d", last.Next, soonest, surely)
	case none && b.alone && last.Next != machine.None:
		return fmt.Errorf("the next key is due in %v, but there is none", last.Next)
	}
	return nil
}

// pages returns all due keys, and the last page.
func (b *bench) pages(e fleet.Engine) (listed []string, last machine.Due) {
	b.t.Helper()
	for {
		page, err := e.Due(b.t.Context(), len(listed))
		require.NoError(b.t, err)
		if b.clock != 0 {
			require.Equal(b.t, b.clock, page.Now, "the store's clock")
		}
		listed = append(listed, page.Keys...)
		if !page.More {
			return listed, page
		}
		require.NotEmpty(b.t, page.Keys, "a page with More")
		require.Equal(b.t, machine.None, page.Next, "a page with More")
	}
}

func testIndex(b *bench) {
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

func testPages(b *bench) {
	const keys = 1500
	c := b.claim()
	c.By = 0
	operations := make([]*operation, keys)
	for i := range operations {
		c.ID = b.id()
		operations[i] = &operation{kind: claim, key: b.key(strconv.Itoa(i * 7919 % keys)), claim: c}
	}
	b.atOnce(16, operations)
	for _, o := range operations {
		require.NoError(b.t, b.model(o.key).follow(o))
	}
	b.requireIndex()

	// Start at any key.
	listed, _ := b.pages(b.engine())
	for _, skip := range []int{0, 1, 7, len(listed) - 1, len(listed), len(listed) + 1} {
		page, err := b.engine().Due(b.t.Context(), skip)
		require.NoError(b.t, err)
		rest := listed[min(skip, len(listed)):]
		require.LessOrEqual(b.t, len(page.Keys), len(rest), "skip %d of %d", skip, len(listed))
		require.Equal(b.t, rest[:len(page.Keys)], append([]string{}, page.Keys...), "skip %d of %d", skip, len(listed))
		require.Equal(b.t, len(page.Keys) < len(rest), page.More, "skip %d of %d", skip, len(listed))
	}

	// Finished keys are gone, and the others are not.
	for _, o := range operations[:3] {
		c := b.claim()
		b.doFinish(o.key, machine.Finish{Token: b.grant(o.key, c), Ran: true})
	}
}
