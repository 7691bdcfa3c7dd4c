package enginetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// This file repeats operations on the machine, and compares the answers.

// A kind says which operation it is.
type kind uint8

const (
	claim kind = iota
	finish
	renew
)

// An operation is one that was made, and its answer.
type operation struct {
	kind kind
	key  string
	at   machine.Time // when; 0 if it is not known but from the answer

	claim    machine.Claim
	reply    machine.Reply
	finish   machine.Finish
	finished machine.Finished
	token    int64
	held     bool

	// Where the operation lies among concurrent ones: one that ended before another began
	// was made before it.
	began, ended int64
}

func (o *operation) String() string {
	switch o.kind {
	case claim:
		return fmt.Sprintf("%q: %+v answered %+v", o.key, o.claim, o.reply)
	case finish:
		return fmt.Sprintf("%q: %+v answered %+v", o.key, o.finish, o.finished)
	case renew:
		return fmt.Sprintf("%q: renewal of %d answered %v", o.key, o.token, o.held)
	default:
		return "no operation"
	}
}

// told returns the operations, one a line.
func told(history []*operation) string {
	var text strings.Builder
	for _, o := range history {
		fmt.Fprintln(&text, o)
	}
	return text.String()
}

// now returns the instant that the answer tells, and false for a renewal: it tells
// none.
func (o *operation) now() (machine.Time, bool) {
	switch o.kind {
	case claim:
		return o.reply.Now, true
	case finish:
		return o.finished.Now, true
	case renew:
		return o.at, o.at != 0
	default:
		return 0, false
	}
}

// A model is what is expected of a key. As the answer to a renewal does not tell
// when it was made, neither does the state when the lease ends, until a later answer
// does: Until is then the earliest possible.
type model struct {
	state machine.State
	seen  machine.Time  // the instant of the last operation
	loose time.Duration // how much later than state.Until the lease may end
	open  bool          // the same, but as late as the instant of the next operation allows
}

func (m *model) clone() *model {
	c := *m
	c.state.IDs = slices.Clone(c.state.IDs)
	return &c
}

// follow repeats o. It returns an error if the machine answers otherwise.
func (m *model) follow(o *operation) error {
	now, known := o.now()
	if o.at != 0 && now != o.at {
		return fmt.Errorf("%v\nwas made at %d, where the clock stands", o, o.at)
	}
	if !known {
		return m.followRenewal(o, m.seen, true)
	}
	if o.at == 0 && now < m.seen {
		return fmt.Errorf("%v\nwas made at %d or later, as one before it was", o, m.seen)
	}
	m.seen = now
	if o.kind == renew {
		return m.followRenewal(o, now, false)
	}
	if m.open {
		m.loose, m.open = now.Sub(m.state.Until.Add(-m.state.Lease)), false
	}
	if o.kind == finish {
		return m.followFinish(o, now)
	}
	return m.followClaim(o, now)
}

// followRenewal repeats a renewal that was made at now, or, if open is set, later.
func (m *model) followRenewal(o *operation, now machine.Time, open bool) error {
	held := m.state.Renew(now, o.token)
	if held != o.held {
		return fmt.Errorf("%v\nand not %v", o, held)
	}
	if held {
		m.loose, m.open = 0, open
	}
	return nil
}

func (m *model) followFinish(o *operation, now machine.Time) error {
	want, err := m.state.Finish(now, o.finish)
	if err != nil {
		return fmt.Errorf("%v\nand not: %w", o, err)
	}
	if !want.Stale {
		m.loose = 0 // nobody asks any more
	}
	if o.finished != want {
		return fmt.Errorf("%v\nand not         %+v", o, want)
	}
	return nil
}

func (m *model) followClaim(o *operation, now machine.Time) error {
	if !m.tighten(o, now) {
		return fmt.Errorf("%v\nis not so for any end of the lease that is possible: from %d, %v long",
			o, m.state.Until, m.loose)
	}
	want, err := m.state.Claim(now, o.claim)
	if err != nil {
		return fmt.Errorf("%v\nand not: %w", o, err)
	}
	if want.Verdict == machine.Granted && m.state.Granted == now {
		m.loose = 0 // a new lease
	}
	if o.reply != want {
		return fmt.Errorf("%v\nand not         %+v", o, want)
	}
	return nil
}

// tighten takes from the claim's answer what it tells of the lease's end. It returns
// false if that cannot be.
func (m *model) tighten(o *operation, now machine.Time) bool {
	if m.loose == 0 || m.state.Owner == "" {
		return true
	}
	first := m.state.Until
	last := first.Add(m.loose)
	due := now.Add(o.reply.Poll)
	switch {
	case o.reply.Verdict == machine.Granted && o.claim.ID == m.state.Owner && o.reply.Token == m.state.Token:
		first = max(first, now+1)
	case o.reply.Verdict == machine.Granted:
		last = min(last, now)
	case o.reply.Verdict == machine.Deferred && due > max(now, m.state.Next):
		first, last = max(first, due), min(last, due)
	case o.reply.Verdict == machine.Deferred:
		last = min(last, max(now, m.state.Next))
	}
	m.state.Until, m.loose = first, last.Sub(first)
	return first <= last
}

// due returns from when, and from when at the latest, the key is due, as far as is known
// at now; m may be nil.
func (m *model) due(now machine.Time) (first, last machine.Time, pending bool) {
	if m == nil {
		return 0, 0, false
	}
	first, pending = m.state.Due()
	if !pending || m.state.Owner == "" {
		return first, first, pending
	}
	loose := m.loose
	if m.open {
		loose = max(0, now.Sub(m.state.Until.Add(-m.state.Lease)))
	}
	return first, max(m.state.Next, m.state.Until.Add(loose)), pending
}
