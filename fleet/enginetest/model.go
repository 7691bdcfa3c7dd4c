package enginetest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle/fleet/machine"
)

// A kind is the kind of an operation.
type kind uint8

const (
	claim kind = iota
	finish
	renew
)

// An operation is an operation of an engine with its answer.
type operation struct {
	kind kind
	key  string
	at   machine.Time // its instant; 0 if only the answer contains it

	claim    machine.Claim
	reply    machine.Reply
	finish   machine.Finish
	finished machine.Finished
	token    int64
	held     bool

	// The position among concurrent operations: an operation that ended before another one
	// began came before it.
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

// list formats operations, one per line.
func list(history []*operation) string {
	var text strings.Builder
	for _, o := range history {
		fmt.Fprintln(&text, o)
	}
	return text.String()
}

// now returns the instant of the operation. It returns false if nobody knows it: the answer to a
// renewal does not contain it.
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

// A model is the expected state of a key. The answer to a renewal does not contain its instant. So
// the end of the lease is uncertain until a later answer shows it; state.Until is then the earliest
// possible end.
type model struct {
	state machine.State
	seen  machine.Time  // the instant of the last operation
	loose time.Duration // how much later than state.Until the lease may end
	open  bool          // the lease may end as late as the instant of the next operation allows
}

func (m *model) clone() *model {
	c := *m
	c.state.IDs = slices.Clone(c.state.IDs)
	return &c
}

// follow repeats o on the machine. It returns an error if the machine gives another answer.
func (m *model) follow(o *operation) error {
	now, known := o.now()
	if o.at != 0 && now != o.at {
		return fmt.Errorf("%v\nhas another instant than the store's clock, %d", o, o.at)
	}
	if !known {
		return m.followRenewal(o, m.seen, true)
	}
	if o.at == 0 && now < m.seen {
		return fmt.Errorf("%v\nis earlier than the operation before, at %d", o, m.seen)
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

// followRenewal repeats a renewal at now, or, if open is set, at an unknown later instant.
func (m *model) followRenewal(o *operation, now machine.Time, open bool) error {
	held := m.state.Renew(now, o.token)
	if held != o.held {
		return fmt.Errorf("%v\nbut the machine answers %v", o, held)
	}
	if held {
		m.loose, m.open = 0, open
	}
	return nil
}

func (m *model) followFinish(o *operation, now machine.Time) error {
	want, err := m.state.Finish(now, o.finish)
	if err != nil {
		return fmt.Errorf("%v\nbut the machine returns: %w", o, err)
	}
	if !want.Stale {
		m.loose = 0 // the lease no longer matters
	}
	if o.finished != want {
		return fmt.Errorf("%v\nbut the machine answers %+v", o, want)
	}
	return nil
}

func (m *model) followClaim(o *operation, now machine.Time) error {
	if !m.tighten(o, now) {
		return fmt.Errorf("%v\ncontradicts every possible end of the lease, from %d to %v later",
			o, m.state.Until, m.loose)
	}
	want, err := m.state.Claim(now, o.claim)
	if err != nil {
		return fmt.Errorf("%v\nbut the machine returns: %w", o, err)
	}
	if want.Verdict == machine.Granted && m.state.Granted == now {
		m.loose = 0 // a new lease
	}
	if o.reply != want {
		return fmt.Errorf("%v\nbut the machine answers %+v", o, want)
	}
	return nil
}

// tighten narrows the end of the lease by a claim's answer. It returns false if no end is left.
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

// due returns the earliest and the latest instant from which the key may be due, as far as one can
// know at now. m may be nil.
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

// compare returns how the stored state of the key differs from what the machine says. A store need
// not write what the next operation corrects: what the clock has overtaken. It may keep hashes of
// identifiers.
func (m *model) compare(stored machine.State) error {
	want := m.clone().state
	if m.loose > 0 || m.open {
		stored.Until = want.Until
	}
	for _, s := range []*machine.State{&want, &stored} {
		s.IDs = slices.Clone(s.IDs)
		s.Renew(m.seen, -1)
		for i := range s.IDs {
			s.IDs[i].ID = ""
		}
		if len(s.IDs) == 0 {
			s.IDs = nil
		}
	}
	if !reflect.DeepEqual(want, stored) {
		return fmt.Errorf("the stored state is %+v\nbut the machine has %+v", stored, want)
	}
	return nil
}
